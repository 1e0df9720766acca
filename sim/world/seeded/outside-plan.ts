import { type Random, seededRandom } from '../../../src/util/random.ts';
import { pick, pickWeighted, span, whole } from './draw.ts';

/** What happens around the control plane: to its machines, to the services that it calls, and what people do to whole sets of objects. */
export type OutsideAct =
  /** Connections break, and none can be made. */
  | { kind: 'stop-api-server'; forMs: number }
  /** The cloud answers 503 to every call. */
  | { kind: 'stop-cloud'; forMs: number }
  | { kind: 'expire-credentials'; forMs: number }
  | { kind: 'fill-vswitch'; vSwitch: number; forMs: number }
  /** The cloud refuses changes to what is attached to the instance. */
  | { kind: 'stop-instance'; node: number; forMs: number }
  /** A PodNetworking is deleted while its pods live, and created anew, with a generation that starts from one. */
  | { kind: 'recreate-networking'; networking: number; forMs: number }
  /** All pods and PodENIs are deleted. */
  | { kind: 'empty-namespace' }
  /** The wall clock of a replica's machine jumps back. */
  | { kind: 'shift-clock'; replica: number; ms: number };

export interface OutsideSize {
  replicas: number;
  nodes: number;
  vSwitches: number;
  networkings: number;
  workloadMs: number;
  /** Quota minutes are those of the clock: a replica whose clock is wrong cannot keep to them. */
  isQuotaCounted: boolean;
}

/** So many seeds have none of these acts. */
const QUIET_SEEDS = 0.4;
const MINUTE_MS = 60_000;
/** One that is ahead shortens the times for which the control plane waits to be certain (docs/design/reliability.md). */
const SHIFTS_MS = [-MINUTE_MS, -10_000];

type Draft = (random: Random, size: OutsideSize) => OutsideAct;

/** Acts with their weights. */
const ACTS: readonly (readonly [weight: number, draft: Draft])[] = [
  [3, (random) => ({ kind: 'stop-api-server', forMs: span(random, 40_000) })],
  [2, (random) => ({ kind: 'stop-cloud', forMs: span(random, 40_000) })],
  [2, (random) => ({ kind: 'expire-credentials', forMs: span(random, 40_000) })],
  [
    3,
    (random, { vSwitches }) => ({
      kind: 'fill-vswitch',
      vSwitch: whole(random, vSwitches),
      forMs: span(random, MINUTE_MS),
    }),
  ],
  [2, (random, { nodes }) => ({ kind: 'stop-instance', node: whole(random, nodes), forMs: span(random, MINUTE_MS) })],
  [
    2,
    (random, { networkings }) => ({
      kind: 'recreate-networking',
      networking: whole(random, networkings),
      forMs: span(random, 20_000),
    }),
  ],
  [1, () => ({ kind: 'empty-namespace' })],
];
const SHIFT: Draft = (random, { replicas }) => ({
  kind: 'shift-clock',
  replica: whole(random, replicas),
  ms: pick(random, SHIFTS_MS),
});
const SHIFT_WEIGHT = 3;

/** The part of a seed's plan that is about the surroundings: drawn apart, so that the rest stays as it is without them. */
export function outsidePlanOf(seed: number, size: OutsideSize): { atMs: number; act: OutsideAct }[] {
  const random = seededRandom(seed ^ 0x0475de);
  if (random.next() < QUIET_SEEDS) return [];
  const acts = size.isQuotaCounted ? ACTS : [...ACTS, [SHIFT_WEIGHT, SHIFT] as const];
  return Array.from({ length: 1 + whole(random, 4) }, () => ({
    atMs: whole(random, size.workloadMs),
    act: pickWeighted(random, acts)(random, size),
  }));
}
