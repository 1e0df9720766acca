import type { Informers } from '../../cluster/informers.ts';
import { type HasMetadata, keyOf } from '../../kube/types.ts';
import type { Clock } from '../../util/clock.ts';
import { Coalesced } from '../../util/coalesced.ts';
import type { PendingPods } from '../pending-pods.ts';
import { type Watch, watch } from '../watch.ts';

/**
 * Pods that a new or changed PodNetworking may select, or whose namespace changed its labels: those without a record, which
 * are few. When a term starts, hundreds of PodNetworkings appear at once; one pass over those pods serves all of them.
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
    const unrecorded = new Set<string>();
    const note = ({ metadata }: HasMetadata) => {
      const key = keyOf(metadata);
      if (pods.store.get(key) !== undefined && podEnis.store.get(key) === undefined) unrecorded.add(key);
      else unrecorded.delete(key);
      return [];
    };
    const withoutRecord = new Coalesced(clock, () => {
      for (const key of unrecorded) add(key);
    });
    const watches = [
      watch(pods, { added: note, removed: note }),
      watch(podEnis, { added: note, removed: note }),
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
