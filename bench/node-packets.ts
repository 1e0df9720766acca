import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { buildTools, DatapathLab } from '../src/datapath/test-support/datapath-lab.ts';
import type { Datapath, Layout, PodAttachment } from '../src/datapath/types.ts';
import { FramesProcess, flood, receivedPackets } from './frames-tool.ts';
import { median, type Report, spread } from './report.ts';
import {
  type Direction,
  namespaceOf,
  OUTSIDE,
  openLab,
  PAYLOAD_BYTES,
  PORT,
  TrunkPodFleet,
  trunkPod,
} from './trunk-pod-fleet.ts';

const ROUNDS = 7;
const PACKETS = 60_000;
/** Packets of each of the two pods. */
const WATCHED_PACKETS = 600_000;
/** Pods that are deleted at once. */
const LEAVING = 40;
const DRAINS = 3;
/** The programs are also replaced after this many id changes. */
const CHANGES_PER_REPLACEMENT = 10;

const CONFIGURATIONS: readonly { count: number; layout: Layout; packets: number }[] = [
  { count: 1, layout: 'marks', packets: PACKETS },
  { count: 100, layout: 'marks', packets: PACKETS },
  { count: 1000, layout: 'marks', packets: PACKETS },
  { count: 1, layout: 'perPod', packets: PACKETS },
  { count: 1000, layout: 'perPod', packets: PACKETS },
];

/**
 * Cost per packet with an increasing number of pods. All configurations exist at the same time and take turns, so that other
 * load affects all equally; the result is the ratio within each round.
 */
export async function measurePacketCost({ record, say }: Report): Promise<void> {
  await buildTools();
  await using stack = new AsyncDisposableStack();
  const fleets: TrunkPodFleet[] = [];
  for (const { count, layout } of CONFIGURATIONS)
    fleets.push(stack.use(await TrunkPodFleet.make(count, layout, 'shared')));
  const ratios: Record<'100' | '1000' | 'perPod', number[]> = { '100': [], '1000': [], perPod: [] };
  for (const direction of ['out', 'in'] as const) {
    const rounds: number[][] = [];
    for (let round = 0; round < ROUNDS; round += 1) rounds.push(await oneRound(fleets, direction));
    const column = (at: number) => rounds.map((costs) => costs[at] ?? Number.NaN);
    for (const [at, { count, layout }] of CONFIGURATIONS.entries()) {
      say(`  ${direction}, ${layout}, ${count} pods: ${spread(column(at).map((cost) => cost / 1000))} µs a packet`);
    }
    const ratio = (at: number, base: number) =>
      median(rounds.map((costs) => (costs[at] ?? Number.NaN) / (costs[base] ?? Number.NaN)));
    ratios['100'].push(ratio(1, 0));
    ratios['1000'].push(ratio(2, 0));
    ratios.perPod.push(ratio(4, 3));
  }
  // Report the worse direction.
  const worst = (values: number[]) => Math.max(...values);
  const name = (count: string) => `node: cost per packet, 1 → ${count} trunk pods`;
  record({ name: name('100'), value: worst(ratios['100']), unit: '×', budget: 1.1, upstream: '2.0 (3.2 → 6.3 µs)' });
  record({ name: name('1,000'), value: worst(ratios['1000']), unit: '×', budget: 1.1, upstream: '12 (3.2 → 39 µs)' });
  record({
    name: `${name('1,000')}, layout perPod`,
    value: worst(ratios.perPod),
    unit: '×',
    budget: 1.1,
    upstream: '12',
  });
}

async function oneRound(fleets: readonly TrunkPodFleet[], direction: Direction): Promise<number[]> {
  const costs: number[] = [];
  for (const [at, { packets }] of CONFIGURATIONS.entries()) {
    costs.push((await fleets[at]?.costNs(direction, packets)) ?? Number.NaN);
  }
  return costs;
}

/** Duration of a full sync of a settled node with 200 pods. */
export async function measureSync({ record, say }: Report): Promise<void> {
  await buildTools();
  await using fleet = await TrunkPodFleet.make(200, 'marks', 'own');
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const startedMs = performance.now();
    const { repaired, removed, failed } = await fleet.datapath.sync(() => fleet.pods);
    times.push(performance.now() - startedMs);
    if (repaired.length + removed.length + failed.length > 0) throw new Error('a settled node was changed');
  }
  say(`  a sync: ${spread(times)} ms`);
  record({ name: 'node: sync of 200 pods, nothing to repair', value: median(times), unit: 'ms', upstream: '–' });
}

/**
 * An ADD during a node drain. Links are deleted in sequence, and each deletion waits in the kernel for all readers. This
 * measures how long the ADD waits. Plugin and records are left out because they wait for the same.
 */
