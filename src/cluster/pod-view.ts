import type { PodToJudge } from '../allocation/escape.ts';
import type { PodView } from '../allocation/lifecycle.ts';
import { hasStableName, type PodToMatch } from '../allocation/match.ts';
import { LABEL_IGNORE } from '../crds/names.ts';
import type { Pod } from './resources.ts';

/** Finished pods give up their interfaces although the object still exists. */
export function isFinished(pod: Pod): boolean {
  return pod.status.phase === 'Succeeded' || pod.status.phase === 'Failed';
}

/**
 * The pod state for the life cycle. A pod that is being deleted stays live until its object is gone, because its
 * containers may run.
 */
export function podView(pod: Pod | undefined): PodView {
  if (pod === undefined || isFinished(pod)) return { state: 'none' };
  return { state: 'live', uid: pod.metadata.uid ?? '', nodeName: pod.spec.nodeName };
}

/** Whether the pod can get an ENI at all: on a node, in its own network, not opted out, not being deleted. */
export function isCandidate(pod: Pod): boolean {
  return (
    pod.spec.nodeName !== '' &&
    !pod.spec.hostNetwork &&
    pod.metadata.labels?.[LABEL_IGNORE] !== 'true' &&
    pod.metadata.deletionTimestamp === undefined &&
    !isFinished(pod)
  );
}

/** Pod fields for the choice of a PodNetworking. */
export function podToMatch(
  pod: Pod,
  namespaceLabels: Record<string, string> | undefined,
  stableNameKinds: readonly string[],
): PodToMatch {
  return {
    key: `${pod.metadata.namespace ?? ''}/${pod.metadata.name}`,
    labels: pod.metadata.labels ?? {},
    annotations: pod.metadata.annotations ?? {},
    namespaceLabels: namespaceLabels ?? {},
    hasStableName: hasStableName(pod.metadata.ownerReferences ?? [], stableNameKinds),
  };
}

/** Pod fields that show whether the webhook saw it. */
export function podToJudge({ metadata, status }: Pod, namespaceLabels: Record<string, string> | undefined): PodToJudge {
  return {
    annotations: metadata.annotations,
    createdAt: metadata.creationTimestamp,
    hasNetwork: status.podIPs.length > 0 || status.phase === 'Running',
    owners: metadata.ownerReferences ?? [],
    namespaceLabels,
  };
}
