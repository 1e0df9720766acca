import { count, formatDuration } from '../src/util/terminal/text.ts';
import { pollUntil } from '../tools/machine/poll.ts';
import { cloudProblems, memberEniIds } from './checks.ts';
import { DemoError } from './errors.ts';
import { withLivePods } from './live-pods.ts';
import type { Narrator } from './narrator.ts';
import type { PodRecord } from './pod-record.ts';
import type { Workload } from './samples.ts';
import type { Stage } from './stage.ts';

const RELEASE_TIMEOUT_MS = 120_000;
const CLOUD_INTERVAL_MS = 200;

/** How the ENIs went. */
export interface Release {
  enis: number;
  /** From the request until the cloud had none of them. */
  tookMs: number;
  /** What the cloud still has, such as `2 member ENIs of the StatefulSet`. */
  left: string;
}

/** Whose pods go, and how. */
export interface Departure {
  /** What is done, in a sentence or two. */
  what: string;
  going: readonly Workload[];
  begin: () => Promise<unknown>;
}

/** The end of the tour on plain nodes: the StatefulSet stays, to be tried out. */
export function scaleDown(stage: Stage): Departure {
  const { elastic } = stage.samples;
  return {
    what: `Deployment ${elastic.name} is scaled to zero. Its PodENIs are deleted, but each`,
    going: [elastic],
    begin: () => stage.kubectl('scale', 'deployment', elastic.name, '--replicas=0'),
  };
}

/** Has pods go and follows their ENIs until the cloud has none of them. @throws DemoError if one stays */
export async function tellRelease(
  narrator: Narrator,
  stage: Stage,
  { what, going: workloads, begin }: Departure,
  membersCreated: number,
): Promise<Release> {
  narrator.chapter(
    'Nothing stays behind',
    `${what} stays until the cloud itself shows that its ENI is gone: an ENI without an owner would cost an address, a ` +
      'slot of the trunk, and money.',
  );
  const isGoing = (app: string) => workloads.some(({ name }) => name === app);
  const leaving = () => stage.pods.records().filter(({ app }) => isGoing(app));
  const idsOf = (records: readonly PodRecord[]) =>
    records.flatMap(({ podEni }) => podEni?.spec.allocations?.map(({ eni }) => eni.id) ?? []);
  const going = new Set(idsOf(leaving()));
  const kept = idsOf(stage.pods.records().filter(({ app }) => !isGoing(app)));
  let remaining = going.size;
  const startMs = performance.now();
  const endMs = await withLivePods(
    narrator,
    stage,
    {
      records: leaving,
      omit: ['VSWITCH', 'TIME'],
      progress: () => `${remaining} of ${count(going.size, 'member ENI')} are left in the cloud`,
    },
    async () => {
      await begin();
      const cloudEmptyMs = await pollUntil(
        async () => {
          const present = memberEniIds(await stage.lab.cloud.state());
          remaining = present.filter((id) => going.has(id)).length;
          return remaining === 0 ? performance.now() : undefined;
        },
        {
          what: `${count(going.size, 'member ENI')} to leave the cloud`,
          timeoutMs: RELEASE_TIMEOUT_MS,
          intervalMs: CLOUD_INTERVAL_MS,
          signal: stage.signal,
        },
      );
      await stage.pods.changes.until(() => (leaving().every((each) => each.podEni === undefined) ? true : undefined), {
        signal: stage.signal,
        timeoutMs: RELEASE_TIMEOUT_MS,
        problem: () => 'PodENIs are still there, though their ENIs are gone',
      });
      return cloudEmptyMs;
    },
  );
  const [snapshot, counters] = await Promise.all([stage.lab.cloud.state(), stage.lab.cloud.counters()]);
  const { nodeCount, otherInstances } = stage;
  const problems = cloudProblems(snapshot, counters, {
    nodes: nodeCount,
    otherInstances,
    memberIds: kept,
    membersCreated,
  });
  if (problems.length > 0) throw new DemoError(problems.join('; '));
  const left = memberEniIds(snapshot).length;
  const rest = left === 0 ? 'no member ENI' : `${count(left, 'member ENI')} of StatefulSet ${stage.samples.fixed.name}`;
  narrator.done(
    `${count(going.size, 'member ENI')} detached and deleted in ${formatDuration(endMs - startMs)}; the cloud has ` +
      `${left === 0 ? '' : 'only '}${rest} left`,
  );
  stage.pods.forgetGone();
  return { enis: going.size, tookMs: endMs - startMs, left: rest };
}
