import { overlappingNetworkings } from '../../allocation/match.ts';
import type { Informers } from '../../cluster/informers.ts';
import { isCandidate, podToMatch } from '../../cluster/pod-view.ts';
import type { Clock } from '../../util/clock.ts';

/** What it works with. */
export interface OverlapsContext {
  clock: Clock;
  /** How often a Ready PodNetworking is looked at again. */
  networkingRecheckMs: number;
  /** Kinds of owners besides StatefulSet whose pods keep their names. */
  stableNameKinds: readonly string[];
  informers: Pick<Informers, 'pods' | 'namespaces' | 'podNetworkings'>;
}

/** PodNetworkings of one pod are few; the pods are many, so that they are gone through once for all PodNetworkings. */
export class Overlaps {
  readonly #context: OverlapsContext;
  #losses: ReturnType<typeof overlappingNetworkings> = new Map();
  #foundAtMs = Number.NEGATIVE_INFINITY;

  constructor(context: OverlapsContext) {
    this.#context = context;
  }

  /** Who serves pods that this PodNetworking selects as well, in words for its status; undefined when nobody does. */
  remarkOn(name: string): string | undefined {
    const { clock, networkingRecheckMs } = this.#context;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.#foundAtMs >= networkingRecheckMs / 2) {
      this.#foundAtMs = nowMs;
      this.#losses = this.#find();
    }
    const winners = [...(this.#losses.get(name) ?? [])].sort(([a], [b]) => (a < b ? -1 : 1));
    if (winners.length === 0) return undefined;
    const pods = winners.map(([winner, count]) => `${count} by ${winner}`);
    return `pods that it selects are served by other PodNetworkings, which go before by priority and name: ${pods.join(', ')}`;
  }

  #find(): ReturnType<typeof overlappingNetworkings> {
    const { informers, stableNameKinds } = this.#context;
    const networkings = informers.podNetworkings.store.list();
    // Nobody can lose where at most one has a selector.
    if (networkings.filter(({ spec }) => spec.selector !== undefined).length < 2) return new Map();
    const namespaces = informers.namespaces.store;
    const pods = [...informers.pods.store.values()].filter(isCandidate).map((pod) => {
      const labels = namespaces.get(pod.metadata.namespace ?? '')?.metadata.labels;
      return podToMatch(pod, labels, stableNameKinds);
    });
    return overlappingNetworkings(pods, networkings);
  }
}
