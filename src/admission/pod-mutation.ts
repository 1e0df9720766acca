import {
  chooseNetworkings,
  fillDefaults,
  hasStableName,
  isAdmitted,
  type NetworkDefaults,
  type NetworkingChoice,
  type PodToMatch,
} from '../allocation/match.ts';
import {
  DEFAULT_INTERFACE,
  entryOf,
  formatPodNetworks,
  inlineOwner,
  parsePodNetworks,
} from '../allocation/network-request.ts';
import type { WantedInterface } from '../allocation/plan.ts';
import {
  ANNOTATION_POD_ENI,
  ANNOTATION_POD_NETWORKING,
  ANNOTATION_POD_NETWORKS,
  ANNOTATION_POD_NETWORKS_REQUEST,
  LABEL_EXCLUSIVE_MODE,
  LABEL_IGNORE,
  RESOURCE_ENI,
  RESOURCE_MEMBER_ENI,
} from '../crds/names.ts';
import type { PodNetworking } from '../crds/pod-networking.ts';
import { diffJsonPatch } from '../kube/json-patch.ts';
import { cloneJson, jsonEqual } from '../kube/patch.ts';
import { firstIssue } from '../util/issues.ts';
import { type EniResource, requestEnis, requestedBy } from './extended-resource.ts';
import { asksForExclusiveNode, childOf, requireZones } from './node-choice.ts';
import { type IncomingPod, incomingPodSchema } from './pod.ts';
import { UNCHANGED, type Verdict } from './review.ts';
import { zonesFor } from './zones.ts';

/** The inputs of a pod's mutation. */
export interface PodMutationView {
  namespace: string;
  namespaceLabels: Record<string, string>;
  networkings: readonly PodNetworking[];
  /** Zone of the fixed address reserved for a pod of this name, if there is one. */
  fixedZone: string | undefined;
  /** vSwitches and security groups of the cluster, or why they are unknown. */
  defaults: NetworkDefaults | { message: string };
  enableTrunk: boolean;
  stableNameKinds: readonly string[];
  injectResources: boolean;
}

/** A pod as raw object and parsed. */
export interface PodUnderReview {
  raw: Record<string, unknown>;
  pod: IncomingPod;
}

/** @returns the pod, or one line that names the field that cannot be parsed. */
export function readPod(raw: Record<string, unknown>): PodUnderReview | { error: string } {
  const parsed = incomingPodSchema.safeParse(raw);
  if (parsed.success) return { raw, pod: parsed.data };
  const { field, rule } = firstIssue(parsed.error);
  return { error: `${field}: ${rule}` };
}

/** Whether the pod needs no network of ours: host network, ignore label or no containers. */
export function isExempt({ metadata, spec }: IncomingPod): boolean {
  return spec.hostNetwork === true || spec.containers.length === 0 || metadata.labels[LABEL_IGNORE] === 'true';
}

/**
 * Decides how a new pod is changed so that scheduler and control plane can serve it: its PodNetworkings, its ENI
 * resource request and its zones. Pure; `raw` is not modified.
 */
export function mutatePod({ raw, pod }: PodUnderReview, view: PodMutationView): Verdict {
  if (isExempt(pod)) return UNCHANGED;
  const { annotations } = pod.metadata;
  const conflict = conflictOf(annotations);
  if (conflict !== undefined && !isOwnWork(pod, view)) return denied(conflict);
  const { choice, annotations: asked } = choose(pod, view);
  switch (choice.kind) {
    case 'none':
      return withoutNetworking(raw, pod, view);
    case 'invalidRequest':
      return denied(choice.message);
    case 'unknown':
      return denied(
        `${sourceOf(annotations)} names PodNetworking ${choice.name}, which does not exist: create it first, or correct the name`,
      );
    case 'needsStableName':
      return denied(
        `PodNetworking ${choice.name} has allocationType Fixed, which needs pods with stable names: use a StatefulSet or allocationType Elastic`,
      );
    case 'chosen':
      return serve({ raw, pod }, { ...choice, annotations: asked }, view);
  }
}