export async function measureDrain({ record, say }: Report): Promise<void> {
  await buildTools();
  using lab = new DatapathLab();
  await using datapath = await openLab(lab, 'marks');
  const leaving = Array.from({ length: LEAVING }, (_, at) => trunkPod(lab, at + 1));
  const coming = trunkPod(lab, LEAVING + 1);
  const waits: number[] = [];
  const drains: number[] = [];
  for (let round = 0; round < DRAINS; round += 1) {
    for (const pod of leaving) await datapath.add(pod);
    const startedMs = performance.now();
    const removals = leaving.map((pod) => datapath.remove(pod));
    await datapath.add(coming);
    waits.push(performance.now() - startedMs);
    await Promise.all(removals);
    drains.push(performance.now() - startedMs);
    await datapath.remove(coming);
  }
  say(`  ADD after ${spread(waits)} ms, all of it after ${spread(drains)} ms`);
  const name = `node: data path, an ADD that comes with ${LEAVING} DELs at once`;
  record({ name, value: median(waits), unit: 'ms', upstream: '–' });
}

/**
 * Two pods send as fast as they can while their ids keep changing in place and newer agents repeatedly take over and replace
 * the programs. A kernel filter captures packets that leave without a tag, or with one that the pod never had.
 */
export async function measureStrayTags({ record, say }: Report): Promise<void> {
  await buildTools();
  using lab = new DatapathLab();
  await using datapath = await openLab(lab, 'marks');
  const pods = [1, 2].map((at) => ({ pod: trunkPod(lab, at), ids: [100 * at + 1, 100 * at + 2] as const }));
  const assigned = (turn: number) => pods.map(({ pod, ids }) => withId(pod, ids[turn % 2 === 0 ? 0 : 1]));
  for (const pod of assigned(0)) await datapath.add(pod);
  lab.gateways();
  const allowed = pods.map(({ pod, ids }) => `${pod.interfaces[0]?.ipv4?.address}=${ids.join(',')}`);
  await using wire = await FramesProcess.start(lab.switchNs, 'strays', 'sw1', ...allowed);
  await provoke(lab, wire, 'before');
  const before = await receivedPackets(lab.switchNs, 'sw1');
  let sending = true;
  const command = ['flood-udp', OUTSIDE, PORT, PAYLOAD_BYTES, String(WATCHED_PACKETS)];
  const sent = Promise.all(pods.map(({ pod }) => flood(namespaceOf(pod), ...command))).finally(() => {
    sending = false;
  });
  const updates = await updateRepeatedly(lab, datapath, assigned, () => sending);
  await sent;
  const arrived = (await receivedPackets(lab.switchNs, 'sw1')) - before;
  // Anything captured from now on comes after all packets.
  await provoke(lab, wire, 'after');
  const strays = wire.lines.length - 2;
  say(
    `  ${arrived} of ${2 * WATCHED_PACKETS} packets came to the wire; ${updates.ids} changes of ids, ${updates.programs} replacements of programs`,
  );
  if (arrived < 1_000_000) throw new Error(`only ${arrived} packets were watched`);
  record({
    name: 'node: untagged or wrongly tagged packets, ids and programs changing',
    value: strays,
    unit: '',
    budget: 0,
    upstream: '29,575 of 1.5 million',
  });
}

/** An untagged frame of the trunk itself: capturing it proves that stray packets would be captured. */
async function provoke(lab: DatapathLab, wire: FramesProcess, payload: string): Promise<void> {
  lab.send(lab.node, 'eni1', [{ toMac: 'ee:ff:ff:ff:ff:ff', source: '10.0.0.99', destination: OUTSIDE, payload }]);
  await wire.printed(Buffer.from(payload).toString('hex'));
}

async function updateRepeatedly(
  lab: DatapathLab,
  datapath: Datapath,
  assigned: (turn: number) => PodAttachment[],
  isOn: () => boolean,
): Promise<{ ids: number; programs: number }> {
  const done = { ids: 0, programs: 0 };
  for (let turn = 1; isOn(); turn += 1) {
    const pods = assigned(turn);
    for (const pod of pods) await datapath.add(pod);
    done.ids += pods.length;
    if (turn % CHANGES_PER_REPLACEMENT !== 0) continue;
    await rm(join(lab.bpfDirectory, 'programs'), { recursive: true });
    await using newer = await openLab(lab, 'marks');
    const { failed } = await newer.sync(() => pods);
    if (failed.length > 0) throw new Error(`a newer agent could not take over: ${failed[0]?.message}`);
    done.programs += 1;
  }
  return done;
}

function withId(pod: PodAttachment, vlanId: number): PodAttachment {
  const interfaces = pod.interfaces.map((network) =>
    network.attachment.kind === 'member' ? { ...network, attachment: { ...network.attachment, vlanId } } : network,
  );
  return { ...pod, interfaces };
}
