import { type Losses, noteLosses } from '../../allocation/match.ts';
import { candidatesFor } from '../../allocation/networking-candidates.ts';
import { networkingLookup } from '../../cluster/networking-lookup.ts';
import { isCandidate, podToMatch } from '../../cluster/pod-view.ts';
import type { Namespace, Pod } from '../../cluster/resources.ts';
import type { PodNetworking } from '../../crds/pod-networking.ts';
import type { Store } from '../../kube/store.ts';
import type { Clock } from '../../util/clock.ts';

export interface OverlapsContext {
  clock: Clock;
  informers: {
    pods: { store: Pick<Store<Pod>, 'list'> };
    namespaces: { store: Pick<Store<Namespace>, 'get'> };
    podNetworkings: { store: Pick<Store<PodNetworking>, 'values' | 'get' | 'byIndex'> };
  };
  /** How often a Ready PodNetworking is checked again. */
  networkingRecheckMs: number;
  /** Owner kinds besides StatefulSet whose pods keep their names. */
  stableNameKinds: readonly string[];
}

/** Pods per turn of the event loop: a few milliseconds. */
const PODS_PER_TURN = 250;

/**
 * Finds pods that several PodNetworkings select. One pass over the pods serves all PodNetworkings, because pods are
 * many.
 */
export class Overlaps {
  readonly #context: OverlapsContext;
  #losses: Losses = new Map();
  #foundAtMs = Number.NEGATIVE_INFINITY;

  constructor(context: OverlapsContext) {
    this.#context = context;
  }

  /** PodNetworkings whose pods others serve. */
  get size(): number {
    return this.#losses.size;
  }

  /** The PodNetworking is gone. */
  forget(name: string): void {
    this.#losses.delete(name);
  }

  /**
   * Which other PodNetworkings serve pods that this one also selects, as text for its status; undefined when there are
   * none.
   */
  async remarkOn(name: string, signal: AbortSignal): Promise<string | undefined> {
    const { clock, networkingRecheckMs } = this.#context;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.#foundAtMs >= networkingRecheckMs / 2) {
      this.#losses = await this.#find(signal);
      this.#foundAtMs = nowMs;
    }
    const winners = [...(this.#losses.get(name) ?? [])].sort(([a], [b]) => (a < b ? -1 : 1));
    if (winners.length === 0) return undefined;
    const pods = winners.map(([winner, count]) => `${count} by ${winner}`);
    return `pods that it selects are served by other PodNetworkings, which have higher precedence by priority and name: ${pods.join(', ')}`;
  }

  async #find(signal: AbortSignal): Promise<Losses> {
    const { clock, informers, stableNameKinds } = this.#context;
    const losses: Losses = new Map();
    let selectors = 0;
    for (const { spec } of informers.podNetworkings.store.values()) if (spec.selector !== undefined) selectors += 1;
    // With at most one selector there is no overlap.
    if (selectors < 2) return losses;
    const networkings = networkingLookup(informers.podNetworkings.store);
    for (const [at, pod] of informers.pods.store.list().entries()) {
      if (at > 0 && at % PODS_PER_TURN === 0) await clock.sleep(0, signal);
      if (!isCandidate(pod)) continue;
      const labels = informers.namespaces.store.get(pod.metadata.namespace ?? '')?.metadata.labels;
      const toMatch = podToMatch(pod, labels, stableNameKinds);
      noteLosses(losses, toMatch, candidatesFor(toMatch, networkings));
    }
    // Some may have gone meanwhile.
    for (const name of losses.keys()) if (informers.podNetworkings.store.get(name) === undefined) losses.delete(name);
    return losses;
  }
}