/** Upstream's rule and wording: presence counts, not the value. */
function conflictOf(annotations: Record<string, string>): string | undefined {
  const present = [ANNOTATION_POD_NETWORKS, ANNOTATION_POD_NETWORKS_REQUEST, ANNOTATION_POD_NETWORKING].filter(
    (name) => annotations[name] !== undefined,
  );
  if (present.length < 2) return undefined;
  return `the annotations ${present.join(' and ')} are mutually exclusive: keep one of them`;
}

/** The pod already went through this webhook; another one changed it and the API server calls again. */
function isOwnWork(pod: IncomingPod, view: PodMutationView): boolean {
  const { [ANNOTATION_POD_NETWORKS]: written, ...before } = pod.metadata.annotations;
  if (!isAdmitted(before) || written === undefined || before[ANNOTATION_POD_NETWORKING] !== undefined) return false;
  const { choice } = choose({ ...pod, metadata: { ...pod.metadata, annotations: before } }, view);
  return choice.kind === 'chosen' && formatPodNetworks(choice.wanted.map(entryOf)) === written;
}

/** The choice and the annotations that led to it. A pod with only `pod-eni` is treated as requesting a plain eth0. */
function choose(
  pod: IncomingPod,
  view: PodMutationView,
): { choice: NetworkingChoice; annotations: Record<string, string> } {
  const { annotations, labels, name, generateName, ownerReferences } = pod.metadata;
  const toMatch: PodToMatch = {
    key: `${view.namespace}/${name === '' ? generateName : name}`,
    labels,
    annotations,
    namespaceLabels: view.namespaceLabels,
    hasStableName: hasStableName(ownerReferences, view.stableNameKinds),
  };
  const defaults = defaultsOf(view);
  const choice = chooseNetworkings(toMatch, view.networkings, defaults);
  if (choice.kind !== 'none' || !isAdmitted(annotations)) return { choice, annotations };
  if ('message' in view.defaults) {
    const message = `annotation ${ANNOTATION_POD_ENI} asks for an ENI and no PodNetworking selects the pod, but ${view.defaults.message}`;
    return { choice: { kind: 'invalidRequest', message }, annotations };
  }
  const asking = { ...annotations, [ANNOTATION_POD_NETWORKS]: formatPodNetworks([{ interface: DEFAULT_INTERFACE }]) };
  return {
    choice: chooseNetworkings({ ...toMatch, annotations: asking }, view.networkings, defaults),
    annotations: asking,
  };
}

function defaultsOf({ defaults }: PodMutationView): NetworkDefaults | undefined {
  return 'message' in defaults ? undefined : defaults;
}

function sourceOf(annotations: Record<string, string>): string {
  const source = [ANNOTATION_POD_NETWORKS_REQUEST, ANNOTATION_POD_NETWORKING, ANNOTATION_POD_NETWORKS].find(
    (name) => annotations[name] !== undefined,
  );
  return `annotation ${source ?? ANNOTATION_POD_NETWORKING}`;
}

/** No PodNetworking selects the pod. On exclusive nodes it still gets an ENI, which must be counted. */
function withoutNetworking(raw: Record<string, unknown>, pod: IncomingPod, view: PodMutationView): Verdict {
  if (!view.injectResources || !asksForExclusiveNode(pod) || requestedBy(pod, RESOURCE_ENI) !== undefined) {
    return UNCHANGED;
  }
  const changed = cloneJson(raw);
  requestEnis(childOf(changed, 'spec'), RESOURCE_ENI, 1);
  return { kind: 'allowed', patch: diffJsonPatch(raw, changed), warnings: [] };
}

