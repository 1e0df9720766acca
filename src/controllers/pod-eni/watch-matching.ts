import type { Informers } from '../../cluster/informers.ts';
import { keyOf } from '../../kube/types.ts';
import type { Clock } from '../../util/clock.ts';
import { Coalesced } from '../../util/coalesced.ts';
import type { PendingPods } from '../pending-pods.ts';
import { type Watch, watch } from '../watch.ts';

/**
 * Pods that a new or changed PodNetworking may select, or whose namespace changed its labels. When a term starts,
 * hundreds of PodNetworkings appear at once; one pass over the pods serves all of them.
 */
export function watchMatching(context: {
  clock: Clock;
  informers: Pick<Informers, 'pods' | 'podEnis' | 'podNetworkings' | 'namespaces'>;
  pendingPods: Pick<PendingPods, 'wake'>;
}): Watch {
  const { clock, informers, pendingPods } = context;
  const { pods, podEnis } = informers;
  const wake = (name: string) => pendingPods.wake({ kind: 'networking', name });
  // Their create may have failed because of what was corrected now.
  const unboundOf = (networking: string) => {
    const records = podEnis.store.byIndex('networking', networking);
    return records.filter(({ status }) => status?.phase !== 'Bind').map(({ metadata }) => keyOf(metadata));
  };
  return (add) => {
    const withoutRecord = new Coalesced(clock, () => {
      for (const key of pods.store.keys()) if (podEnis.store.get(key) === undefined) add(key);
    });
    const watches = [
      watch(informers.podNetworkings, {
        added: ({ metadata }) => {
          wake(metadata.name);
          withoutRecord.want();
          return [];
        },
        changed: (before, { metadata, status }) => {
          if (before.metadata.generation !== metadata.generation) withoutRecord.want();
          if (before.status?.status === status?.status) return [];
          wake(metadata.name);
          return unboundOf(metadata.name);
        },
        removed: ({ metadata }) => {
          wake(metadata.name);
          return [];
        },
      }),
      watch(informers.namespaces, {
        changed: (before, { metadata }) => {
          if (JSON.stringify(before.metadata.labels) !== JSON.stringify(metadata.labels)) withoutRecord.want();
          return [];
        },
      }),
    ];
    const disconnects = watches.map((connect) => connect(add));
    return () => {
      for (const disconnect of disconnects) disconnect();
      withoutRecord.cancel();
    };
  };
}
