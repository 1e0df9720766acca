import { type Random, seededRandom } from '../../../src/util/random.ts';
import type { NodeAct } from './acts.ts';
import { pick, pickWeighted, span, whole } from './draw.ts';

export interface NodePlan {
  /** Nodes with an agent, by number. */
  agents: readonly number[];
  steps: readonly { atMs: number; act: NodeAct }[];
}

/** So many seeds have agents, and so many nodes of these seeds. */
const SEEDS_WITH_AGENTS = 0.6;
const NODES_WITH_AGENTS = 0.7;

type Draft = (random: Random, size: { pods: number; nodes: readonly number[] }) => NodeAct;

/** Acts with their weights. */
const ACTS: readonly (readonly [weight: number, draft: Draft])[] = [
  [6, (random, { nodes }) => ({ kind: 'kill-agent', node: pick(random, nodes), forMs: span(random, 40_000) })],
  [2, (random, { nodes }) => ({ kind: 'replace-agent', node: pick(random, nodes) })],
  [3, (random, { nodes }) => ({ kind: 'stall-agent', node: pick(random, nodes), forMs: span(random, 40_000) })],
  [2, (random, { nodes }) => ({ kind: 'freeze-agent-watches', node: pick(random, nodes) })],
  [1, (random, { nodes }) => ({ kind: 'break-agent-watches', node: pick(random, nodes) })],
  [1, (random, { nodes }) => ({ kind: 'lose-records', node: pick(random, nodes), forMs: span(random, 5000) })],
  [
    2,
    (random, { nodes }) => ({
      ...{ kind: 'damage-record', node: pick(random, nodes) },
      ...{ record: whole(random, 100), forMs: span(random, 5000) },
    }),
  ],
  [3, (random, { nodes }) => ({ kind: 'reboot-node', node: pick(random, nodes), forMs: span(random, 60_000) })],
  [3, (random, { nodes }) => ({ kind: 'stop-kubelet', node: pick(random, nodes), forMs: span(random, 80_000) })],
  [6, (random, { pods }) => ({ kind: 'abandon-pod', pod: whole(random, pods), forMs: span(random, 60_000) })],
  [6, (random, { pods }) => ({ kind: 'fail-sandbox', pod: whole(random, pods), isLate: random.next() < 0.3 })],
  [2, (random, { nodes }) => ({ kind: 'collect-sandboxes', node: pick(random, nodes) })],
];

/** The part of a seed's plan that is about agents: drawn apart, so that the rest stays as it is without them. */
export function nodePlanOf(seed: number, size: { nodes: number; pods: number; workloadMs: number }): NodePlan {
  const random = seededRandom(seed ^ 0xa9e27);
  const isWithAgents = random.next() < SEEDS_WITH_AGENTS;
  const agents = Array.from({ length: size.nodes }, (_, node) => node).filter(() => random.next() < NODES_WITH_AGENTS);
  if (!isWithAgents || agents.length === 0) return { agents: [], steps: [] };
  const steps = Array.from({ length: 3 + whole(random, 15) }, () => ({
    atMs: whole(random, size.workloadMs),
    act: pickWeighted(random, ACTS)(random, { pods: size.pods, nodes: agents }),
  }));
  return { agents, steps };
}
