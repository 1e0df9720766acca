import type { PodRow } from './pod-record.ts';

export interface Pair {
  from: PodRow;
  to: PodRow;
}

/**
 * Two of the pods on different nodes, if possible with different VLAN ids, so that it can be seen whose is where; undefined
 * when all are on one node.
 */
export function acrossNodes(pods: readonly PodRow[]): Pair | undefined {
  const pairs = pods.flatMap((from) => pods.filter(({ node }) => node !== from.node).map((to) => ({ from, to })));
  return pairs.find(({ from, to }) => from.vlan !== to.vlan) ?? pairs[0];
}

/** Two of the pods on one node, the first that there are; undefined when each is alone. */
export function onOneNode(pods: readonly PodRow[]): Pair | undefined {
  for (const from of pods) {
    const to = pods.find((pod) => pod !== from && pod.node === from.node);
    if (to !== undefined) return { from, to };
  }
  return undefined;
}
