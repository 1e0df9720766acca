import type { PodView } from '../allocation/lifecycle.ts';
import { LABEL_IGNORE } from '../crds/names.ts';
import type { Pod } from './resources.ts';

/** Finished pods give their interface back although the object still exists. */
export function isFinished(pod: Pod): boolean {
  return pod.status.phase === 'Succeeded' || pod.status.phase === 'Failed';
}

/** The pod as the life cycle sees it. A pod that is being deleted lives until its object is gone: its containers may run. */
export function podView(pod: Pod | undefined): PodView {
  if (pod === undefined || isFinished(pod)) return { state: 'none' };
  return { state: 'live', uid: pod.metadata.uid ?? '', nodeName: pod.spec.nodeName };
}

/** Whether the pod may get an ENI at all (reference 4.1): on a node, in its own network, not opted out, not leaving. */
export function isCandidate(pod: Pod): boolean {
  return (
    pod.spec.nodeName !== '' &&
    !pod.spec.hostNetwork &&
    pod.metadata.labels?.[LABEL_IGNORE] !== 'true' &&
    pod.metadata.deletionTimestamp === undefined &&
    !isFinished(pod)
  );
}

/** Its successor has the same name: it belongs to a StatefulSet or to nobody (reference 3.2). */
export function hasStableName(pod: Pod): boolean {
  const owners = pod.metadata.ownerReferences ?? [];
  return owners.length === 0 || owners.some((owner) => owner.kind === 'StatefulSet');
}
