import { type NetworkingLookup, selectorKeys } from '../allocation/networking-candidates.ts';
import type { PodNetworking } from '../crds/pod-networking.ts';
import type { Store } from '../kube/store.ts';

/** Indexers of the PodNetworking store, for {@link networkingLookup}. */
export const NETWORKING_INDEXERS = { selectorKey: selectorKeys };

/** Finds the PodNetworkings that a pod may have without scanning all of them. */
export function networkingLookup(store: Pick<Store<PodNetworking>, 'get' | 'byIndex'>): NetworkingLookup {
  return {
    get: (name) => store.get(name),
    bySelectorKey: (key) => store.byIndex('selectorKey', key),
  };
}
