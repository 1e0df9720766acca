import { formatDuration } from '../src/util/terminal/text.ts';
import { returnProblems } from './checks.ts';
import { DemoError } from './errors.ts';
import { withLivePods } from './live-pods.ts';
import type { Narrator } from './narrator.ts';
import { isBound, type PodRecord, type PodRow, podRow } from './pod-record.ts';
import type { Stage } from './stage.ts';

const RETURN_TIMEOUT_MS = 120_000;

/** A pod of the StatefulSet before and after it has moved. */
export interface Move {
  before: PodRow;
  after: PodRow;
  /** From the deletion of the old pod until the new one had its ENI. */
  tookMs: number;
}

/** Somebody who uses the pod while it moves. */
export interface Witness {
  /** What the chapter says about it. */
  readonly why: string;
  /** Called before the pod is deleted. */
  begin(before: PodRow): Promise<void>;
  /** How it goes, in a line. */
  progress(): string;
  /** Called when the pod is back; tells what was seen. @throws DemoError when it was not what it should be */
  end(after: PodRow): Promise<void>;
}

/** Deletes a pod of the StatefulSet and follows it to another node. @throws DemoError unless it keeps address and ENI. */
export async function tellFixedAddress(narrator: Narrator, stage: Stage, witness?: Witness): Promise<Move> {
  const { fixed } = stage.samples;
  const name = `${fixed.name}-0`;
  const old = stage.pods.record(name);
  if (old?.pod === undefined) throw new DemoError(`there is no pod ${name}`);
  const before = podRow(old, performance.now());
  const oldUid = old.pod.metadata.uid;
  narrator.chapter(
    'Same address, another node',
    `${name} is deleted, and its node ${before.node} is cordoned so that the scheduler must choose another one of the ` +
      `zone. PodNetworking "${fixed.name}" is Fixed: the ENI is detached but kept, and moves to where the pod comes back.` +
      (witness === undefined ? '' : ` ${witness.why}`),
  );
  await witness?.begin(before);
  const startMs = performance.now();
  const { record, endMs } = await withLivePods(
    narrator,
    stage,
    {
      records: () => stage.pods.records(fixed.name),
      omit: ['VSWITCH'],
      progress: () => [
        `${name} is on its way, ${formatDuration(performance.now() - startMs)} since it was deleted`,
        ...(witness === undefined ? [] : [witness.progress()]),
      ],
    },
    () => movePod(stage, { name, oldUid, node: before.node }),
  );
  const after = podRow(record, performance.now());
  const problems = returnProblems(before, after);
  if (problems.length > 0) throw new DemoError(`${name} has come back, but ${problems.join('; ')}`);
  narrator.done(
    `${name} moved from ${before.node} to ${after.node} in ${formatDuration(endMs - startMs)} and kept ${after.address} ` +
      `and ${after.eniId}`,
  );
  await witness?.end(after);
  return { before, after, tookMs: endMs - startMs };
}

async function movePod(
  stage: Stage,
  { name, oldUid, node }: { name: string; oldUid: string; node: string },
): Promise<{ record: PodRecord; endMs: number }> {
  await stage.kubectl('cordon', node);
  try {
    await stage.kubectl('delete', 'pod', name, '--wait=false');
    return await stage.pods.changes.until(
      () => {
        const record = stage.pods.record(name);
        const isBack = record?.pod !== undefined && record.pod.metadata.uid !== oldUid && isBound(record);
        return isBack && record.pod?.status.phase === 'Running' ? { record, endMs: performance.now() } : undefined;
      },
      {
        signal: stage.signal,
        timeoutMs: RETURN_TIMEOUT_MS,
        problem: () => {
          const record = stage.pods.record(name);
          const phase = record === undefined ? 'gone' : podRow(record, performance.now()).phase;
          return `${name} has not come back: its PodENI is ${phase}`;
        },
      },
    );
  } finally {
    if (!stage.signal.aborted) await stage.kubectl('uncordon', node);
  }
}
