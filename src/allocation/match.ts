import { ANNOTATION_POD_NETWORKING, ANNOTATION_POD_NETWORKS_REQUEST } from '../crds/names.ts';
import type { PodNetworking } from '../crds/pod-networking.ts';
import { matchesSelector } from './labels.ts';
import { parseNetworkRequest } from './network-request.ts';
import { DEFAULT_INTERFACE, type WantedInterface } from './plan.ts';

/** What the choice of a PodNetworking needs of a pod. */
export interface PodToMatch {
  labels: Record<string, string>;
  annotations: Record<string, string>;
  namespaceLabels: Record<string, string>;
  /** Owned by a StatefulSet or by nothing: its successor has the same name. */
  hasStableName: boolean;
}

export type NetworkingMatch =
  | { kind: 'none' }
  | { kind: 'matched'; wanted: WantedInterface[]; others: string[] }
  /** The annotation that asks for several interfaces is wrong. */
  | { kind: 'invalidRequest'; message: string }
  /** It is picked, but cannot serve the pod now. */
  | { kind: 'notReady'; name: string }
  | { kind: 'unknown'; name: string }
  /** A Fixed networking needs a pod whose name comes back. */
  | { kind: 'needsStableName'; name: string };

/**
 * The PodNetworkings of a pod: those that it asks for by interface, else the one that the annotation names, else of those
 * whose selectors match the first by name (reference 3.3, whose first match depends on map order).
 */
export function matchNetworking(pod: PodToMatch, networkings: PodNetworking[]): NetworkingMatch {
  const requested = pod.annotations[ANNOTATION_POD_NETWORKS_REQUEST];
  if (requested !== undefined && requested !== '') return matchRequest(pod, requested, networkings);
  const named = pod.annotations[ANNOTATION_POD_NETWORKING];
  if (named !== undefined && named !== '') {
    const networking = networkings.find((candidate) => candidate.metadata.name === named);
    return networking === undefined ? { kind: 'unknown', name: named } : judge(pod, networking, []);
  }
  const matching = networkings
    .filter((networking) => selects(networking, pod))
    .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  const usable = matching.filter((networking) => pod.hasStableName || !wantsFixed(networking));
  const first = usable[0] ?? matching[0];
  if (first === undefined) return { kind: 'none' };
  const others = matching.filter((networking) => networking !== first).map((networking) => networking.metadata.name);
  return judge(pod, first, others);
}

function matchRequest(pod: PodToMatch, text: string, networkings: PodNetworking[]): NetworkingMatch {
  const parsed = parseNetworkRequest(text);
  if ('error' in parsed) return { kind: 'invalidRequest', message: parsed.error };
  const wanted: WantedInterface[] = [];
  for (const { interfaceName, network, defaultRoute, routes } of parsed.request) {
    const networking = networkings.find((candidate) => candidate.metadata.name === network);
    const match: NetworkingMatch =
      networking === undefined ? { kind: 'unknown', name: network } : judge(pod, networking, []);
    if (networking === undefined || match.kind !== 'matched') return match;
    wanted.push({ name: interfaceName, networking, defaultRoute, extraRoutes: routes });
  }
  return { kind: 'matched', wanted, others: [] };
}

function judge(pod: PodToMatch, networking: PodNetworking, others: string[]): NetworkingMatch {
  const { name } = networking.metadata;
  if (wantsFixed(networking) && !pod.hasStableName) return { kind: 'needsStableName', name };
  const { status } = networking;
  // An edit that has not been checked yet may name what does not exist.
  const isChecked =
    status?.observedGeneration === undefined || status.observedGeneration === networking.metadata.generation;
  if (status?.status !== 'Ready' || !isChecked) return { kind: 'notReady', name };
  return { kind: 'matched', wanted: [{ name: DEFAULT_INTERFACE, networking }], others };
}

function wantsFixed(networking: PodNetworking): boolean {
  return networking.spec.allocationType.type === 'Fixed';
}

/** Both selectors given: both must match. None given, or one that is invalid: never. */
function selects(networking: PodNetworking, pod: PodToMatch): boolean {
  const { podSelector, namespaceSelector } = networking.spec.selector ?? {};
  if (podSelector === undefined && namespaceSelector === undefined) return false;
  if (podSelector !== undefined && matchesSelector(podSelector, pod.labels) !== true) return false;
  return namespaceSelector === undefined || matchesSelector(namespaceSelector, pod.namespaceLabels) === true;
}
