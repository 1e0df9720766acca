import { type Random, seededRandom } from '../../../src/util/random.ts';
import { type Act, NETWORKINGS, type Step } from './acts.ts';
import { pick, pickWeighted, span, whole } from './draw.ts';

/** How things are for the whole of a history. */
export interface Surroundings {
  /** Interval of the collector; undefined: the default. */
  collectorMs: number | undefined;
  /** The second vSwitch has four addresses, so that pods wait for one. */
  isShortOfAddresses: boolean;
}

export interface SurroundingsPlan {
  surroundings: Surroundings;
  /** Of calls per minute and API; undefined: the defaults. */
  rateLimit: number | undefined;
  /** The workload takes so many times as long, so that collector, retention and silent watches have their turn in it. */
  pace: number;
  /** What happens around control plane and agents: to their machines, to the services that they call, and by hand to much at once. */
  steps: readonly Step[];
}

export interface SurroundingsSize {
  replicas: number;
  nodes: number;
  pods: number;
  vSwitches: number;
  workloadMs: number;
}

export const ORDINARY: Surroundings = { collectorMs: undefined, isShortOfAddresses: false };

/** Acts with their weights. */
type Drafts = readonly (readonly [weight: number, draft: (random: Random, size: SurroundingsSize) => Act])[];

const MINUTE_MS = 60_000;
const SHORT_INTERVAL_MS = 15_000;
const LOWEST_RATE = 4;
/** So many seeds have no outages. */
const SEEDS_WITHOUT_OUTAGES = 0.4;
const SEEDS_WITHOUT_DECEPTIONS = 0.6;
/** The product relies on the cloud to show a change within this time (docs/design/allocation.md). */
export const LONGEST_LAG_MS = 5000;
/** The product expects an ENI up to 30 s after its intent; lists may show it five seconds later (`delay-creations`, `lag-lists`). */
const LONGEST_DELAY_MS = 20_000;
/** One that is ahead shortens the times for which the control plane waits to be certain (docs/design/reliability.md). */
const SHIFTS_MS = [-MINUTE_MS, -10_000];

/** What the control plane needs is away for a while. */
const OUTAGES: Drafts = [
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
    (random) => ({
      kind: 'recreate-networking',
      networking: whole(random, NETWORKINGS.length),
      forMs: span(random, 20_000),
    }),
  ],
  [1, () => ({ kind: 'empty-namespace' })],
];
/** Quota minutes are those of the clock: where they are counted, no clock is wrong. */
const CLOCK_SHIFT: Drafts = [
  [
    3,
    (random, { replicas }) => ({ kind: 'shift-clock', replica: whole(random, replicas), ms: pick(random, SHIFTS_MS) }),
  ],
];

/** Much at once, or in an unusual order. */
const TURMOIL: Drafts = [
  [2, (random, { nodes }) => ({ kind: 'crowd-node', node: whole(random, nodes) })],
  [2, (random) => ({ kind: 'delay-creations', byMs: span(random, LONGEST_DELAY_MS), forMs: span(random, 30_000) })],
  [
    1,
    (random, { nodes }) => ({
      kind: 'crash-loop',
      node: whole(random, nodes),
      times: 2 + whole(random, 6),
      lifeMs: 20 + whole(random, 400),
    }),
  ],
  [1.5, (random, { nodes }) => ({ kind: 'reset-runtime', node: whole(random, nodes), isMidAdd: random.next() < 0.5 })],
  [1, (random, { pods }) => ({ kind: 'renew-podeni', pod: whole(random, pods), afterMs: whole(random, 3000) })],
  [1, (random, { pods }) => ({ kind: 'change-groups', pod: whole(random, pods), group: pick(random, [0, 1]) })],
];

/** The control plane, or an agent, does not see how things are. */
const DECEPTIONS: Drafts = [
  [1, (random, { nodes }) => ({ kind: 'move-eni', bound: whole(random, 100), node: whole(random, nodes) })],
  [
    1,
    (random, { replicas }) => ({
      kind: 'torn-takeover',
      replica: whole(random, replicas),
      frozen: pick(random, ['podenis', 'nodes']),
      afterMs: span(random, 30_000),
      forMs: span(random, 40_000),
    }),
  ],
  [
    1,
    (random) => ({
      kind: 'delay-attachments',
      byMs: span(random, 2500),
      createdMs: whole(random, LONGEST_LAG_MS),
      forMs: span(random, 15_000),
      isPodGone: random.next() < 0.5,
    }),
  ],
  [1, (random) => ({ kind: 'take-addresses', networking: pick(random, NETWORKINGS) })],
  [1, (random, { nodes }) => ({ kind: 'cut-off-agent', node: whole(random, nodes), forMs: span(random, 30_000) })],
];

/**
 * The part of a seed's plan that is about its surroundings: drawn apart, so that the rest stays as it is without them, each table
 * with chance of its own, so that a new table leaves the others as they are.
 *
 * @param rateLimit what the rest of the plan says of it
 */
export function surroundingsOf(seed: number, size: SurroundingsSize, rateLimit: number | undefined): SurroundingsPlan {
  const random = seededRandom(seed ^ 0xc10d5);
  const collectorMs = random.next() < 0.5 ? SHORT_INTERVAL_MS : undefined;
  const isShortOfAddresses = random.next() < 0.3;
  const limit = random.next() < 0.1 ? LOWEST_RATE : rateLimit;
  const pace = random.next() < 0.2 ? 10 : 1;
  const turmoil = drawn(random, whole(random, 5), TURMOIL, size);
  return {
    surroundings: { collectorMs, isShortOfAddresses },
    rateLimit: limit,
    pace,
    steps: [...outagesOf(seed, size, limit !== undefined), ...turmoil, ...deceptionsOf(seed, size)],
  };
}

function outagesOf(seed: number, size: SurroundingsSize, isQuotaCounted: boolean): Step[] {
  const random = seededRandom(seed ^ 0x0475de);
  if (random.next() < SEEDS_WITHOUT_OUTAGES) return [];
  return drawn(random, 1 + whole(random, 4), isQuotaCounted ? OUTAGES : [...OUTAGES, ...CLOCK_SHIFT], size);
}

function deceptionsOf(seed: number, size: SurroundingsSize): Step[] {
  const random = seededRandom(seed ^ 0x3b11d);
  return random.next() < SEEDS_WITHOUT_DECEPTIONS ? [] : drawn(random, 1 + whole(random, 3), DECEPTIONS, size);
}

function drawn(random: Random, count: number, drafts: Drafts, size: SurroundingsSize): Step[] {
  return Array.from({ length: count }, () => ({
    atMs: whole(random, size.workloadMs),
    act: pickWeighted(random, drafts)(random, size),
  }));
}
