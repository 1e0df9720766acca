import { ANNOTATION_POD_NETWORKING, ANNOTATION_POD_NETWORKS, ANNOTATION_POD_NETWORKS_REQUEST } from '../crds/names.ts';
import type { LabelSelector, PodNetworking } from '../crds/pod-networking.ts';
import type { PodToMatch } from './match.ts';
import { parseNetworkRequest, parsePodNetworks } from './network-request.ts';

/** Index key of selectors that require no label value; every pod has it. */
const ANY = '*';

/** PodNetworkings by name, and by {@link selectorKeys}. */
export interface NetworkingLookup {
  get(name: string): PodNetworking | undefined;
  bySelectorKey(key: string): readonly PodNetworking[];
}

/**
 * Index keys of a PodNetworking. Every pod that its selector matches, or that pod's namespace, has at least one of
 * them. Empty when it selects nothing.
 */
export function selectorKeys({ spec }: PodNetworking): string[] {
  const { podSelector, namespaceSelector } = spec.selector ?? {};
  if (podSelector === undefined && namespaceSelector === undefined) return [];
  const keys = demanded('pod', podSelector) ?? demanded('namespace', namespaceSelector);
  return keys ?? [ANY];
}

/**
 * The PodNetworkings that can affect the choice for this pod (match.ts): those its annotations name and those whose
 * selectors may match. Avoids comparing thousands of pods with hundreds of PodNetworkings, of which nearly all have
 * nothing in common.
 */
export function candidatesFor(pod: PodToMatch, all: NetworkingLookup): PodNetworking[] {
  const found = new Set<PodNetworking>(all.bySelectorKey(ANY));
  for (const [whose, labels] of [
    ['pod', pod.labels],
    ['namespace', pod.namespaceLabels],
  ] as const) {
    for (const [key, value] of Object.entries(labels)) {
      for (const networking of all.bySelectorKey(keyOf(whose, key, value))) found.add(networking);
    }
  }
  for (const name of named(pod.annotations)) {
    const networking = all.get(name);
    if (networking !== undefined) found.add(networking);
  }
  return [...found];
}

/** Undefined when the selector requires no label value. */
function demanded(whose: 'pod' | 'namespace', selector: LabelSelector | undefined): string[] | undefined {
  for (const [key, value] of Object.entries(selector?.matchLabels ?? {})) return [keyOf(whose, key, value)];
  const isIn = selector?.matchExpressions?.find(({ operator }) => operator === 'In');
  return isIn === undefined ? undefined : (isIn.values ?? []).map((value) => keyOf(whose, isIn.key, value));
}

function keyOf(whose: 'pod' | 'namespace', key: string, value: string): string {
  return `${whose} ${key}=${value}`;
}

function named(annotations: Readonly<Record<string, string>>): string[] {
  const names = [annotations[ANNOTATION_POD_NETWORKING] ?? ''];
  const described = annotations[ANNOTATION_POD_NETWORKS] ?? '';
  if (described !== '') {
    const parsed = parsePodNetworks(described);
    if ('entries' in parsed) names.push(...parsed.entries.map(({ network }) => network ?? ''));
  }
  const requested = annotations[ANNOTATION_POD_NETWORKS_REQUEST] ?? '';
  if (requested !== '') {
    const parsed = parseNetworkRequest(requested);
    if ('request' in parsed) names.push(...parsed.request.map(({ network }) => network));
  }
  return names.filter((name) => name !== '');
}
