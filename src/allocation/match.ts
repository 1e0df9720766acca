import {
  ANNOTATION_POD_ENI,
  ANNOTATION_POD_NETWORKING,
  ANNOTATION_POD_NETWORKS,
  ANNOTATION_POD_NETWORKS_REQUEST,
  LABEL_POD_ENI,
} from '../crds/names.ts';
import { isReady, type PodNetworking } from '../crds/pod-networking.ts';
import { matchesSelector } from './labels.ts';
import {
  DEFAULT_INTERFACE,
  inlineNetworking,
  type PodNetworks,
  type PodNetworksEntry,
  parseNetworkRequest,
  parsePodNetworks,
} from './network-request.ts';
import type { WantedInterface } from './plan.ts';

/** Pod fields that the choice of a PodNetworking depends on. */
export interface PodToMatch {
  /** `namespace/name`; a pod without a name yet may use its generateName. */
  key: string;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  namespaceLabels: Record<string, string>;
  /** Owned by a StatefulSet or by nothing, so its successor has the same name. */
  hasStableName: boolean;
}

/** vSwitches and security groups for an eth0 that names none. */
export interface NetworkDefaults {
  vSwitchOptions: string[];
  securityGroupIDs: string[];
}

/** Which PodNetworkings serve a pod, ready or not. */
export type NetworkingChoice =
  | { kind: 'none' }
  /** `others`: PodNetworkings whose selectors also match but that have lower precedence. */
  | { kind: 'chosen'; wanted: WantedInterface[]; others: string[] }
  /** An annotation that requests interfaces is invalid. */
  | { kind: 'invalidRequest'; message: string }
  | { kind: 'unknown'; name: string }
  /** A PodNetworking with fixed addresses needs a pod whose successor has the same name. */
  | { kind: 'needsStableName'; name: string };

export type NetworkingMatch =
  | Exclude<NetworkingChoice, { kind: 'chosen' }>
  | { kind: 'matched'; wanted: WantedInterface[]; others: string[] }
  /** It is chosen but cannot serve the pod now. */
  | { kind: 'notReady'; name: string };

/**
 * Whether the pod's successor has the same name: it belongs to a StatefulSet or to no owner.
 *
 * @param kinds other owner kinds that also keep pod names
 */
export function hasStableName(owners: readonly { kind: string }[], kinds: readonly string[]): boolean {
  return owners.length === 0 || owners.some(({ kind }) => kind === 'StatefulSet' || kinds.includes(kind));
}

/**
 * The PodNetworkings of a pod, by precedence: those that the webhook recorded or that the pod requests by interface;
 * the one that the annotation names; of those whose selectors match, the one with the highest priority, then the first
 * by name. Webhook and controller both use this function.
 *
 * @param defaults fill an eth0 of `pod-networks` that names no vSwitches or security groups; without them it is
 * refused.
 */
export function chooseNetworkings(
  pod: PodToMatch,
  networkings: readonly PodNetworking[],
  defaults?: NetworkDefaults,
): NetworkingChoice {
  const { annotations } = pod;
  const described = parsePodNetworks(annotations[ANNOTATION_POD_NETWORKS] || '{}');
  const entries = 'error' in described ? [] : described.entries;
  const requested = annotations[ANNOTATION_POD_NETWORKS_REQUEST] ?? '';
  const named = annotations[ANNOTATION_POD_NETWORKING] ?? '';
  const isWebhooks = entries.length > 0 && entries.every(({ network }) => network !== undefined);
  if (requested !== '' && !isWebhooks) return chooseRequested(pod, requested, networkings);
  if (named !== '' && !isWebhooks) return chooseNamed(pod, named, networkings);
  if ('error' in described) return { kind: 'invalidRequest', message: described.error };
  if (entries.length > 0) return chooseDescribed(pod, entries, networkings, defaults);
  return chooseBySelector(pod, networkings);
}

/** {@link chooseNetworkings}, and whether they can serve the pod now. */
export function matchNetworking(pod: PodToMatch, networkings: readonly PodNetworking[]): NetworkingMatch {
  const choice = chooseNetworkings(pod, networkings);
  if (choice.kind !== 'chosen') return choice;
  const waiting = choice.wanted.find(({ networking }) => !isReady(networking));
  if (waiting !== undefined) return { kind: 'notReady', name: waiting.networking.metadata.name };
  return { kind: 'matched', wanted: choice.wanted, others: choice.others };
}

/** The webhook has processed the pod, or its author explicitly asked for an ENI. */
export function isAdmitted(annotations: Record<string, string> | undefined): boolean {
  return annotations?.[ANNOTATION_POD_ENI] === 'true';
}

/**
 * For each PodNetworking: how many pods its selector matches but another PodNetworking serves, counted by that one's
 * name.
 */
export type Losses = Map<string, Map<string, number>>;

/** Records which PodNetworkings lost this pod to which, for the status of the losers. */
export function noteLosses(losses: Losses, pod: PodToMatch, networkings: readonly PodNetworking[]): void {
  const choice = chooseNetworkings(pod, networkings);
  if (choice.kind !== 'chosen') return;
  const winner = choice.wanted[0]?.networking.metadata.name ?? '';
  for (const loser of choice.others) {
    const winners = losses.get(loser) ?? new Map<string, number>();
    winners.set(winner, (winners.get(winner) ?? 0) + 1);
    losses.set(loser, winners);
  }
}

