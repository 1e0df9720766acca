import type { Informers } from '../cluster/informers.ts';
import type { PendingPods } from './pending-pods.ts';

/** Whom a freed slot of an instance concerns: the pods that wait for it, and a leaving node, which waits for its last pod. */
export function slotNews(concerned: {
  nodes: Pick<Informers['nodes']['store'], 'byIndex'>;
  pendingPods: Pick<PendingPods, 'wake'>;
  wakeNode: (name: string) => void;
}): (instanceId: string) => void {
  return (instanceId) => {
    for (const { metadata } of concerned.nodes.byIndex('instance', instanceId)) {
      concerned.pendingPods.wake({ kind: 'slot', nodeName: metadata.name });
      if (metadata.deletionTimestamp !== undefined) concerned.wakeNode(metadata.name);
    }
  };
}
