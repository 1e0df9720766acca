import { matchesSelector } from '../../allocation/labels.ts';
import { hasStableName, matchNetworking, type NetworkingMatch, type PodToMatch } from '../../allocation/match.ts';
import { LABEL_POD_ENI } from '../../crds/names.ts';
import type { PodNetworking } from '../../crds/pod-networking.ts';
import type { ExplainView } from './view.ts';

/** The PodNetworkings that serve the pod, by the rule that webhook and controller share; undefined without a pod. */
export function choiceOf(view: ExplainView): NetworkingMatch | undefined {
  const pod = toMatch(view);
  return pod === undefined ? undefined : matchNetworking(pod, view.networkings);
}

/** One line per PodNetworking: why it does not pick the pod. */
export function refusals(view: ExplainView): string[] {
  const pod = toMatch(view);
  if (pod === undefined) return [];
  if (pod.namespaceLabels[LABEL_POD_ENI] === 'false') {
    return [`namespace ${view.namespace} has the label ${LABEL_POD_ENI}=false, so no selector picks its pods`];
  }
  return view.networkings.map((networking) => `${networking.metadata.name}: ${refusalOf(networking, pod)}`);
}

function refusalOf({ spec }: PodNetworking, pod: PodToMatch): string {
  const { podSelector, namespaceSelector } = spec.selector ?? {};
  if (podSelector === undefined && namespaceSelector === undefined) {
    return 'has no selector, so only pods that name it in an annotation get it';
  }
  if (podSelector !== undefined && matchesSelector(podSelector, pod.labels) !== true) {
    return 'its podSelector does not match the labels of the pod';
  }
  return 'its namespaceSelector does not match the labels of the namespace';
}

function toMatch({ pod, namespace, name, namespaceLabels = {}, stableNameKinds }: ExplainView): PodToMatch | undefined {
  if (pod === undefined) return undefined;
  return {
    key: `${namespace}/${name}`,
    labels: pod.metadata.labels ?? {},
    annotations: pod.metadata.annotations ?? {},
    namespaceLabels,
    hasStableName: hasStableName(pod.metadata.ownerReferences ?? [], stableNameKinds),
  };
}
