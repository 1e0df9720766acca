import { seededRandom } from '../../../src/util/random.ts';
import { pick, pickWeighted, span, whole } from './draw.ts';
import type { NodeAct } from './node-plan.ts';

/** What happens around control plane and agents, beside what a plan has else. */
export type SurroundingsAct =
  /** Every pod that does not exist is created on this node. */
  | { kind: 'crowd-node'; node: number }
  /** For a while connections break at each creation of an ENI, and the request arrives `byMs` later. */
  | { kind: 'delay-creations'; byMs: number; forMs: number }
  /** Somebody deletes the PodENI of a pod, and a moment later the sandbox of the pod fails. */
  | { kind: 'renew-podeni'; pod: number; afterMs: number }
  /** Somebody gives the ENI of a pod another security group. */
  | { kind: 'change-groups'; pod: number; group: number };

type AnyAct = SurroundingsAct | Extract<NodeAct, { kind: 'crash-loop' | 'reset-runtime' }>;

/** How things are for the whole of a history. */
export interface Surroundings {
  /** Interval of the collector; undefined: the default. */
  collectorMs: number | undefined;
  /** The second vSwitch has four addresses, so that pods wait for one. */
  isShortOfAddresses: boolean;
}

export interface SurroundingsPlan extends Surroundings {
  /** Of calls per minute and API; undefined: as the plan says. */
  rateLimit: number | undefined;
  /** The workload takes so many times as long, so that collector, retention and silent watches have their turn in it. */
  pace: number;
  steps: readonly { atMs: number; act: AnyAct }[];
}

export const ORDINARY: Surroundings = { collectorMs: undefined, isShortOfAddresses: false };

const SHORT_INTERVAL_MS = 15_000;
const LOWEST_RATE = 4;
/** The product expects an ENI up to 30 s after its intent; lists may show it five seconds later (`delay-creations`, `lag-lists`). */
const LONGEST_DELAY_MS = 20_000;

/** The part of a seed's plan that is about its surroundings: drawn apart, so that the rest stays as it is without them. */
export function surroundingsOf(
  seed: number,
  size: { nodes: number; pods: number; workloadMs: number },
): SurroundingsPlan {
  const random = seededRandom(seed ^ 0xc10d5);
  const collectorMs = random.next() < 0.5 ? SHORT_INTERVAL_MS : undefined;
  const isShortOfAddresses = random.next() < 0.3;
  const rateLimit = random.next() < 0.1 ? LOWEST_RATE : undefined;
  const pace = random.next() < 0.2 ? 10 : 1;
  const steps = Array.from({ length: whole(random, 5) }, () => ({
    atMs: whole(random, size.workloadMs),
    act: pickWeighted<() => AnyAct>(random, [
      [2, () => ({ kind: 'crowd-node', node: whole(random, size.nodes) })],
      [2, () => ({ kind: 'delay-creations', byMs: span(random, LONGEST_DELAY_MS), forMs: span(random, 30_000) })],
      [
        1,
        () => ({
          kind: 'crash-loop',
          node: whole(random, size.nodes),
          times: 2 + whole(random, 6),
          lifeMs: 20 + whole(random, 400),
        }),
      ],
      [1.5, () => ({ kind: 'reset-runtime', node: whole(random, size.nodes), isMidAdd: random.next() < 0.5 })],
      [1, () => ({ kind: 'renew-podeni', pod: whole(random, size.pods), afterMs: whole(random, 3000) })],
      [1, () => ({ kind: 'change-groups', pod: whole(random, size.pods), group: pick(random, [0, 1]) })],
    ])(),
  }));
  return { collectorMs, isShortOfAddresses, rateLimit, pace, steps };
}
