import type { Counters } from '../sim/cloud/model/journal.ts';
import type { Snapshot } from '../sim/cloud/model/snapshot.ts';
import type { PodRow } from './pod-record.ts';

/** What the cloud must have: nodes with a primary and a trunk ENI each, and exactly these member ENIs. */
export interface ExpectedCloud {
  nodes: number;
  /** Instances that are no nodes, with a primary ENI each. */
  otherInstances: number;
  /** Ids of the member ENIs that belong to pods. */
  memberIds: readonly string[];
  /** Member ENIs that have been created since the beginning. */
  membersCreated: number;
}

/** Ids of all ENIs of the account that are or were made for pods. */
export function memberEniIds(snapshot: Snapshot): string[] {
  return snapshot.enis.filter(({ type }) => type !== 'Primary' && type !== 'Trunk').map(({ id }) => id);
}

/** How many calls have asked the cloud to change something. */
export function changingCalls({ calls }: Counters): number {
  return Object.entries(calls)
    .filter(([action]) => !action.startsWith('Describe'))
    .flatMap(([, outcomes]) => Object.values(outcomes))
    .reduce((sum, number) => sum + number, 0);
}

/** What is wrong in the cloud, judged by its own state; empty when all is as expected. */
export function cloudProblems(snapshot: Snapshot, counters: Counters, expected: ExpectedCloud): string[] {
  const problems: string[] = [];
  const present = memberEniIds(snapshot);
  const extra = present.filter((id) => !expected.memberIds.includes(id));
  const missing = expected.memberIds.filter((id) => !present.includes(id));
  if (extra.length > 0) problems.push(`the cloud has member ENIs that no pod has: ${extra.join(', ')}`);
  if (missing.length > 0) problems.push(`the cloud lacks member ENIs of pods: ${missing.join(', ')}`);
  for (const eni of snapshot.enis) {
    if (eni.status !== 'InUse') problems.push(`${eni.id} is ${eni.status} in the cloud instead of InUse`);
  }
  const all = snapshot.enis.length;
  const created = 2 * expected.nodes + expected.otherInstances + expected.membersCreated;
  const deleted = expected.membersCreated - expected.memberIds.length;
  const check = (what: string, actual: number, wanted: number) => {
    if (actual !== wanted) problems.push(`${what}: ${actual} instead of ${wanted}`);
  };
  check('ENIs in the cloud', all, created - deleted);
  check('ENIs created', counters.eniCreated, created);
  check('ENIs deleted', counters.eniDeleted, deleted);
  return problems;
}

/** What is wrong with a pod of fixed address that has come back; empty when it kept what it should. */
export function returnProblems(before: PodRow, after: PodRow): string[] {
  const problems: string[] = [];
  if (after.address !== before.address)
    problems.push(`the address is ${after.address}, not ${before.address} any more`);
  if (after.eniId !== before.eniId) problems.push(`the ENI is ${after.eniId}, not ${before.eniId} any more`);
  if (after.node === before.node) problems.push(`the node is still ${before.node}`);
  return problems;
}
