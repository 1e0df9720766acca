import { webhookOutcome } from '../../allocation/escape.ts';
import { matchNetworking } from '../../allocation/match.ts';
import { DEFAULT_INTERFACE, inlineOwner } from '../../allocation/network-request.ts';
import { candidatesFor } from '../../allocation/networking-candidates.ts';
import { isExclusive } from '../../allocation/node-mode.ts';
import {
  type Capacity,
  type NodeView,
  planPodEni,
  slotLimitOf,
  type WaitsFor,
  type WantedInterface,
} from '../../allocation/plan.ts';
import { clusterNetworking } from '../../cluster/cluster-network.ts';
import type { EniConfigs } from '../../cluster/eni-configs.ts';
import type { Informers } from '../../cluster/informers.ts';
import { networkingLookup } from '../../cluster/networking-lookup.ts';
import { nodeView } from '../../cluster/node-view.ts';
import { isCandidate, podToJudge, podToMatch } from '../../cluster/pod-view.ts';
import type { Pod } from '../../cluster/resources.ts';
import { ANNOTATION_POD_NETWORKING } from '../../crds/names.ts';
import { podEniResource } from '../../crds/pod-eni.ts';
import type { PodNetworking } from '../../crds/pod-networking.ts';
import type { Reason } from '../../crds/reasons/catalogue.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { ReconcileResult } from '../../kube/controller.ts';
import { isAlreadyExists, isNotFound, KubeApiError, TransportError } from '../../kube/errors.ts';
import { splitKey } from '../../kube/types.ts';
import type { Clock } from '../../util/clock.ts';
import type { ControllerEvents } from '../events.ts';
import type { NetworkCatalog } from '../network-catalog.ts';
import type { PendingPods } from '../pending-pods.ts';
import type { PodStarts } from '../pod-starts.ts';
import { EscapedPods, type EscapedPodsContext } from './escaped-pods.ts';
import type { PodEniWriter } from './writer.ts';

/** Nothing wakes a pod whose namespace is missing from the store. */
const NAMESPACE_LAG_MS = 500;
/** After this time a write without a response is checked. */
const UNRESOLVED_RECHECK_MS = 200;
/** Others may release addresses, too. */
const RECHECK_MS = 15_000;
/** An unreadable object must be corrected by a person first. */
const UNREADABLE_RECHECK_MS = 30_000;

type Admission = 'again' | ReconcileResult;

export type PodAdmitterContext = EscapedPodsContext & {
  catalog: NetworkCatalog;
  client: KubeClient;
  clock: Clock;
  eniConfigs: EniConfigs;
  /** Pods without a network because the webhook did not process them. */
  escaped: Set<string>;
  /**
   * How to treat a pod that a PodNetworking selects and the webhook did not process; `serve` where there is no webhook.
   */
  escapedPods: () => 'serve' | 'hold' | 'evict';
  events: ControllerEvents;
  /** Slots and addresses; each plan adds `nowMs`. */
  capacity: Omit<Capacity, 'nowMs'>;
  /** Ends with the term. */
  signal: AbortSignal;
  /** Owner kinds besides StatefulSet whose pods keep their names. */
  stableNameKinds: readonly string[];
  /** Since when pods wait for their interfaces. */
  starts: PodStarts;
  pendingPods: PendingPods;
  /** Queues a PodNetworking for a check after this time; the check wakes pods that wait for an address of it. */
  wakeNetworking: (name: string, afterMs: number) => void;
  wakePod: (key: string) => void;
  informers: Pick<Informers, 'pods' | 'coreNodes' | 'namespaces' | 'podNetworkings' | 'podEnis' | 'nodes'>;
};

/** Creates the PodENI of a pod, or queues the pod among the pending pods. */
export class PodAdmitter {
  readonly #context: PodAdmitterContext;
  readonly #writer: PodEniWriter;
  readonly #escapes: EscapedPods;
  /** Pods whose PodENI may or may not have been written. */
  readonly #unresolved = new Set<string>();
  /** Pods whose own vSwitches are being looked up. */
  readonly #lookups = new Set<string>();

