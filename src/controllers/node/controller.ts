import { attachedTrunk, eniLimitOf, hasPlaceForTrunk, isExclusive } from '../../allocation/node-mode.ts';
import { reasonOfFailure } from '../../allocation/operation.ts';
import { holdsRecord, type PoolEnd } from '../../allocation/pool/leaving.ts';
import { maxAvailableIp, smallNodeHint } from '../../allocation/pool/rules.ts';
import { parseTrunkIntent, type TrunkIntent } from '../../allocation/trunk.ts';
import { CloudError } from '../../cloud/errors.ts';
import type { EniObserver } from '../../cloud/observer.ts';
import type { CloudReads } from '../../cloud/port.ts';
import { clusterNetwork } from '../../cluster/cluster-network.ts';
import type { EniConfigs } from '../../cluster/eni-configs.ts';
import type { Informers } from '../../cluster/informers.ts';
import { hasLeft, isForeign, type NodeIdentity, nodeIdentity, watchedPart } from '../../cluster/node-view.ts';
import { type CoreNode, coreNodeResource } from '../../cluster/resources.ts';
import {
  ANNOTATION_MAX_AVAILABLE_IP,
  ANNOTATION_TRUNK_INTENT,
  ANNOTATION_TRUNK_ON,
  FINALIZER_NODE,
  LABEL_EXCLUSIVE_MODE,
  RESOURCE_ENI,
  RESOURCE_MEMBER_ENI,
} from '../../crds/names.ts';
import type { TerwayNode } from '../../crds/node.ts';
import type { Reason } from '../../crds/reasons/catalogue.ts';
import type { KubeClient } from '../../kube/client.ts';
import { findCondition } from '../../kube/conditions.ts';
import { isNotFound } from '../../kube/errors.ts';
import type { Log } from '../../telemetry/log.ts';
import type { Clock } from '../../util/clock.ts';
import { CoreNodeWriter } from '../core-node-writer.ts';
import type { EniDriver, Outcome } from '../eni/driver.ts';
import type { ControllerEvents } from '../events.ts';
import type { NetworkCatalog } from '../network-catalog.ts';
import { nodeOwner } from '../owners.ts';
import type { PendingPods } from '../pending-pods.ts';
import { type Watch, watch } from '../watch.ts';
import { InstanceTypeCatalog } from './instance-types.ts';
import { releasedIdentity, TrunkExecutor, type TrunkExecutorContext } from './trunk-executor.ts';
import { TrunkPlanner, type TrunkPlannerContext } from './trunk-planner.ts';
import { NodeWriter } from './writer.ts';

const STEPS_PER_VISIT = 10;
const RETRY_MS = 15_000;
/** Delay after a failed cloud call; doubled with each further failure. */
const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 60_000;
/** vSwitches rarely change. */
const VSWITCHES_MAX_AGE_MS = 5 * 60_000;
/** Delay when the API server still has a node that the store has lost: the store lags. */
const LAG_RETRY_MS = 2000;
/** Delay while pods of a leaving node still hold member ENIs of its trunk. */
const LEAVING_RECHECK_MS = 60_000;

export type NodeContext = TrunkPlannerContext &
  TrunkExecutorContext & {
    catalog: NetworkCatalog;
    client: KubeClient;
    clock: Clock;
    cloud: CloudReads;
    driver: EniDriver;
    eniConfigs: EniConfigs;
    events: ControllerEvents;
    log: Log;
    /** Labels of the nodes to manage; empty: every node. */
    nodeLabels: Readonly<Record<string, string>>;
    observer: EniObserver;
    pendingPods: PendingPods;
    informers: Pick<Informers, 'coreNodes' | 'nodes' | 'configMaps'>;
  };

/**
 * Manages the network of each Kubernetes node: capacity from the instance type, one trunk ENI, and what the scheduler
 * and the node daemon read (annotation `trunk-on`, extended resource `aliyun/member-eni`).
 */