function serve(
  { raw, pod }: PodUnderReview,
  asked: { wanted: WantedInterface[]; others: string[]; annotations: Record<string, string> },
  view: PodMutationView,
): Verdict {
  const { wanted, others } = asked;
  const networkings = wanted.map(({ networking }) => networking);
  const resource = resourceFor(pod, networkings, view);
  if ('refusal' in resource) return denied(resource.refusal);
  const zones = zonesFor(networkings);
  if (zones.kind === 'disjoint') return denied(zones.message);

  const changed = cloneJson(raw);
  const annotations = childOf(childOf(changed, 'metadata'), 'annotations');
  Object.assign(annotations, annotationsFor(asked.annotations, wanted, defaultsOf(view)));

  const warnings: string[] = [];
  const spec = childOf(changed, 'spec');
  const requested = requestedBy(pod, resource.name);
  if (requested !== undefined && requested < wanted.length) {
    warnings.push(
      `the pod asks for ${requested} ${resource.name} but has ${wanted.length} interfaces, so its node may lack a free ENI`,
    );
  }
  if (view.injectResources && requested === undefined) requestEnis(spec, resource.name, wanted.length);
  if (others.length > 0) {
    warnings.push(
      `PodNetworking ${others.join(', ')} also select the pod; ${networkings[0]?.metadata.name} has precedence by priority and name`,
    );
  }
  // The DaemonSet controller, not the scheduler, chooses the node of its pods.
  if (!pod.metadata.ownerReferences.some(({ kind }) => kind === 'DaemonSet')) {
    // A pod with a fixed address must go to its zone, and needs no free address there.
    if (view.fixedZone !== undefined) requireZones(spec, [view.fixedZone]);
    else if (zones.kind === 'zones') requireZones(spec, zones.zones);
  }
  return { kind: 'allowed', patch: diffJsonPatch(raw, changed), warnings };
}

/** What the controller reads back: `pod-networking` for one PodNetworking, `pod-networks` for anything else. */
function annotationsFor(
  annotations: Record<string, string>,
  wanted: readonly WantedInterface[],
  defaults: NetworkDefaults | undefined,
): Record<string, string> {
  const admitted = { [ANNOTATION_POD_ENI]: 'true' };
  if ((annotations[ANNOTATION_POD_NETWORKS_REQUEST] ?? '') !== '') {
    return { ...admitted, [ANNOTATION_POD_NETWORKS]: formatPodNetworks(wanted.map(entryOf)) };
  }
  const described = parsePodNetworks(annotations[ANNOTATION_POD_NETWORKS] || '{}');
  const entries = 'error' in described ? [] : described.entries;
  if (entries.length > 0) {
    const filled = entries.map((entry) => fillDefaults(entry, defaults));
    if (jsonEqual(filled, entries)) return admitted;
    return { ...admitted, [ANNOTATION_POD_NETWORKS]: formatPodNetworks(filled) };
  }
  return { ...admitted, [ANNOTATION_POD_NETWORKING]: wanted[0]?.networking.metadata.name ?? '' };
}

/** The resource that the pod's interfaces count as, or a refusal if no node can ever serve it. */
function resourceFor(
  pod: IncomingPod,
  networkings: readonly PodNetworking[],
  { enableTrunk }: PodMutationView,
): { name: EniResource } | { refusal: string } {
  const [first] = networkings;
  const eniType = first?.spec.eniOptions.eniType ?? 'Default';
  const onExclusive = asksForExclusiveNode(pod);
  const name =
    first === undefined || inlineOwner(first.metadata.name) !== undefined
      ? `annotation ${ANNOTATION_POD_NETWORKS}`
      : `PodNetworking ${first.metadata.name}`;
  if (eniType === 'Trunk') {
    if (!enableTrunk) {
      return {
        refusal: `${name} has eniType Trunk, but enableTrunk is false in the control plane's configuration: enable it or use eniType ENI`,
      };
    }
    if (onExclusive) {
      return {
        refusal: `${name} has eniType Trunk, but the pod selects nodes with ${LABEL_EXCLUSIVE_MODE}=eniOnly, which provide whole ENIs: use eniType ENI or Default, or other nodes`,
      };
    }
    return { name: RESOURCE_MEMBER_ENI };
  }
  const wantsWhole = eniType === 'ENI' || !enableTrunk || onExclusive || requestedBy(pod, RESOURCE_ENI) !== undefined;
  return { name: wantsWhole ? RESOURCE_ENI : RESOURCE_MEMBER_ENI };
}

function denied(message: string): Verdict {
  return { kind: 'denied', code: 403, message };
}

/** Whether {@link mutatePod} could need the fixed zone of the pod's name; it is looked up only then. */
export function mayHoldFixedAddress({ metadata }: IncomingPod, stableNameKinds: readonly string[]): boolean {
  return metadata.name !== '' && hasStableName(metadata.ownerReferences, stableNameKinds);
}
