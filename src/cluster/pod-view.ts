import type { PodToJudge } from '../allocation/escape.ts';
import type { PodView } from '../allocation/lifecycle.ts';
import { hasStableName, type PodToMatch } from '../allocation/match.ts';
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

/** Whether the pod may get an ENI at all: on a node, in its own network, not opted out, not leaving. */
export function isCandidate(pod: Pod): boolean {
  return (
    pod.spec.nodeName !== '' &&
    !pod.spec.hostNetwork &&
    pod.metadata.labels?.[LABEL_IGNORE] !== 'true' &&
    pod.metadata.deletionTimestamp === undefined &&
    !isFinished(pod)
  );
}

/** The pod as the choice of its PodNetworking sees it. */
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

/** The pod as the question sees it how it came past the webhook. */
export function podToJudge({ metadata, status }: Pod, namespaceLabels: Record<string, string> | undefined): PodToJudge {
  return {
    annotations: metadata.annotations,
    createdAt: metadata.creationTimestamp,
    hasNetwork: status.podIP !== '' || status.phase === 'Running',
    owners: metadata.ownerReferences ?? [],
    namespaceLabels,
  };
}
