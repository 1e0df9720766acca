import { isRecord } from '../../../src/util/json.ts';
import type { JournalEntry } from '../../cloud/model/journal.ts';
import type { WriteRecord } from '../../kube/model/journal.ts';
import type { KubeObject } from '../../kube/model/objects.ts';
import type { WiringChange } from '../node/kernel.ts';
import { NODERUNTIMES, PODENIS } from '../world.ts';
import type { Plan } from './plan.ts';
import { runPlan } from './run.ts';
import type { SeededWorld } from './seeded-world.ts';

/**
 * Runs a plan once more and tells it: every act, write, changing call and change of a node's kernel, a line each, with the seconds
 * since the start.
 */
export async function traceOf(plan: Plan): Promise<string[]> {
  const lines: string[] = [];
  const { problems } = await runPlan(plan, (seeded) => record(seeded, lines));
  return [...lines, ...problems.map((problem) => `PROBLEM ${problem}`)];
}

function record(seeded: SeededWorld, lines: string[]): void {
  const { kube, cloud, clock } = seeded.world;
  const startMs = clock.now();
  const tell = (line: string) => lines.push(`${((clock.now() - startMs) / 1000).toFixed(3).padStart(9)}  ${line}`);
  seeded.onAct = (act) => {
    const { kind, ...details } = act;
    tell(`ACT ${kind} ${JSON.stringify(details)}`);
  };
  kube.subscribe((write) => {
    if (!isNoise(write)) tell(writeLine(write));
  });
  seeded.nodes.onMachine(({ nodeName, kernel }) => {
    kernel.subscribe((change) => tell(`${nodeName} kernel ${wiringLine(change)}`));
  });
  cloud.subscribe((entry) => {
    if (entry.kind !== 'call' || !entry.action.startsWith('Describe')) tell(callLine(entry));
  });
}

function isNoise({ resource, before, after }: WriteRecord): boolean {
  const isRenewal = resource.startsWith('leases.') && holderOf(before) === holderOf(after);
  return isRenewal || resource.startsWith('events') || resource.startsWith('networkinterfaces.');
}

function holderOf(lease: KubeObject | undefined): string {
  return textAt(lease?.['spec'], 'holderIdentity');
}

function writeLine({ actor, verb, resource, subresource, key, after }: WriteRecord): string {
  const [plural = ''] = resource.split('.');
  const what = subresource === '' ? plural : `${plural}/${subresource}`;
  return `${actor} ${verb} ${what} ${key}${after === undefined ? ' (gone)' : summaryOf(resource, after)}`;
}

function summaryOf(resource: string, { metadata, spec, status }: KubeObject): string {
  const parts = [metadata.deletionTimestamp === undefined ? '' : 'deleting'];
  if (resource.startsWith('leases.')) parts.push(`holder ${textAt(spec, 'holderIdentity')}`);
  if (resource === 'pods') parts.push(`uid ${metadata.uid}`, `on ${textAt(spec, 'nodeName')}`);
  if (resource === NODERUNTIMES) parts.push(JSON.stringify(isRecord(status) ? (status['pods'] ?? {}) : {}));
  if (resource === PODENIS) {
    const [allocation] = isRecord(spec) && Array.isArray(spec['allocations']) ? spec['allocations'] : [];
    const eni = isRecord(allocation) && isRecord(allocation['eni']) ? allocation['eni'] : {};
    const target = isRecord(spec) ? textAt(spec['target'], 'nodeName') : '';
    parts.push(textAt(status, 'phase') || 'no phase', textAt(eni, 'id'), target === '' ? '' : `for ${target}`);
  }
  return parts
    .filter((part) => part !== '')
    .map((part) => `, ${part}`)
    .join('');
}

function wiringLine({ containerId, after }: WiringChange): string {
  if (after === undefined) return `${containerId}: nothing`;
  const { attachment, isComplete } = after;
  const [first] = attachment.interfaces;
  const tag = first !== undefined && 'vlanId' in first.attachment ? first.attachment.vlanId : '';
  const what = `${attachment.name} uid ${attachment.uid}, ${first?.ipv4?.address} VLAN ${tag}`;
  return `${containerId}: ${isComplete ? 'all' : 'a part'} of ${what}`;
}

function callLine({ kind, action, outcome, accessKeyId, params, objectIds }: JournalEntry): string {
  const who = kind === 'call' ? accessKeyId : kind;
  const about = params['NetworkInterfaceId'] ?? objectIds.join(' ');
  return `${who} ${action} ${about}: ${outcome}`;
}

function textAt(value: unknown, member: string): string {
  const found = isRecord(value) ? value[member] : undefined;
  return typeof found === 'string' ? found : '';
}
