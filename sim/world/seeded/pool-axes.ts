import { type Random, seededRandom } from '../../../src/util/random.ts';
import { type Act, SPEC_AUTHORS, type Step } from './acts.ts';
import { pick, pickWeighted, span, whole } from './draw.ts';
import { knobsOf } from './pool-plan.ts';

/**
 * Families of the addresses that pods share. `dual`: every node can give pairs. `mixed`: the first node cannot, as its instance type has
 * fewer IPv6 than IPv4 addresses.
 */
export type Stack = 'ipv4' | 'dual' | 'mixed';

export interface PoolAxes {
  stack: Stack;
  /** After a restored backup people delete Node CRs before they start the control plane (docs/operate.md). */
  deletesRecords: boolean;
  steps: readonly Step[];
}

export const WITHOUT_AXES: PoolAxes = { stack: 'ipv4', deletesRecords: false, steps: [] };

/** So many seeds with pools have each of these. */
const SEEDS_WITH_IPV6 = 0.4;
const SEEDS_WITH_OWNERS = 0.3;
const SEEDS_WITH_FULL_VSWITCHES = 0.4;
/** Of those with both families. */
const SEEDS_WITH_REMOVED_IPV6 = 0.5;
const LONGEST_FULL_MS = 60_000;
const SEEDS_WITH_DEGRADATION = 0.3;
const LONGEST_DEGRADED_MS = 40_000;

type Draft = (random: Random, agents: readonly number[]) => Act;

/** What others write into Node CRs. */
const OWNERS: readonly (readonly [weight: number, draft: Draft])[] = [
  [
    3,
    (random, agents) => ({
      ...{ kind: 'own-pool', node: pick(random, agents) },
      ...{ by: pick(random, SPEC_AUTHORS), knobs: knobsOf(random) },
    }),
  ],
  [
    2,
    (random, agents) => ({
      ...{ kind: 'own-eni', node: pick(random, agents) },
      ...{ by: pick(random, SPEC_AUTHORS), group: whole(random, 2) },
    }),
  ],
  [1, (random, agents) => ({ kind: 'own-flavor', node: pick(random, agents), by: pick(random, SPEC_AUTHORS) })],
];

/** What else happens where pods share ENIs: each drawn apart, so that a new one leaves the others as they are. */
export function poolAxesOf(seed: number, cast: { agents: readonly number[]; workloadMs: number }): PoolAxes {
  const { agents, workloadMs } = cast;
  const stack = stackOf(seed);
  const owning = seededRandom(seed ^ 0x0b9e5);
  const owners = stepsOf(owning, SEEDS_WITH_OWNERS, 4, workloadMs, () => pickWeighted(owning, OWNERS)(owning, agents));
  const filling = seededRandom(seed ^ 0xf0115);
  const full = stepsOf(filling, SEEDS_WITH_FULL_VSWITCHES, 3, workloadMs, () => ({
    ...{ kind: 'fill-shared-vswitch', what: stack !== 'ipv4' && filling.next() < 0.5 ? 'ipv6' : 'all' },
    forMs: span(filling, LONGEST_FULL_MS),
  }));
  const degrading = seededRandom(seed ^ 0xde94a);
  const degraded = stepsOf(degrading, SEEDS_WITH_DEGRADATION, 3, workloadMs, () => ({
    ...{ kind: 'degrade', level: degrading.next() < 0.5 ? 'l0' : 'l1' },
    forMs: span(degrading, LONGEST_DEGRADED_MS),
  }));
  const deletesRecords = seededRandom(seed ^ 0xde1).next() < 0.5;
  const removing = seededRandom(seed ^ 0x16a7e);
  const removals = stepsOf(removing, stack === 'ipv4' ? 0 : SEEDS_WITH_REMOVED_IPV6, 5, workloadMs, () => ({
    ...{ kind: 'unassign-address', node: pick(removing, agents), family: 'ipv6' },
    ...{ address: whole(removing, 100), isBound: removing.next() < 0.5 },
  }));
  return { stack, deletesRecords, steps: [...owners, ...full, ...degraded, ...removals] };
}

function stackOf(seed: number): Stack {
  const random = seededRandom(seed ^ 0xd0a1);
  if (random.next() >= SEEDS_WITH_IPV6) return 'ipv4';
  return random.next() < 0.25 ? 'mixed' : 'dual';
}

function stepsOf(random: Random, share: number, most: number, workloadMs: number, draft: () => Act): Step[] {
  if (random.next() >= share) return [];
  return Array.from({ length: 1 + whole(random, most) }, () => ({ atMs: whole(random, workloadMs), act: draft() }));
}
