import { type Losses, noteLosses } from '../../allocation/match.ts';
import { candidatesFor } from '../../allocation/networking-candidates.ts';
import { networkingLookup } from '../../cluster/networking-lookup.ts';
import { isCandidate, podToMatch } from '../../cluster/pod-view.ts';
import type { Namespace, Pod } from '../../cluster/resources.ts';
import type { PodNetworking } from '../../crds/pod-networking.ts';
import type { Store } from '../../kube/store.ts';
import type { Clock } from '../../util/clock.ts';

/** What it works with. */
export interface OverlapsContext {
  clock: Clock;
  informers: {
    pods: { store: Pick<Store<Pod>, 'list'> };
    namespaces: { store: Pick<Store<Namespace>, 'get'> };
    podNetworkings: { store: Pick<Store<PodNetworking>, 'values' | 'get' | 'byIndex'> };
  };
  /** How often a Ready PodNetworking is looked at again. */
  networkingRecheckMs: number;
  /** Kinds of owners besides StatefulSet whose pods keep their names. */
  stableNameKinds: readonly string[];
}

/** Between two turns of the event loop: a few milliseconds. */
const PODS_PER_TURN = 250;

/** PodNetworkings of one pod are few; the pods are many, so that they are gone through once for all PodNetworkings. */
export class Overlaps {
  readonly #context: OverlapsContext;
  #losses: Losses = new Map();
  #foundAtMs = Number.NEGATIVE_INFINITY;

  constructor(context: OverlapsContext) {
    this.#context = context;
  }

  /** Who serves pods that this PodNetworking selects as well, in words for its status; undefined when nobody does. */
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
    return `pods that it selects are served by other PodNetworkings, which go before by priority and name: ${pods.join(', ')}`;
  }

  async #find(signal: AbortSignal): Promise<Losses> {
    const { clock, informers, stableNameKinds } = this.#context;
    const losses: Losses = new Map();
    let selectors = 0;
    for (const { spec } of informers.podNetworkings.store.values()) if (spec.selector !== undefined) selectors += 1;
    // Nobody can lose where at most one has a selector.
    if (selectors < 2) return losses;
    const networkings = networkingLookup(informers.podNetworkings.store);
    for (const [at, pod] of informers.pods.store.list().entries()) {
      if (at > 0 && at % PODS_PER_TURN === 0) await clock.sleep(0, signal);
      if (!isCandidate(pod)) continue;
      const labels = informers.namespaces.store.get(pod.metadata.namespace ?? '')?.metadata.labels;
      const toMatch = podToMatch(pod, labels, stableNameKinds);
      noteLosses(losses, toMatch, candidatesFor(toMatch, networkings));
    }
    return losses;
  }
}
