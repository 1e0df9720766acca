import { type Random, seededRandom } from '../../../src/util/random.ts';
import type { Networking, Step } from './acts.ts';
import { pick, span, whole } from './draw.ts';

/** Who can take part in a scene. */
interface Cast {
  replicas: number;
  nodes: number;
  /** Nodes with an agent, by number. */
  agents: readonly number[];
  /** PodNetworking of each pod. */
  networkings: readonly Networking[];
}

/** A few acts, one after the other. They would hardly ever meet by chance. */
type Scene = (random: Random, cast: Cast) => readonly Step[];

const SEEDS_WITH_A_SCENE = 0.25;
/** After the rest of the workload, so that nothing undoes what the scene leaves. */
const LATEST_START_MS = 10_000;
/** Until a new node has its trunk. */
const NODE_MS = 5000;
/** Until a pod is bound wherever it was before, and its sandbox has a network. */
const POD_MS = 15_000;
/** A detach takes 1.5 s. */
const IN_DETACH_MS = 300;
/** Containers of a pod that is deleted take a second to end. */
const IN_TERMINATION_MS = 500;
/** Records, ENIs and attachments of many pods are requested within this time. */
const IN_CREATION_MS = 1500;
const LEASE_MS = 15_000;
/** Longer than the control plane may go without renewing its lease, and a client tries again. */
const REFUSAL_MS = 15_000;

/** A pod moves, and the next leader has heard only that its ENI is being detached. */
const missedMove: Scene = (random, cast) => {
  const pod = podOf(random, cast, ['fixed', 'never']);
  const movedMs = NODE_MS + POD_MS;
  return [
    ...started(0, pod, roomyNode(random, cast)),
    ...started(POD_MS, pod, roomyNode(random, cast)),
    {
      atMs: movedMs + IN_DETACH_MS + whole(random, 1000),
      act: {
        kind: 'torn-takeover',
        replica: whole(random, cast.replicas),
        frozen: 'podenis',
        afterMs: 6000 + whole(random, 4000),
        forMs: span(random, 40_000),
      },
    },
  ];
};

/** A pod goes while its ENI is being attached, before the cloud shows that. */
const lateAttachment: Scene = (random, cast) => {
  const late = { byMs: 1000 + whole(random, 1500), createdMs: 0, forMs: NODE_MS + POD_MS, isPodGone: true };
  return [
    ...started(0, podOf(random, cast, ['fixed', 'never']), roomyNode(random, cast)),
    { atMs: NODE_MS - 500, act: { kind: 'delay-attachments', ...late } },
  ];
};

/** A pod goes while the agent of its node cannot write that. */
const unwrittenEnd: Scene = (random, cast) => {
  const pod = whole(random, cast.networkings.length);
  return [
    ...started(0, pod, pick(random, cast.agents)),
    { atMs: NODE_MS + POD_MS, act: { kind: 'refuse-writes', forMs: REFUSAL_MS + span(random, 15_000) } },
    { atMs: NODE_MS + POD_MS + 1000, act: { kind: 'delete-pod', pod, isForced: random.next() < 0.5 } },
  ];
};

/** Somebody takes the last addresses of a vSwitch for which a pod was planned. */
const lastAddress: Scene = (random, cast) => [
  { atMs: 0, act: { kind: 'take-addresses', networking: 'elastic' } },
  ...started(0, podOf(random, cast, ['elastic']), roomyNode(random, cast)),
];

/** Two slots become free at once while pods wait for them. */
const twoFreeSlots: Scene = () => [
  { atMs: 0, act: { kind: 'add-node', node: 0 } },
  { atMs: NODE_MS, act: { kind: 'crowd-node', node: 0 } },
  { atMs: NODE_MS + POD_MS, act: { kind: 'delete-bound-pods', node: 0, count: 2 } },
];

/** The runtime forgets the sandbox of a pod that is being deleted, so that there is no DEL. */
const missedDel: Scene = (random, cast) => {
  const node = pick(random, cast.agents);
  const pod = whole(random, cast.networkings.length);
  return [
    ...started(0, pod, node),
    { atMs: NODE_MS + POD_MS, act: { kind: 'delete-pod', pod, isForced: random.next() < 0.5 } },
    { atMs: NODE_MS + POD_MS + IN_TERMINATION_MS, act: { kind: 'reset-runtime', node, isMidAdd: false } },
  ];
};

/** A pod starts and another one goes while a look at their node lists what the kernel has. */
const slowLook: Scene = (random, cast) => {
  const node = pick(random, cast.agents);
  const [first, second] = [0, 1 + whole(random, cast.networkings.length - 1)];
  const byMs = span(random, 2500);
  return [
    ...started(0, first, node),
    { atMs: NODE_MS + POD_MS, act: { kind: 'slow-dumps', node, byMs, forMs: NODE_MS + POD_MS } },
    ...started(NODE_MS + POD_MS, second, node),
    { atMs: 2 * NODE_MS + POD_MS + whole(random, NODE_MS), act: { kind: 'delete-pod', pod: first, isForced: false } },
  ];
};

/** Everything stands still while pods get their network, for longer than the lease lasts. */
const suspension: Scene = (random, cast) => {
  const node = roomyNode(random, cast);
  return [
    { atMs: 0, act: { kind: 'add-node', node } },
    { atMs: NODE_MS, act: { kind: 'crowd-node', node } },
    { atMs: NODE_MS + whole(random, IN_CREATION_MS), act: { kind: 'suspend', forMs: LEASE_MS + span(random, 15_000) } },
  ];
};

/**
 * What comes after the rest of a seed's workload, if anything does: drawn apart, so that the rest stays as it is without it, each list
 * with chance of its own, so that a new one leaves the others as they are.
 *
 * @param workloadMs how long the rest takes
 */
export function scenesOf(seed: number, cast: Cast, workloadMs: number): Step[] {
  const hasAgents = cast.agents.length > 0;
  const lists: readonly (readonly [salt: number, scenes: readonly Scene[]])[] = [
    [
      0x5ce4e,
      [lateAttachment, lastAddress, ...(cast.replicas > 1 ? [missedMove] : []), ...(hasAgents ? [unwrittenEnd] : [])],
    ],
    [0xd0b1e, [twoFreeSlots, ...(hasAgents ? [missedDel, slowLook] : [])]],
    [0x57093, [suspension]],
  ];
  return lists.flatMap(([salt, scenes]) => sceneOf(seededRandom(seed ^ salt), scenes, cast, workloadMs));
}

function sceneOf(random: Random, scenes: readonly Scene[], cast: Cast, workloadMs: number): Step[] {
  if (random.next() >= SEEDS_WITH_A_SCENE) return [];
  const startMs = workloadMs + whole(random, LATEST_START_MS);
  const scene = pick(random, scenes);
  return scene(random, cast).map(({ atMs, act }) => ({ atMs: startMs + atMs, act }));
}

/** A pod starts on a node, {@link NODE_MS} later, even if that node had been removed. */
function started(atMs: number, pod: number, node: number): Step[] {
  return [
    { atMs, act: { kind: 'add-node', node } },
    { atMs: atMs + NODE_MS, act: { kind: 'replace-pod', pod, node } },
  ];
}

function podOf(random: Random, { networkings }: Cast, wanted: readonly Networking[]): number {
  const found = [...networkings.entries()].flatMap(([pod, networking]) => (wanted.includes(networking) ? [pod] : []));
  return pick(random, found);
}

/** The first node has few slots. */
function roomyNode(random: Random, { nodes }: Cast): number {
  return nodes === 1 ? 0 : 1 + whole(random, nodes - 1);
}
