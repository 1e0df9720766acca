import { matchNetworking } from '../../allocation/match.ts';
import { candidatesFor } from '../../allocation/networking-candidates.ts';
import type { PoolPod } from '../../allocation/pool/view.ts';
import type { Informers } from '../../cluster/informers.ts';
import { networkingLookup } from '../../cluster/networking-lookup.ts';
import { isCandidate, isFinished, podToMatch } from '../../cluster/pod-view.ts';
import type { Pod } from '../../cluster/resources.ts';
import { ANNOTATION_POD_ENI } from '../../crds/names.ts';
import { keyOf } from '../../kube/types.ts';

export interface PoolPodsContext {
  /** Owner kinds besides StatefulSet whose pods keep their names. */
  stableNameKinds: readonly string[];
  informers: { [Name in 'pods' | 'namespaces' | 'podNetworkings' | 'podEnis']: Pick<Informers[Name], 'store'> };
}

/**
 * The pods of a node in networks of their own, oldest first. Those without an ENI of their own that no PodNetworking picks share its
 * ENIs. Of the others, too, it counts which addresses they use: a record that was lost does not tell, and what a pod has already it
 * keeps, whatever picks it now.
 *
 * @param holders uids of pods that have an address
 */
export function poolPods(
  { informers, stableNameKinds }: PoolPodsContext,
  nodeName: string,
  holders: ReadonlySet<string>,
): PoolPod[] {
  const networkings = networkingLookup(informers.podNetworkings.store);
  const isPicked = (pod: Pod) => {
    const { annotations, namespace = '' } = pod.metadata;
    if (
      annotations?.[ANNOTATION_POD_ENI] === 'true' ||
      informers.podEnis.store.get(keyOf(pod.metadata)) !== undefined
    ) {
      return true;
    }
    // Its labels may make a difference.
    const known = informers.namespaces.store.get(namespace);
    if (known === undefined) return true;
    const toMatch = podToMatch(pod, known.metadata.labels, stableNameKinds);
    return matchNetworking(toMatch, candidatesFor(toMatch, networkings)).kind !== 'none';
  };
  return informers.pods.store
    .byIndex('node', nodeName)
    .filter((pod) => !pod.spec.hostNetwork && !isFinished(pod))
    .map((pod) => ({
      key: keyOf(pod.metadata),
      uid: pod.metadata.uid ?? '',
      reported: pod.status.podIPs,
      mayGet: isCandidate(pod) && (holders.has(pod.metadata.uid ?? '') || !isPicked(pod)),
      createdAt: pod.metadata.creationTimestamp ?? '',
    }))
    .sort((a, b) => (a.createdAt === b.createdAt ? 0 : a.createdAt < b.createdAt ? -1 : 1))
    .map(({ createdAt: _createdAt, ...pod }) => pod);
}