export class NodeController {
  readonly #context: NodeContext;
  readonly #writer: NodeWriter;
  readonly #coreNodes: CoreNodeWriter;
  readonly #types: InstanceTypeCatalog;
  readonly #planner: TrunkPlanner;
  readonly #trunks: TrunkExecutor;
  /** Consecutive failed cloud calls, by node. */
  readonly #failures = new Map<string, number>();

  constructor(context: NodeContext) {
    this.#context = context;
    const { client, clock, informers, cloud } = context;
    this.#writer = new NodeWriter({ client, informers, clock });
    this.#coreNodes = new CoreNodeWriter({ client, clock, informers });
    this.#types = new InstanceTypeCatalog({ cloud, clock });
    this.#planner = new TrunkPlanner(context);
    this.#trunks = new TrunkExecutor(context, {
      writer: this.#writer,
      planner: this.#planner,
      released: (node, signal) => this.#released(node, signal),
    });
  }

  /** Entries held for nodes. */
  get size(): number {
    return this.#failures.size + this.#planner.size;
  }

  /** Kubernetes nodes, Node CRs, and changes to `eni-config`, which concern all nodes. */
  watches(): Watch[] {
    const { coreNodes, nodes, configMaps } = this.#context.informers;
    const allNodes = () => coreNodes.store.keys();
    return [
      watch(coreNodes, {
        added: ({ metadata }) => [metadata.name],
        changed: (before, node) => (watchedPart(before) === watchedPart(node) ? [] : [node.metadata.name]),
        removed: ({ metadata }) => [metadata.name],
      }),
      watch(nodes, {
        added: ({ metadata }) => [metadata.name],
        // A write of ours comes from a reconcile that continues anyway; one of the pool may free a place.
        changed: (before, node, origin) =>
          origin === 'write' && hasPlaceForTrunk(before) === hasPlaceForTrunk(node) ? [] : [node.metadata.name],
        removed: ({ metadata }) => [metadata.name],
      }),
      watch(configMaps, { added: allNodes, changed: allNodes, removed: allNodes }),
    ];
  }

  async reconcile(name: string, signal: AbortSignal): Promise<{ requeueAfterMs?: number }> {
    try {
      for (let count = 0; count < STEPS_PER_VISIT; count += 1) {
        const outcome = await this.#visit(name, signal);
        if (outcome === 'again') continue;
        this.#failures.delete(name);
        return outcome;
      }
      return { requeueAfterMs: 1 };
    } catch (error) {
      if (!(error instanceof CloudError) || signal.aborted) throw error;
      return this.#cloudFailed(name, error, signal);
    }
  }

  async #visit(name: string, signal: AbortSignal): Promise<Outcome> {
    const { informers } = this.#context;
    const core = informers.coreNodes.store.get(name);
    const node = informers.nodes.store.get(name);
    if (core === undefined) {
      if (node !== undefined) return this.#release(node, signal);
      this.#context.driver.forget(nodeOwner(name));
      this.#planner.forget(name);
      return {};
    }
    if (node?.metadata.deletionTimestamp !== undefined) {
      if (!(await this.#isCurrent(core, signal))) return 'again';
      return this.#makeWay(node, signal);
    }
    if (isForeign(core, this.#context.nodeLabels) || core.metadata.deletionTimestamp !== undefined) return {};

    const found = nodeIdentity(core);
    if ('missing' in found) {
      this.#warn(core, 'ConfigError', `node ${name} lacks ${found.missing}, so it gets no trunk ENI`);
      return {};
    }
    const { identity } = found;
    if (node === undefined || this.#isOutdated(core, node, identity)) {
      // It may be the store that is outdated, and the record is of the present node.
      if (node !== undefined && !(await this.#isCurrent(core, signal))) return 'again';
      return this.#describe(core, node, identity, signal);
    }
    if (isExclusive(core.metadata.labels) !== isExclusive(node.metadata.labels)) {
      this.#warn(
        core,
        'ConfigError',
        `label ${LABEL_EXCLUSIVE_MODE} was ${node.metadata.labels?.[LABEL_EXCLUSIVE_MODE]} when the node joined and cannot change; drain the node and join it again to change the mode`,
      );
    }
    if (await this.#configured(core, node, signal)) return 'again';
    if (isExclusive(node.metadata.labels)) return this.#exclusive(core, node, identity, signal);
    const intent = parseTrunkIntent(node.metadata.annotations?.[ANNOTATION_TRUNK_INTENT]);
    const isKept = this.#trunks.isKept(node, identity);
    const unsuitable = this.#planner.whyNone(node, isKept);
    if (unsuitable !== undefined) {
      if (await this.#writer.condition(node, 'TrunkNotSupported', unsuitable, signal)) return 'again';
      // The record shows all ENIs only where the control plane shares them among pods, and once it was compared with the cloud.
      const isKnown = this.#context.eniConfigs.isCentral && node.status?.lastSyncOpenAPITime !== undefined;
      if (isKnown && attachedTrunk(node) === undefined) await this.#coreNodes.withoutTrunk(core, signal);
      return isKept || intent === undefined ? {} : this.#trunks.withdraw({ node, identity, intent, signal });
    }
    return this.#trunk(core, node, identity, intent, signal);
  }

  /** Reports whether the ConfigMap named by the node's label is in force. @returns whether that was news. */
  async #configured(core: CoreNode, node: TerwayNode, signal: AbortSignal): Promise<boolean> {
    const config = this.#context.eniConfigs.ofNode(node.metadata.name);
    if (config.problem !== undefined) this.#warn(core, 'ConfigError', config.problem);
    return this.#writer.configuration(node, config, signal);
  }

  #isOutdated(core: CoreNode, node: TerwayNode, identity: NodeIdentity): boolean {
    const { nodeMetadata, nodeCap } = node.spec;
    return (
      // The garbage collector deletes objects that belong to an earlier node of the name.
      node.metadata.ownerReferences?.some(({ uid }) => uid === core.metadata.uid) !== true ||
      nodeCap?.networkCardsCount === undefined ||
      node.metadata.labels?.[LABEL_EXCLUSIVE_MODE] === undefined ||
      nodeMetadata?.instanceID !== identity.instanceId ||
      nodeMetadata.instanceType !== identity.instanceType ||
      nodeMetadata.zoneID !== identity.zoneId
    );
  }

  async #describe(
    core: CoreNode,
    node: TerwayNode | undefined,
    identity: NodeIdentity,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const cap = await this.#types.capacity(identity.instanceType, signal);
    if (cap === undefined) {
      this.#warn(core, 'ConfigError', `instance type ${identity.instanceType} is unknown to DescribeInstanceTypes`);
      return { requeueAfterMs: RETRY_MS };
    }
    const known = node?.spec.nodeMetadata?.instanceID;
    if (node === undefined || known === undefined || known === identity.instanceId) {
      await this.#writer.describe(core, node, identity, cap, signal);
      return 'again';
    }
    // The name belongs to another instance now. The old trunk is deleted with its instance or collected.
    const { name } = node.metadata;
    if (this.#trunks.unattached(node) !== undefined || this.#poolHolds(node, 'release')) {
      // It is released before the record goes.
      await this.#writer.deleteObject(node, signal);
      return 'again';
    }
    const message = `node ${name} was instance ${known} and is now ${identity.instanceId}`;
    let current = await this.#writer.forgetTrunk(node, 'InstanceReplaced', message, signal);
    current = await this.#writer.dropIntent(current, signal);
    this.#context.driver.forget(nodeOwner(name));
    await this.#writer.describe(core, current, identity, cap, signal);
    return 'again';
  }

  /** Pods of the node get whole ENIs: it has no trunk, and the scheduler counts ENIs. */
  async #exclusive(core: CoreNode, node: TerwayNode, identity: NodeIdentity, signal: AbortSignal): Promise<Outcome> {
    const { eniConfigs, catalog, pendingPods } = this.#context;
    const pods = maxAvailableIp(node.spec, true, false);
    const hint = smallNodeHint(pods, true, identity.instanceType);
    const label = `label ${LABEL_EXCLUSIVE_MODE}=eniOnly: pods of this node get whole ENIs`;
    const stated = findCondition(node.status?.conditions, 'TrunkReady')?.message ?? '';
    if (hint !== undefined && !stated.includes(hint)) this.#warn(core, 'NodeTooSmall', hint);
    await this.#writer.condition(node, 'ExclusiveMode', hint === undefined ? label : `${label}; ${hint}`, signal);
    // Pods that no PodNetworking selects use these.
    const network = clusterNetwork(eniConfigs, { nodeName: node.metadata.name, zone: identity.zoneId });
    if (!('message' in network)) {
      await catalog.lookUp({ vSwitchIds: network.vSwitchIds, securityGroupIds: [] }, VSWITCHES_MAX_AGE_MS, signal);
    }
    // As Terway, only where nobody else gives ordinary pods their addresses.
    const annotated = eniConfigs.isCentral
      ? await this.#coreNodes.annotate(core, ANNOTATION_MAX_AVAILABLE_IP, pods === 0 ? undefined : String(pods), signal)
      : core;
    await this.#coreNodes.publishSlots(annotated, RESOURCE_ENI, eniLimitOf(node), signal);
    pendingPods.wake({ kind: 'node', nodeName: node.metadata.name });
    return {};
  }

  async #trunk(
    core: CoreNode,
    node: TerwayNode,
    identity: NodeIdentity,
    intent: TrunkIntent | undefined,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const name = node.metadata.name;
    const recorded = attachedTrunk(node);
    const lost =
      recorded === undefined || intent !== undefined ? undefined : this.#planner.forDetached(node, recorded, identity);
    if (lost === 'gone') {
      await this.#coreNodes.withoutTrunk(core, signal);
      await this.#trunks.lost(node, recorded?.id ?? '', signal);
      return 'again';
    }
    if (lost !== undefined) {
      await this.#writer.intent(node, lost, signal);
      return 'again';
    }
    const observation = intent === undefined ? undefined : this.#context.observer.latest(intent.eniID);
    if (
      recorded !== undefined &&
      (intent === undefined || (intent.eniID === recorded.id && observation === undefined))
    ) {
      const annotated = await this.#coreNodes.annotate(core, ANNOTATION_TRUNK_ON, recorded.id, signal);
      const slots = node.spec.nodeCap?.memberAdapterLimit ?? 0;
      await this.#coreNodes.publishSlots(annotated, RESOURCE_MEMBER_ENI, slots, signal);
      await this.#writer.ready(node, recorded.id, signal);
      this.#context.pendingPods.wake({ kind: 'node', nodeName: name });
      // Pods that waited for a slot were not woken while the trunk was missing.
      this.#context.pendingPods.wake({ kind: 'slot', nodeName: name });
      return {};
    }
    if (intent === undefined) return this.#trunks.plan(node, identity, 1, signal);
    return this.#trunks.execute({ goal: 'bind', node, identity, intent, signal });
  }

  /**
   * The record was deleted by hand, or together with an earlier Kubernetes node of the name. An attached trunk stays on its
   * instance, where the next record finds it; another one is released first.
   */
  async #makeWay(node: TerwayNode, signal: AbortSignal): Promise<Outcome> {
    const core = this.#context.informers.coreNodes.store.get(node.metadata.name);
    // The pool wakes this node when it has ended what it had begun.
    if (this.#poolHolds(node, hasLeft(core, node) ? 'release' : 'keep')) return { requeueAfterMs: LEAVING_RECHECK_MS };
    const intent = this.#trunks.unattached(node);
    if (intent === undefined) return this.#released(node, signal);
    return this.#trunks.execute({ goal: 'release', node, identity: releasedIdentity(node), intent, signal });
  }

  /** The Kubernetes node is gone: releases its trunk once no pod uses it, then removes the Node CR. */
  async #release(node: TerwayNode, signal: AbortSignal): Promise<Outcome> {
    const { name, finalizers, annotations, deletionTimestamp } = node.metadata;
    // The store of the watch may lag, and lacks objects that it could not parse.
    if (!(await this.#nodeIsGone(name, signal))) return { requeueAfterMs: LAG_RETRY_MS };
    if (deletionTimestamp === undefined) {
      // Through its owner reference the garbage collector deletes it too, but late, or never in a test cluster.
      await this.#writer.deleteObject(node, signal);
      return 'again';
    }
    if (!(finalizers ?? []).includes(FINALIZER_NODE)) return {};
    if (this.#poolHolds(node, 'release')) return { requeueAfterMs: LEAVING_RECHECK_MS };
    const intent = parseTrunkIntent(annotations?.[ANNOTATION_TRUNK_INTENT]);
    if (intent === undefined) return this.#released(node, signal);
    // The last pod to go wakes this node.
    if (this.#trunks.isInUse(node, intent)) return { requeueAfterMs: LEAVING_RECHECK_MS };
    return this.#trunks.execute({ goal: 'release', node, identity: releasedIdentity(node), intent, signal });
  }

  #poolHolds(node: TerwayNode, end: PoolEnd): boolean {
    const isShared = this.#context.eniConfigs.isCentral && !isExclusive(node.metadata.labels);
    return isShared && holdsRecord(node.status ?? {}, end);
  }

  /** The trunk is released, or stays as it is not ours. */
  async #released(node: TerwayNode, signal: AbortSignal): Promise<Outcome> {
    if (node.metadata.deletionTimestamp !== undefined) {
      await this.#dropRecord(node, signal);
      return {};
    }
    // The node goes on without one.
    const intent = parseTrunkIntent(node.metadata.annotations?.[ANNOTATION_TRUNK_INTENT]);
    const owner = nodeOwner(node.metadata.name);
    this.#context.driver.forget(owner, { id: intent?.eniID ?? '', owner });
    await this.#writer.dropIntent(node, signal);
    return 'again';
  }

  /** Removes the Node CR and forgets the node. */
  async #dropRecord(node: TerwayNode, signal: AbortSignal): Promise<void> {
    const { name, annotations } = node.metadata;
    const intent = parseTrunkIntent(annotations?.[ANNOTATION_TRUNK_INTENT]);
    this.#context.driver.forget(nodeOwner(name), { id: intent?.eniID ?? '', owner: nodeOwner(name) });
    this.#failures.delete(name);
    this.#planner.forget(name);
    await this.#writer.removeFinalizer(node, signal);
  }

  async #nodeIsGone(name: string, signal: AbortSignal): Promise<boolean> {
    return (await this.#readNode(name, signal)) === undefined;
  }

  /** Whether the API server has this Kubernetes node, and not another or none of its name; then the store is corrected. */
  async #isCurrent({ metadata: { name, uid = '' } }: CoreNode, signal: AbortSignal): Promise<boolean> {
    const { store } = this.#context.informers.coreNodes;
    const found = await this.#readNode(name, signal);
    if (found === undefined) store.noteDeleted(name, uid);
    else store.noteWritten(found);
    return found?.metadata.uid === uid;
  }

  async #readNode(name: string, signal: AbortSignal): Promise<CoreNode | undefined> {
    return this.#context.client.get(coreNodeResource, { name }, { signal }).catch((error: unknown) => {
      if (isNotFound(error)) return undefined;
      throw error;
    });
  }

  #warn(core: CoreNode, reason: Reason, cause: string): void {
    const regarding = { apiVersion: 'v1', kind: 'Node', object: core };
    this.#context.events.about(regarding, { type: 'Warning', reason, cause }, 'node');
  }

  /** A direct cloud call failed: reports it on the Node CR and schedules a retry. */
  async #cloudFailed(name: string, error: CloudError, signal: AbortSignal): Promise<{ requeueAfterMs: number }> {
    const { informers, log } = this.#context;
    const failures = this.#failures.get(name) ?? 0;
    this.#failures.set(name, failures + 1);
    log.warn({ node: name, err: error.message }, 'cloud call failed');
    const node = informers.nodes.store.get(name);
    const core = informers.coreNodes.store.get(name);
    const reason = reasonOfFailure(error);
    if (node !== undefined) await this.#writer.condition(node, reason, error.message, signal);
    else if (core !== undefined) this.#warn(core, reason, error.message);
    return { requeueAfterMs: Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** failures) };
  }
}
