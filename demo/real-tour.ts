import { count, formatDuration } from '../src/util/terminal/text.ts';
import { pollUntil } from '../tools/machine/poll.ts';
import { AskingWitness } from './asking-witness.ts';
import { tellFixedAddress } from './chapter-fixed-address.ts';
import { tellPods } from './chapter-pods.ts';
import { type Departure, tellRelease } from './chapter-release.ts';
import { tellSharedEnis } from './chapter-shared-enis.ts';
import { tellTraffic } from './chapter-traffic.ts';
import { tellTrunks } from './chapter-trunks.ts';
import { tellWrongTags } from './chapter-wrong-tags.ts';
import { DemoError } from './errors.ts';
import type { Narrator } from './narrator.ts';
import type { NodeRow } from './node-book.ts';
import type { PodRow } from './pod-record.ts';
import { GUEST } from './real-samples.ts';
import type { RealStage } from './real-stage.ts';
import { tellSummary } from './summary.ts';

const DEVICE_TIMEOUT_MS = 10_000;
const PODS_GONE_TIMEOUT_MS = 60_000;
const TIDY_TIMEOUT_MS = 30_000;
const AS_IT_SHOULD_BE = 'the node is as it should be';

/** Walks through what control plane and agent do, and checks it on the way. @throws DemoError where it does not. */
export async function takeRealTour(narrator: Narrator, stage: RealStage): Promise<void> {
  await tellTrunks(narrator, stage, {
    install: () =>
      narrator.step('helm install terway-controlplane: two replicas, webhook and node agents', () => stage.install()),
    plugged: (nodes) => plugged(narrator, stage, nodes),
  });
  await tellSharedEnis(narrator, stage);
  const served = await tellPods(
    narrator,
    stage,
    'Then the agent of the node gives the pod its address and its tag, and the pod runs.',
  );
  const traffic = await tellTraffic(narrator, stage, served);
  const refused = await tellWrongTags(narrator, stage, served);
  await using witness = new AskingWitness(narrator, stage, chooseClient(stage, served));
  const move = await tellFixedAddress(narrator, stage, witness);
  const release = await tellRelease(narrator, stage, everything(stage), served.length);
  await tidyNodes(narrator, stage);
  await tellSummary(narrator, stage, {
    served,
    move,
    release,
    more: [
      ['HTTP requests', `${traffic.requests}, all answered`],
      ['Frames looked at', `${traffic.frames}, each with the VLAN id of its ENI`],
      ['Wrong tags', `${refused} sent, ${refused} refused`],
      ['Move, as seen', `at most ${formatDuration(witness.silenceMs)} without an answer`],
    ],
  });
}

/** Waits for the devices of the trunks, and for the agents. @returns names of the devices by node */
async function plugged(
  narrator: Narrator,
  stage: RealStage,
  nodes: readonly NodeRow[],
): Promise<ReadonlyMap<string, string>> {
  const devices = new Map<string, string>();
  await narrator.step('their devices, which the switch has put into the nodes', async () => {
    for (const { name, trunkId } of nodes) {
      const device = await stage.vpc.deviceEvents.wait(({ eni, state }) => eni === trunkId && state === 'created', {
        timeoutMs: DEVICE_TIMEOUT_MS,
        signal: stage.signal,
      });
      const { code, stderr } = await stage.node(name).real.exec('ip', ['link', 'show', device.name]);
      if (code !== 0) throw new DemoError(`${name} has no ${device.name} for its trunk: ${stderr.trim()}`);
      devices.set(name, device.name);
    }
  });
  return devices;
}

/** A pod that stays where it is, if possible on a third node. */
function chooseClient(stage: RealStage, pods: readonly PodRow[]): PodRow {
  const { elastic, fixed } = stage.samples;
  const nodes = new Set(pods.filter(({ app }) => app === fixed.name).map(({ node }) => node));
  const candidates = pods.filter(({ app }) => app === elastic.name);
  const client = candidates.find(({ node }) => !nodes.has(node)) ?? candidates[0];
  if (client === undefined) throw new DemoError(`there is no pod of ${elastic.name}`);
  return client;
}

function everything(stage: RealStage): Departure {
  const { elastic, fixed, workloads } = stage.samples;
  return {
    what:
      'Deployment and StatefulSet are scaled to zero, the guest is deleted. Fixed ENIs would wait ten minutes for their ' +
      'pods to come back; their PodENIs are deleted by hand. Each PodENI',
    going: workloads,
    begin: async () => {
      await Promise.all([
        stage.kubectl('scale', 'deployment', elastic.name, '--replicas=0'),
        stage.kubectl('scale', 'statefulset', fixed.name, '--replicas=0'),
        stage.kubectl('delete', 'pod', GUEST, '--wait=false'),
      ]);
      const kept = stage.pods.records(fixed.name);
      const arePodsGone = () => (kept.every(({ pod }) => pod === undefined) ? true : undefined);
      await stage.pods.changes.until(arePodsGone, {
        signal: stage.signal,
        timeoutMs: PODS_GONE_TIMEOUT_MS,
        problem: () => `pods of StatefulSet ${fixed.name} are still there`,
      });
      await stage.kubectl('delete', 'podeni', ...kept.map(({ name }) => name), '--wait=false');
    },
  };
}

/** Waits until no node knows anything of the pods any more. @throws DeadlineError that says what it still knows */
async function tidyNodes(narrator: Narrator, stage: RealStage): Promise<void> {
  for (const node of stage.wiredNodes) {
    let left = '';
    await pollUntil(
      async () => {
        left = (await stage.agent(node, 'show'))
          .split('\n')
          .filter((line) => line.startsWith('default/'))
          .join('; ');
        return left === '' ? true : undefined;
      },
      { what: `${node.name} to forget its pods`, timeoutMs: TIDY_TIMEOUT_MS, signal: stage.signal },
    ).catch((error: unknown) => {
      throw left === '' ? error : new DemoError(`${node.name} still has ${left}`);
    });
    const found = (await stage.agent(node, 'check')).trim();
    if (found !== AS_IT_SHOULD_BE) throw new DemoError(`${node.name}: ${found}`);
  }
  narrator.done(
    `${count(stage.wiredNodes.length, 'node')} without a link, rule or tag of the pods; all are as they should be`,
  );
}