  constructor(context: PodAdmitterContext, writer: PodEniWriter) {
    this.#context = context;
    this.#writer = writer;
    this.#escapes = new EscapedPods(context);
  }

  /** Pods with a write or a look-up in progress. */
  get size(): number {
    return this.#unresolved.size + this.#lookups.size;
  }

  /** @returns `again` when a PodENI was written. */
  async admit(key: string, pod: Pod | undefined, signal: AbortSignal): Promise<Admission> {
    const { informers, escaped } = this.#context;
    if (this.#unresolved.has(key) && (await this.#resolve(key, signal)) === 'exists') return 'again';
    escaped.delete(key);
    if (pod === undefined || !isCandidate(pod)) {
      this.#leave(key);
      return { isGone: pod === undefined };
    }
    const unreadable = this.#unreadable(key, pod);
    if (unreadable !== undefined) {
      this.#leave(key);
      this.#context.events.podWarning(
        key,
        'Unreadable',
        `${unreadable} cannot be parsed by the control plane; correct or delete it`,
      );
      return { requeueAfterMs: UNREADABLE_RECHECK_MS };
    }
    const namespace = informers.namespaces.store.get(pod.metadata.namespace ?? '');
    if (namespace === undefined) return { requeueAfterMs: NAMESPACE_LAG_MS };
    const toMatch = podToMatch(pod, namespace.metadata.labels, this.#context.stableNameKinds);
    const networkings = networkingLookup(informers.podNetworkings.store);
    const match = matchNetworking(toMatch, candidatesFor(toMatch, networkings));
    if (match.kind === 'matched' || match.kind === 'notReady') {
      const outcome = await this.#escaped(key, pod, namespace.metadata.labels, match, signal);
      if (outcome !== undefined) return outcome;
    }
    switch (match.kind) {
      case 'none':
        return this.#withoutNetworking(key, pod, signal);
      case 'matched':
        return this.#plan(key, pod, match, signal);
      case 'invalidRequest':
        this.#leave(key);
        this.#context.events.podWarning(key, 'NetworkRequestInvalid', match.message);
        return {};
      case 'notReady':
        return this.#refuse(
          key,
          pod,
          match.name,
          'PodNetworkingNotReady',
          `PodNetworking ${match.name} is not Ready; \`kubectl describe podnetworking ${match.name}\` says why`,
        );
      case 'unknown':
        return this.#refuse(
          key,
          pod,
          match.name,
          'PodNetworkingNotFound',
          `annotation ${ANNOTATION_POD_NETWORKING} names PodNetworking ${match.name}, which does not exist`,
        );
      case 'needsStableName':
        return this.#refuse(
          key,
          pod,
          match.name,
          'FixedNeedsStableName',
          `PodNetworking ${match.name} has allocationType Fixed, which needs pods with stable names: use a StatefulSet or allocationType Elastic`,
        );
    }
  }

  /**
   * Whether the free slots of the node belong to pods that came earlier (L3); the pod then joins the queue. All earlier
   * pods are being processed.
   *
   * @param networkings that will serve the pod, if it has no PodENI yet.
   */
  standsBehindOthers(key: string, node: NodeView | undefined, networkings: readonly string[] = []): boolean {
    const { pendingPods, capacity } = this.#context;
    const limit = node === undefined ? undefined : slotLimitOf(node);
    if (node === undefined || limit === undefined) return false;
    const slot: WaitsFor = { kind: 'slot', nodeName: node.nodeName };
    const free = limit - capacity.slots.usedByOthers(node.instanceId, key);
    // A pod that holds its slot, such as one whose trunk was replaced, takes none away.
    if (capacity.slots.used(node.instanceId) > limit - free) return false;
    if (free <= 0 || pendingPods.ahead(key, slot) < free) return false;
    pendingPods.park(key, slot, networkings);
    return true;
  }

  /** Looks vSwitches up outside the worker; the pod is reconciled again when they are known. */
  #lookUp(key: string, vSwitchIds: string[]): void {
    const { catalog, wakePod, signal } = this.#context;
    if (this.#lookups.has(key)) return;
    this.#lookups.add(key);
    void catalog
      .lookUp({ vSwitchIds, securityGroupIds: [] }, RECHECK_MS, signal)
      .then(
        () => wakePod(key),
        // The catalog reports why; the pod is retried after a while.
        () => undefined,
      )
      .finally(() => this.#lookups.delete(key));
  }

  /**
   * Finds out whether a PodENI was written; its slot counts as taken until then. @throws KubeApiError, TransportError
   */
  async #resolve(key: string, signal: AbortSignal): Promise<'exists' | 'none'> {
    const { client, informers, capacity } = this.#context;
    const found = await client.get(podEniResource, splitKey(key), { signal }).catch((error: unknown) => {
      if (!isNotFound(error)) throw error;
      return undefined;
    });
    this.#unresolved.delete(key);
    if (found === undefined) {
      capacity.slots.release(key);
      return 'none';
    }
    // Known before the watch delivers it; it contains this plan, or that of another leader.
    informers.podEnis.store.noteWritten(found);
    return 'exists';
  }

  /** An object may be missing from the store because it could not be parsed (kube/store.ts). */
  #unreadable(key: string, pod: Pod): string | undefined {
    const { podEnis, podNetworkings } = this.#context.informers;
    if (podEnis.store.unreadableKeys.has(key)) return `PodENI ${key}`;
    const named = pod.metadata.annotations?.[ANNOTATION_POD_NETWORKING] ?? '';
    return podNetworkings.store.unreadableKeys.has(named) ? `PodNetworking ${named}` : undefined;
  }

  /** The pod waits for a change to its PodNetworking. */
  #refuse(key: string, pod: Pod, networking: string, reason: Reason, message: string): Admission {
    this.#context.starts.begin(key, pod.metadata.uid ?? '');
    this.#context.pendingPods.park(key, { kind: 'networking', name: networking }, [networking]);
    this.#context.events.podWarning(key, reason, message);
    return {};
  }

  /** On an exclusive node every pod gets an ENI, if necessary from the cluster's eni-config; elsewhere none. */
  async #withoutNetworking(key: string, pod: Pod, signal: AbortSignal): Promise<Admission> {
    const { informers, eniConfigs, pendingPods, events, catalog } = this.#context;
    const node = this.#nodeOf(pod);
    if (node?.exclusive !== true) {
      const { nodeName } = pod.spec;
      const willBe = node === undefined && isExclusive(informers.coreNodes.store.get(nodeName)?.metadata.labels);
      if (willBe) pendingPods.park(key, { kind: 'node', nodeName });
      else this.#leave(key);
      return {};
    }
    const networking = clusterNetworking(eniConfigs, node);
    if ('message' in networking || !catalog.knows(networking.spec.vSwitchOptions ?? [])) {
      pendingPods.park(key, { kind: 'node', nodeName: node.nodeName });
      if ('message' in networking) events.podWarning(key, 'ConfigError', networking.message);
      return {};
    }
    return this.#plan(key, pod, { wanted: [{ name: DEFAULT_INTERFACE, networking }], others: [] }, signal);
  }

  /** The pod waits for nothing of ours any more. */
  #leave(key: string): void {
    this.#context.pendingPods.leave(key);
    this.#context.starts.end(key);
  }

  #nodeOf(pod: Pod): NodeView | undefined {
    const { coreNodes, nodes } = this.#context.informers;
    return nodeView(coreNodes.store.get(pod.spec.nodeName), nodes.store.get(pod.spec.nodeName));
  }

  async #plan(
    key: string,
    pod: Pod,
    { wanted, others }: { wanted: WantedInterface[]; others: string[] },
    signal: AbortSignal,
  ): Promise<Admission> {
    const { pendingPods, capacity, events, clock, starts } = this.#context;
    const { nodeName } = pod.spec;
    starts.begin(key, pod.metadata.uid ?? '');
    const node = this.#nodeOf(pod);
    for (const { networking } of wanted) {
      const awaited = this.#awaitsCatalog(key, networking);
      if (awaited !== undefined) return awaited;
    }
    const networkings = wanted.map(({ networking }) => networking.metadata.name);
    if (this.standsBehindOthers(key, node, networkings)) return {};
    const identity = { namespace: pod.metadata.namespace ?? '', name: pod.metadata.name, uid: pod.metadata.uid ?? '' };
    const plan = planPodEni(identity, wanted, node, nodeName, { ...capacity, nowMs: clock.now() });
    if (plan.kind === 'wait') {
      pendingPods.park(key, plan.waitsFor, networkings);
      events.podWarning(key, plan.reason, plan.message, () => pendingPods.placeOf(key));
      if (plan.waitsFor.kind === 'vSwitch') {
        for (const name of networkings) this.#context.wakeNetworking(name, RECHECK_MS);
      }
      // Nothing else checks the vSwitches that a pod itself describes.
      return wanted.some(({ networking }) => isInline(networking)) ? { requeueAfterMs: RECHECK_MS } : {};
    }
    try {
      await this.#writer.create(plan.podEni, signal);
    } catch (error) {
      // This attempt, an earlier leader or nobody wrote it. Until that is known the slot counts as taken.
      if (isAlreadyExists(error) || mayHaveWritten(error)) {
        this.#unresolved.add(key);
        return { requeueAfterMs: UNRESOLVED_RECHECK_MS };
      }
      for (const { eni } of plan.podEni.spec.allocations ?? []) {
        if (eni.vSwitchID !== undefined) capacity.vSwitches.giveBack(eni.vSwitchID);
      }
      capacity.slots.release(key);
      throw error;
    }
    pendingPods.leave(key);
    if (others.length > 0) {
      events.podNormal(
        key,
        'PodNetworkingsOverlap',
        `PodNetworking ${wanted[0]?.networking.metadata.name} serves the pod; ${others.join(', ')} ${others.length === 1 ? 'also selects it but has' : 'also select it but have'} lower precedence by spec.priority and name`,
      );
    }
    return 'again';
  }

  /**
   * Handles a pod that bypassed the webhook (docs/design/operators.md, "Admission"); undefined when the pod is served.
   */
  async #escaped(
    key: string,
    pod: Pod,
    namespaceLabels: Record<string, string> | undefined,
    match: { kind: 'matched'; wanted: WantedInterface[] } | { kind: 'notReady'; name: string },
    signal: AbortSignal,
  ): Promise<Admission | undefined> {
    const { escapedPods, informers } = this.#context;
    const policy = escapedPods();
    if (policy === 'serve') return undefined;
    const networkings =
      match.kind === 'matched'
        ? match.wanted.map(({ networking }) => networking)
        : [informers.podNetworkings.store.get(match.name)];
    const createdAt = networkings.map((networking) => networking?.metadata.creationTimestamp);
    const outcome = webhookOutcome(podToJudge(pod, namespaceLabels), createdAt);
    if (outcome === 'admitted' || outcome === 'unasked') return undefined;
    this.#leave(key);
    if (outcome === 'settled') return {};
    const names = networkings.map((networking) => networking?.metadata.name ?? '');
    return this.#escapes.deal(key, pod, policy, names.join(', '), signal);
  }

  /**
   * After a restart a status may be Ready before the cloud was asked about the vSwitches. The vSwitches that a pod
   * itself describes are looked up here.
   *
   * @returns undefined when they are known.
   */
  #awaitsCatalog(key: string, networking: PodNetworking): Admission | undefined {
    const { catalog, pendingPods, events } = this.#context;
    const vSwitchIds = networking.spec.vSwitchOptions ?? [];
    if (isInline(networking) && !catalog.knows(vSwitchIds)) this.#lookUp(key, vSwitchIds);
    if (catalog.knows(vSwitchIds)) return undefined;
    const { name } = networking.metadata;
    pendingPods.park(key, { kind: 'networking', name }, [name]);
    if (catalog.problem !== undefined) {
      events.podWarning(key, 'CloudError', `the vSwitches of PodNetworking ${name} are not known: ${catalog.problem}`);
    }
    return isInline(networking) ? { requeueAfterMs: RECHECK_MS } : {};
  }
}

function isInline(networking: PodNetworking): boolean {
  return inlineOwner(networking.metadata.name) !== undefined;
}

/** Whether a failed write may have taken effect. */
function mayHaveWritten(error: unknown): boolean {
  if (error instanceof TransportError) return error.sent;
  return error instanceof KubeApiError && error.code >= 500;
}
