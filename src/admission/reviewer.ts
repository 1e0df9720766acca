import type { NetworkDefaults } from '../allocation/match.ts';
import { parseNetworkRequest, parsePodNetworks } from '../allocation/network-request.ts';
import { API_GROUP } from '../crds/define.ts';
import { ANNOTATION_POD_NETWORKING, ANNOTATION_POD_NETWORKS, ANNOTATION_POD_NETWORKS_REQUEST } from '../crds/names.ts';
import type { PodEni } from '../crds/pod-eni.ts';
import type { PodNetworking } from '../crds/pod-networking.ts';
import { isExempt, mayHoldFixedAddress, mutatePod, type PodUnderReview, readPod } from './pod-mutation.ts';
import { defaultNetworking, type NetworkingRules, validateNetworking } from './pod-networking.ts';
import { type AdmissionRequest, UNCHANGED, type Verdict } from './review.ts';
import type { ReviewPath } from './server.ts';

/** Data sources of reviews: stores where possible, the API server where a store may lag. */
export interface ReviewSources {
  networkings(): PodNetworking[];
  podEni(namespace: string, name: string): PodEni | undefined;
  /** vSwitches and security groups of the cluster, or why they are unknown. */
  defaults(): NetworkDefaults | { message: string };
  /** Labels of a namespace; a new one may be known only to the API server. */
  namespaceLabels(name: string, signal: AbortSignal): Promise<Record<string, string>>;
  /** A PodNetworking that is missing from the store; undefined when it does not exist. */
  findNetworking(name: string, signal: AbortSignal): Promise<PodNetworking | undefined>;
}

/** Reviews pods and PodNetworkings; allows everything else. */
export class Reviewer {
  readonly #sources: ReviewSources;
  readonly #rules: NetworkingRules;

  constructor(sources: ReviewSources, rules: NetworkingRules) {
    this.#sources = sources;
    this.#rules = rules;
  }

  /** @throws errors of the sources; the signal's reason. */
  async review(path: ReviewPath, request: AdmissionRequest, signal: AbortSignal): Promise<Verdict> {
    const { kind, object, oldObject, operation, subResource } = request;
    if (object === undefined || object === null || subResource !== '') return UNCHANGED;
    if (kind.group === '' && kind.kind === 'Pod') {
      return path === '/mutating' && operation === 'CREATE' ? this.#pod(request, object, signal) : UNCHANGED;
    }
    if (kind.group !== API_GROUP || kind.kind !== 'PodNetworking') return UNCHANGED;
    if (operation !== 'CREATE' && operation !== 'UPDATE') return UNCHANGED;
    const { metadata } = object;
    // A PodNetworking that is being deleted must always be able to lose its finalizers.
    if (typeof metadata === 'object' && metadata !== null && 'deletionTimestamp' in metadata) return UNCHANGED;
    const defaults = this.#sources.defaults();
    if (path === '/mutating') return defaultNetworking(object, defaults);
    const missing = 'message' in defaults ? defaults.message : undefined;
    return validateNetworking(object, oldObject ?? undefined, this.#rules, missing);
  }

  async #pod(request: AdmissionRequest, raw: Record<string, unknown>, signal: AbortSignal): Promise<Verdict> {
    const read = readPod(raw);
    if ('error' in read) return { kind: 'denied', code: 422, message: read.error };
    if (isExempt(read.pod)) return UNCHANGED;
    const { namespace } = request;
    return mutatePod(read, {
      ...this.#rules,
      namespace,
      namespaceLabels: await this.#sources.namespaceLabels(namespace, signal),
      networkings: await this.#networkings(read, signal),
      fixedZone: this.#fixedZone(namespace, read),
      defaults: this.#sources.defaults(),
    });
  }

  /** PodNetworkings of the store, plus those that the pod names and the store does not have yet. */
  async #networkings({ pod }: PodUnderReview, signal: AbortSignal): Promise<PodNetworking[]> {
    const known = this.#sources.networkings();
    const missing = namedBy(pod.metadata.annotations).filter(
      (name) => !known.some(({ metadata }) => metadata.name === name),
    );
    const found = await Promise.all(missing.map((name) => this.#sources.findNetworking(name, signal)));
    return [...known, ...found.filter((networking) => networking !== undefined)];
  }

  /** Zone of the fixed address that an earlier pod of this name left behind. */
  #fixedZone(namespace: string, { pod }: PodUnderReview): string | undefined {
    if (!mayHoldFixedAddress(pod, this.#rules.stableNameKinds)) return undefined;
    const podEni = this.#sources.podEni(namespace, pod.metadata.name);
    if (podEni === undefined || podEni.metadata.deletionTimestamp !== undefined) return undefined;
    const isFixed = (podEni.spec.allocations ?? []).some(({ allocationType }) => allocationType?.type === 'Fixed');
    return isFixed && podEni.status?.phase !== 'Deleting' ? podEni.spec.zone : undefined;
  }
}

/** Names of PodNetworkings in the annotations of a pod; none where they cannot be parsed. */
function namedBy(annotations: Record<string, string>): string[] {
  const named = annotations[ANNOTATION_POD_NETWORKING] ?? '';
  const request = parseNetworkRequest(annotations[ANNOTATION_POD_NETWORKS_REQUEST] || '[]');
  const networks = parsePodNetworks(annotations[ANNOTATION_POD_NETWORKS] || '{}');
  const names = [
    named,
    ...('error' in request ? [] : request.request.map(({ network }) => network)),
    ...('error' in networks ? [] : networks.entries.map(({ network }) => network ?? '')),
  ];
  return [...new Set(names)].filter((name) => name !== '');
}
