import { count, formatDuration, median } from '../src/util/terminal/text.ts';
import { DemoError } from './errors.ts';
import { withLivePods } from './live-pods.ts';
import type { Narrator } from './narrator.ts';
import { isBound, isRunning, type PodRecord, type PodRow, podRow } from './pod-record.ts';
import type { Stage } from './stage.ts';

const BIND_TIMEOUT_MS = 120_000;

/**
 * Applies the samples and follows their pods until each has its ENI and runs.
 *
 * @param then what happens once the ENI is attached, and more about the pods.
 * @returns them as they are then.
 */
export async function tellPods(narrator: Narrator, stage: Stage, then: string): Promise<PodRow[]> {
  const { manifests, elastic, fixed, workloads } = stage.samples;
  narrator.chapter(
    'Every pod gets an ENI of its own',
    `config/samples: PodNetworking "${elastic.name}" for a Deployment of ${elastic.replicas}, and "${fixed.name}", with ` +
      `fixed addresses, for a StatefulSet of ${fixed.replicas}. Each pod becomes a PodENI; the control plane creates a ` +
      `member ENI in the vSwitch of the zone and attaches it to the trunk of the node. ${then}`,
  );
  const wanted = workloads.reduce((sum, { replicas }) => sum + replicas, 0);
  const callsBefore = callCounts(stage);
  const progress = () => {
    const bound = stage.pods.records().filter(isBound).length;
    const running = stage.pods.records().filter(isRunning).length;
    const runs = stage.goal === 'Running' ? `, ${running} run` : '';
    return `${bound} of ${wanted} pods have their ENI${runs}`;
  };
  const served = await withLivePods(narrator, stage, { records: () => stage.pods.records(), progress }, async () => {
    await stage.apply(...manifests);
    const options = {
      signal: stage.signal,
      timeoutMs: BIND_TIMEOUT_MS,
      problem: () => openPods(stage.pods.records(), wanted),
    };
    const served: PodRecord[] = [];
    for (const { name, replicas } of workloads) {
      served.push(...(await stage.pods.untilServed(name, replicas, options)));
    }
    return served;
  });
  for (const { name, pod, podEni } of served) {
    const address = podEni?.spec.allocations?.[0]?.ipv4;
    if (pod?.status.podIP !== address) {
      throw new DemoError(`pod ${name} has address ${pod?.status.podIP}, its PodENI ${address}`);
    }
  }
  const rows = served.map((record) => podRow(record, performance.now()));
  const bind = `${count(rows.length, 'pod')} in Bind, median ${middle(rows)} from creation`;
  const started = served.map((record) => podRow(record, performance.now(), 'Running'));
  const running = stage.goal === 'Running' ? ` to Bind and ${middle(started)} to Running` : '';
  narrator.done(`${bind}${running}; each pod runs with the address of its ENI`);
  const callsNow = callCounts(stage);
  narrator.note(
    `For ${rows.length} pods the cloud got ${count(callsNow.create - callsBefore.create, 'Create call')} and ` +
      `${count(callsNow.attach - callsBefore.attach, 'Attach call')}. The waiting is shared: all attachments were watched ` +
      `by ${count(callsNow.describe - callsBefore.describe, 'DescribeNetworkInterfaces call')}.`,
  );
  return rows;
}

function callCounts({ calls }: Stage) {
  return {
    create: calls.total('CreateNetworkInterface'),
    attach: calls.total('AttachNetworkInterface'),
    describe: calls.total('DescribeNetworkInterfaces'),
  };
}

function middle(rows: readonly PodRow[]): string {
  return formatDuration(median(rows.map((row) => row.tookMs)) ?? 0);
}

function openPods(records: readonly PodRecord[], wanted: number): string {
  const open = records.filter((record) => !isRunning(record));
  const rows = open.map((record) => podRow(record, performance.now()));
  const of = `${records.length - open.length} of ${wanted} pods run with their ENI`;
  return rows.length === 0 ? of : `${of}; open: ${rows.map((row) => `${row.name} (${row.phase})`).join(', ')}`;
}
