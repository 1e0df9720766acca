import { pollUntil } from '../cluster/poll.ts';
import { cloudProblems, memberEniIds } from './checks.ts';
import { DemoError } from './errors.ts';
import { withLivePods } from './live-pods.ts';
import type { Narrator } from './narrator.ts';
import { readSamples } from './samples.ts';
import type { Stage } from './stage.ts';
import { count, formatDuration } from './text.ts';

const RELEASE_TIMEOUT_MS = 120_000;
const CLOUD_INTERVAL_MS = 200;

/** How the Deployment's ENIs went. */
export interface Release {
  enis: number;
  /** From the request to scale until the cloud had none of them. */
  tookMs: number;
  /** Member ENIs that the cloud still has: those of the StatefulSet. */
  left: string[];
}

/** Scales the Deployment to zero and follows its ENIs until the cloud has none of them. @throws DemoError if one stays */
export async function tellRelease(narrator: Narrator, stage: Stage, membersCreated: number): Promise<Release> {
  const { elastic, fixed } = await readSamples();
  narrator.chapter(
    'Nothing stays behind',
    `Deployment ${elastic.name} is scaled to zero. Its PodENIs are deleted, but each stays until the cloud itself shows ` +
      'that its ENI is gone: an ENI without an owner would cost an address, a slot of the trunk, and money.',
  );
  const idsOf = (app: string) =>
    stage.pods.records(app).flatMap(({ podEni }) => podEni?.spec.allocations?.map(({ eni }) => eni.id) ?? []);
  const going = new Set(idsOf(elastic.name));
  const kept = idsOf(fixed.name);
  let left = going.size;
  const startMs = performance.now();
  const endMs = await withLivePods(
    narrator,
    stage,
    {
      records: () => stage.pods.records(elastic.name),
      omit: ['VSWITCH', 'TIME'],
      progress: () => `${left} of ${count(going.size, 'member ENI')} of the Deployment are left in the cloud`,
    },
    async () => {
      await stage.kubectl('scale', 'deployment', elastic.name, '--replicas=0');
      const cloudEmptyMs = await pollUntil(
        async () => {
          const present = memberEniIds(await stage.lab.cloud.state());
          left = present.filter((id) => going.has(id)).length;
          return left === 0 ? performance.now() : undefined;
        },
        {
          what: `the ${going.size} member ENIs of Deployment ${elastic.name} to leave the cloud`,
          timeoutMs: RELEASE_TIMEOUT_MS,
          intervalMs: CLOUD_INTERVAL_MS,
          signal: stage.signal,
        },
      );
      await stage.pods.changes.until(
        () => (stage.pods.records(elastic.name).every((each) => each.podEni === undefined) ? true : undefined),
        {
          signal: stage.signal,
          timeoutMs: RELEASE_TIMEOUT_MS,
          problem: () => `PodENIs of Deployment ${elastic.name} are still there, though their ENIs are gone`,
        },
      );
      return cloudEmptyMs;
    },
  );
  const [snapshot, counters] = await Promise.all([stage.lab.cloud.state(), stage.lab.cloud.counters()]);
  const problems = cloudProblems(snapshot, counters, { nodes: stage.nodeCount, memberIds: kept, membersCreated });
  if (problems.length > 0) throw new DemoError(problems.join('; '));
  narrator.done(
    `${count(going.size, 'member ENI')} detached and deleted in ${formatDuration(endMs - startMs)}; the cloud has only ` +
      `the ${kept.length} of StatefulSet ${fixed.name} left`,
  );
  stage.pods.forgetGone();
  return { enis: going.size, tookMs: endMs - startMs, left: memberEniIds(snapshot) };
}