/** An eth0 of `pod-networks` without vSwitches or security groups gets those of the cluster. */
export function fillDefaults(entry: PodNetworksEntry, defaults: NetworkDefaults | undefined): PodNetworksEntry {
  if (defaults === undefined || entry.interface !== DEFAULT_INTERFACE || entry.network !== undefined) return entry;
  const filled = { ...entry };
  if ((entry.vSwitchOptions ?? []).length === 0) filled.vSwitchOptions = defaults.vSwitchOptions;
  if ((entry.securityGroupIDs ?? []).length === 0) filled.securityGroupIDs = defaults.securityGroupIDs;
  return filled;
}

function chooseRequested(pod: PodToMatch, text: string, networkings: readonly PodNetworking[]): NetworkingChoice {
  const parsed = parseNetworkRequest(text);
  if ('error' in parsed) return { kind: 'invalidRequest', message: parsed.error };
  const wanted: WantedInterface[] = [];
  for (const { interfaceName, network, defaultRoute, routes } of parsed.request) {
    const networking = networkings.find((candidate) => candidate.metadata.name === network);
    if (networking === undefined) return { kind: 'unknown', name: network };
    wanted.push({ name: interfaceName, networking, defaultRoute, extraRoutes: routes });
  }
  return chosen(pod, wanted, []);
}

function chooseDescribed(
  pod: PodToMatch,
  entries: PodNetworks,
  networkings: readonly PodNetworking[],
  defaults: NetworkDefaults | undefined,
): NetworkingChoice {
  const wanted: WantedInterface[] = [];
  for (const entry of entries) {
    const { network, interface: name } = entry;
    const networking =
      network === undefined
        ? inlineNetworking(pod.key, fillDefaults(entry, defaults))
        : networkings.find((candidate) => candidate.metadata.name === network);
    if (networking === undefined) return { kind: 'unknown', name: network ?? '' };
    const { vSwitchOptions = [], securityGroupIDs = [] } = networking.spec;
    const missing = vSwitchOptions.length === 0 ? 'vSwitchOptions' : 'securityGroupIDs';
    if (network === undefined && (vSwitchOptions.length === 0 || securityGroupIDs.length === 0)) {
      return {
        kind: 'invalidRequest',
        message: `annotation ${ANNOTATION_POD_NETWORKS}: ${missing} of interface ${name} is empty; name at least one`,
      };
    }
    wanted.push({
      name,
      networking,
      defaultRoute: entry.defaultRoute ?? undefined,
      extraRoutes: entry.extraRoutes ?? undefined,
    });
  }
  return chosen(pod, wanted, []);
}

function chooseNamed(pod: PodToMatch, name: string, networkings: readonly PodNetworking[]): NetworkingChoice {
  const networking = networkings.find((candidate) => candidate.metadata.name === name);
  if (networking === undefined) return { kind: 'unknown', name };
  // A PodNetworking whose selector does not match was named on purpose; no other one lost the pod.
  const others = selects(networking, pod) ? othersOf(pod, networking, networkings) : [];
  return chosen(pod, [{ name: DEFAULT_INTERFACE, networking }], others);
}

function chooseBySelector(pod: PodToMatch, networkings: readonly PodNetworking[]): NetworkingChoice {
  if (pod.namespaceLabels[LABEL_POD_ENI] === 'false') return { kind: 'none' };
  const matching = networkings.filter((networking) => selects(networking, pod)).sort(byPrecedence);
  const usable = matching.filter((networking) => pod.hasStableName || !wantsFixed(networking));
  const first = usable[0] ?? matching[0];
  if (first === undefined) return { kind: 'none' };
  return chosen(pod, [{ name: DEFAULT_INTERFACE, networking: first }], othersOf(pod, first, networkings));
}

function othersOf(pod: PodToMatch, winner: PodNetworking, networkings: readonly PodNetworking[]): string[] {
  return networkings
    .filter((networking) => networking !== winner && selects(networking, pod))
    .filter((networking) => pod.hasStableName || !wantsFixed(networking))
    .sort(byPrecedence)
    .map((networking) => networking.metadata.name);
}

function chosen(pod: PodToMatch, wanted: WantedInterface[], others: string[]): NetworkingChoice {
  const fixed = wanted.find(({ networking }) => wantsFixed(networking));
  if (fixed !== undefined && !pod.hasStableName)
    return { kind: 'needsStableName', name: fixed.networking.metadata.name };
  const types = wanted.map(({ networking }) => networking.spec.eniOptions.eniType);
  if (new Set(types).size > 1) {
    const each = wanted.map(({ name, networking }) => `${name} ${networking.spec.eniOptions.eniType}`);
    return {
      kind: 'invalidRequest',
      message: `the interfaces of the pod have different eniTypes (${each.join(', ')}); all interfaces of a pod must have the same eniType`,
    };
  }
  return { kind: 'chosen', wanted, others };
}

function byPrecedence(a: PodNetworking, b: PodNetworking): number {
  return b.spec.priority - a.spec.priority || (a.metadata.name < b.metadata.name ? -1 : 1);
}

function wantsFixed(networking: PodNetworking): boolean {
  return networking.spec.allocationType.type === 'Fixed';
}

/** If both selectors are given, both must match. A missing or invalid selector matches nothing. */
function selects(networking: PodNetworking, pod: PodToMatch): boolean {
  const { podSelector, namespaceSelector } = networking.spec.selector ?? {};
  if (podSelector === undefined && namespaceSelector === undefined) return false;
  if (podSelector !== undefined && matchesSelector(podSelector, pod.labels) !== true) return false;
  return namespaceSelector === undefined || matchesSelector(namespaceSelector, pod.namespaceLabels) === true;
}
