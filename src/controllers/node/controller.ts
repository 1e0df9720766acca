import { ownershipTags } from '../../allocation/identity.ts';
import { eniLimitOf, isExclusive } from '../../allocation/node-mode.ts';
import { type OperationFailure, reasonOfFailure } from '../../allocation/operation.ts';
import { nextTrunkStep, parseTrunkIntent, type TrunkIntent } from '../../allocation/trunk.ts';
import { CloudError } from '../../cloud/errors.ts';
import { clusterNetwork } from '../../cluster/cluster-network.ts';
import { type NodeIdentity, nodeIdentity } from '../../cluster/node-view.ts';
import { type CoreNode, coreNodeResource } from '../../cluster/resources.ts';
import {
  ANNOTATION_TRUNK_INTENT,
  FINALIZER_NODE,
  LABEL_EXCLUSIVE_MODE,
  LABEL_IGNORE,
  LABEL_LINGJUN,
  RESOURCE_ENI,
} from '../../crds/names.ts';
import type { TerwayNode } from '../../crds/node.ts';
import type { Reason } from '../../crds/reasons/catalogue.ts';
import { isNotFound } from '../../kube/errors.ts';
import { keyOf } from '../../kube/types.ts';
import type { ControllerContext } from '../context.ts';
import type { EniDecision, Outcome } from '../eni/driver.ts';
import { nodeOwner } from '../owners.ts';
import { InstanceTypeCatalog } from './instance-types.ts';
import { TrunkPlanner } from './trunk-planner.ts';
import { NodeWriter } from './writer.ts';

const STEPS_PER_VISIT = 10;
const RETRY_MS = 15_000;
/** After a failed cloud call; doubled with each further one. */
const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 60_000;
/** vSwitches rarely come or go. */
const VSWITCHES_MAX_AGE_MS = 5 * 60_000;
/** How old the CIDR of a vSwitch may be; it never changes. */
const CIDR_MAX_AGE_MS = 24 * 60 * 60_000;
/** A node that the store does not show but the API server does: the store lags. */
const LAG_RETRY_MS = 2000;
/** While pods of a leaving node still hold member ENIs of its trunk. */
const LEAVING_RECHECK_MS = 60_000;

/** The trunk of an intent that is being worked on. */
interface TrunkWork {
  goal: 'bind' | 'release';
  node: TerwayNode;
  identity: NodeIdentity;
  intent: TrunkIntent;
  signal: AbortSignal;
}

/**
 * Looks after the network of each Kubernetes node: capacity from the instance type, one trunk ENI, and what scheduler and
 * node daemon read (annotation `trunk-on`, extended resource `aliyun/member-eni`).
 */
export class NodeController {
  readonly #context: ControllerContext;
  readonly #writer: NodeWriter;
  readonly #types: InstanceTypeCatalog;
  readonly #planner: TrunkPlanner;
  /** Refusals for want of an address that have been charged to their vSwitch. */
  readonly #charged = new WeakSet<OperationFailure>();
  /** Failed cloud calls in a row, by node. */
  readonly #failures = new Map<string, number>();

  constructor(context: ControllerContext) {
    this.#context = context;
    const { client, clock, informers, cloud } = context;
    this.#writer = new NodeWriter({ client, informers, clock });
    this.#types = new InstanceTypeCatalog({ cloud, clock });
    this.#planner = new TrunkPlanner(context);
  }

  /** Reconciles one node by name. */
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
    if (core === undefined) return node === undefined ? {} : this.#release(node, signal);
    if (node?.metadata.deletionTimestamp !== undefined) {
      // Deleted by hand, or with a Kubernetes node that had the name before. The trunk stays with the instance, where the
      // next record finds it.
      await this.#dropRecord(node, signal);
      return {};
    }
    if (isForeign(core, this.#context.nodeLabels) || core.metadata.deletionTimestamp !== undefined) return {};

    const found = nodeIdentity(core);
    if ('missing' in found) {
      this.#warn(core, 'ConfigError', `node ${name} lacks ${found.missing}, so it gets no trunk ENI`);
      return {};
    }
    const { identity } = found;
    if (node === undefined || this.#isOutdated(core, node, identity)) {
      return this.#describe(core, node, identity, signal);
    }
    if (isExclusive(core.metadata.labels) !== isExclusive(node.metadata.labels)) {
      this.#warn(
        core,
        'ConfigError',
        `label ${LABEL_EXCLUSIVE_MODE} was ${node.metadata.labels?.[LABEL_EXCLUSIVE_MODE]} when the node joined and stays so; to change it, drain the node and let it join anew`,
      );
    }
    if (await this.#configured(core, node, signal)) return 'again';
    if (isExclusive(node.metadata.labels)) return this.#exclusive(core, node, identity, signal);
    const intent = parseTrunkIntent(node.metadata.annotations?.[ANNOTATION_TRUNK_INTENT]);
    const unsuitable = this.#planner.whyNone(node, intent);
    if (unsuitable !== undefined) {
      await this.#writer.condition(node, 'TrunkNotSupported', unsuitable, signal);
      return {};
    }
    return this.#trunk(core, node, identity, intent, signal);
  }

  /** Says whether the ConfigMap that the node's label names counts. @returns whether that was news. */
  async #configured(core: CoreNode, node: TerwayNode, signal: AbortSignal): Promise<boolean> {
    const config = this.#context.eniConfigs.ofNode(node.metadata.name);
    if (config.problem !== undefined) this.#warn(core, 'ConfigError', config.problem);
    return this.#writer.configuration(node, config, signal);
  }

  #isOutdated(core: CoreNode, node: TerwayNode, identity: NodeIdentity): boolean {
    const { nodeMetadata, nodeCap } = node.spec;
    return (
      // The garbage collector deletes what belongs to a node of the same name from before.
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
    // Another instance has the name now. The trunk of the one before goes with it, or is collected.
    const { name } = node.metadata;
    const message = `node ${name} was ${known} before and is ${identity.instanceId} now`;
    let current = await this.#writer.forgetTrunk(node, 'InstanceReplaced', message, signal);
    current = await this.#writer.dropIntent(current, signal);
    this.#context.driver.forget(nodeOwner(name));
    await this.#writer.describe(core, current, identity, cap, signal);
    return 'again';
  }

  /** Pods of the node get whole ENIs: there is no trunk, and the scheduler counts ENIs. */
  async #exclusive(core: CoreNode, node: TerwayNode, identity: NodeIdentity, signal: AbortSignal): Promise<Outcome> {
    const { eniConfigs, catalog, waitingRoom } = this.#context;
    const label = `label ${LABEL_EXCLUSIVE_MODE}=eniOnly: pods of this node get whole ENIs`;
    await this.#writer.condition(node, 'ExclusiveMode', label, signal);
    // Pods that no PodNetworking picks are served from these.
    const network = clusterNetwork(eniConfigs, { nodeName: node.metadata.name, zone: identity.zoneId });
    if (!('message' in network)) {
      await catalog.lookUp({ vSwitchIds: network.vSwitchIds, securityGroupIds: [] }, VSWITCHES_MAX_AGE_MS, signal);
    }
    await this.#writer.publishSlots(core, RESOURCE_ENI, eniLimitOf(node), signal);
    waitingRoom.wake({ kind: 'node', nodeName: node.metadata.name });
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
    const recorded = recordedTrunk(node);
    const observation = intent === undefined ? undefined : this.#context.observer.latest(intent.eniID);
    if (
      recorded !== undefined &&
      (intent === undefined || (intent.eniID === recorded.id && observation === undefined))
    ) {
      await this.#writer.publishTrunk(core, node, recorded.id, signal);
      await this.#writer.ready(node, recorded.id, signal);
      this.#context.waitingRoom.wake({ kind: 'node', nodeName: name });
      // Who waits for a slot was not woken while there was no trunk.
      this.#context.waitingRoom.wake({ kind: 'slot', nodeName: name });
      return {};
    }
    if (intent === undefined) return this.#plan(node, identity, 1, signal);
    return this.#execute({ goal: 'bind', node, identity, intent, signal });
  }

  /** What there is to do for the trunk of an intent, by what is known now. */
  #decide({ goal, node, identity, intent }: Omit<TrunkWork, 'signal'>): EniDecision {
    const { observer, driver, clusterId, clock } = this.#context;
    const { name, uid } = node.metadata;
    const { instanceId } = identity;
    const step = nextTrunkStep({
      ...{ goal, intent, instanceId, clusterId },
      nodeName: name,
      bound: goal === 'bind' && recordedTrunk(node) !== undefined,
      observation: observer.latest(intent.eniID),
      operation: driver.operation(nodeOwner(name)),
      nowMs: clock.now(),
    });
    const creation = {
      kind: 'Trunk' as const,
      vSwitchId: intent.vSwitchID,
      securityGroupIds: intent.securityGroupIDs,
      // The trunk goes with its instance.
      deleteOnRelease: true,
      description: 'interface create by terway',
      clientToken: intent.clientToken,
      tags: {
        ...intent.tags,
        // Ours last: by them it is known whose the ENI is.
        ...ownershipTags({ clusterId, owner: `node/${name}`, ownerUid: uid ?? '', clientToken: intent.clientToken }),
      },
    };
    return {
      ...{ step, creation, plannedMs: Date.parse(intent.createdAt) },
      callClass: goal === 'bind' ? 'pod' : 'release',
      target: { instanceID: instanceId },
      securityGroupIds: intent.securityGroupIDs,
    };
  }

  /** The same once more, as the stores have it now; undefined when it is about another intent or goal by now. */
  #decideAgain({ goal, node, intent }: TrunkWork): EniDecision | undefined {
    const { coreNodes, nodes } = this.#context.informers;
    const { name } = node.metadata;
    const current = nodes.store.get(name);
    const core = coreNodes.store.get(name);
    if (current === undefined || (goal === 'bind') !== (core !== undefined)) return undefined;
    const now = parseTrunkIntent(current.metadata.annotations?.[ANNOTATION_TRUNK_INTENT]);
    if (now === undefined || now.clientToken !== intent.clientToken) return undefined;
    if (goal === 'release') {
      if (this.#isInUse(current, now)) return undefined;
      return this.#decide({ goal, node: current, identity: releasedIdentity(current), intent: now });
    }
    const found = core === undefined ? undefined : nodeIdentity(core);
    if (found === undefined || 'missing' in found) return undefined;
    return this.#decide({ goal, node: current, identity: found.identity, intent: now });
  }

  /** Writes the intent of a trunk, or says why there can be none now. */
  async #plan(node: TerwayNode, identity: NodeIdentity, attempt: number, signal: AbortSignal): Promise<Outcome> {
    const plan = await this.#planner.plan(node, identity, attempt, signal);
    if ('asked' in plan) return {};
    if ('message' in plan) {
      await this.#writer.condition(node, plan.reason, plan.message, signal);
      return { requeueAfterMs: RETRY_MS };
    }
    await this.#writer.intent(node, plan.intent, signal);
    this.#context.driver.forget(nodeOwner(node.metadata.name));
    return 'again';
  }

  async #execute(work: TrunkWork): Promise<Outcome> {
    const { goal, node, identity, intent, signal } = work;
    const { observer, clock, driver } = this.#context;
    const { name } = node.metadata;
    const owner = nodeOwner(name);
    const subject = { id: owner, owner, eniId: intent.eniID, decide: () => this.#decideAgain(work) };
    return driver.perform(subject, this.#decide(work), {
      record: async ({ eni }) => {
        await this.#writer.intent(node, { ...intent, eniID: eni.id }, signal);
        return 'again';
      },
      newAttempt: async ({ avoidVSwitch, failure }) => {
        observer.forget(intent.eniID);
        // Once per refusal: the intent stays until there is room elsewhere, and is looked at again meanwhile.
        if (avoidVSwitch && failure !== undefined && !this.#charged.has(failure)) {
          this.#charged.add(failure);
          this.#context.room.vSwitches.block(intent.vSwitchID, clock.now());
        }
        const current = await this.#lost(node, intent, signal);
        return this.#plan(current, identity, intent.attempt + 1, signal);
      },
      inProgress: () => ({}),
      pause: async ({ untilMs, failure }) => {
        if (failure !== undefined) {
          if (goal === 'bind' && this.#planner.isCorrected(node, identity, intent, failure)) {
            return this.#plan(node, identity, intent.attempt + 1, signal);
          }
          await this.#writer.condition(node, reasonOfFailure(failure), failure.message, signal);
        }
        return { requeueAfterMs: Math.max(1, untilMs - clock.now()) };
      },
      blocked: async ({ reason, message }) => {
        // An ENI that is not ours, such as an adopted trunk of upstream's pool, stays with its instance.
        if (goal === 'release' && reason === 'EniNotOurs') return this.#released(node, signal);
        if (clock.now() - (observer.latest(intent.eniID)?.atMs ?? 0) >= RETRY_MS) {
          observer.expect(intent.eniID, 'read', owner, 'audit');
        }
        await this.#writer.condition(node, reason, message, signal);
        return { requeueAfterMs: RETRY_MS };
      },
      done: async ({ eni }) => {
        if (goal === 'release') return this.#released(node, signal);
        if (eni === undefined) return {};
        await this.#writer.attached(node, eni, await this.#cidrsOf(eni.vSwitchId, signal), signal);
        this.#context.log.info({ node: name, trunk: eni.id }, 'trunk attached');
        driver.forget(owner, eni.id);
        return 'again';
      },
    });
  }

  /** The recorded trunk is gone: says so, and looks after the pods that hung below it. */
  async #lost(node: TerwayNode, intent: TrunkIntent, signal: AbortSignal): Promise<TerwayNode> {
    if (node.status?.networkInterfaces?.[intent.eniID] === undefined) return node;
    const { informers, observer, log } = this.#context;
    const message = `trunk ${intent.eniID} no longer exists in the cloud; another one is created`;
    const current = await this.#writer.forgetTrunk(node, 'TrunkLost', message, signal);
    log.warn({ node: node.metadata.name, trunk: intent.eniID }, 'trunk lost');
    for (const podEni of informers.podEnis.store.byIndex('trunk', intent.eniID)) {
      for (const { eni } of podEni.spec.allocations ?? []) {
        if (eni.id !== '') observer.expect(eni.id, 'read', keyOf(podEni.metadata), 'repair');
      }
    }
    return current;
  }

  /** Node agents derive the gateways from them. */
  async #cidrsOf(vSwitchId: string, signal: AbortSignal): Promise<{ ipv4: string; ipv6: string }> {
    const { catalog } = this.#context;
    const wanted = { vSwitchIds: [vSwitchId], securityGroupIds: [] };
    const { vSwitches } = await catalog.lookUp(wanted, CIDR_MAX_AGE_MS, signal);
    const vSwitch = vSwitches.get(vSwitchId);
    return { ipv4: vSwitch?.cidrBlock ?? '', ipv6: vSwitch?.ipv6CidrBlock ?? '' };
  }

  /** The Kubernetes node is gone: release its trunk when no pod uses it any more, then let the Node CR go. */
  async #release(node: TerwayNode, signal: AbortSignal): Promise<Outcome> {
    const { name, finalizers, annotations, deletionTimestamp } = node.metadata;
    // The watch's store may be behind, and may lack what it cannot read.
    if (!(await this.#nodeIsGone(name, signal))) return { requeueAfterMs: LAG_RETRY_MS };
    if (deletionTimestamp === undefined) {
      // Its owner reference makes the garbage collector delete it; that may take a while or never come in a test cluster.
      await this.#writer.deleteObject(node, signal);
      return 'again';
    }
    if (!(finalizers ?? []).includes(FINALIZER_NODE)) return {};
    const intent = parseTrunkIntent(annotations?.[ANNOTATION_TRUNK_INTENT]);
    if (intent === undefined) return this.#released(node, signal);
    // Woken when the last of them lets go.
    if (this.#isInUse(node, intent)) return { requeueAfterMs: LEAVING_RECHECK_MS };
    return this.#execute({ goal: 'release', node, identity: releasedIdentity(node), intent, signal });
  }

  /** Whether pods still have interfaces below a trunk. */
  #isInUse(node: TerwayNode, { eniID }: TrunkIntent): boolean {
    const { room, informers } = this.#context;
    if (eniID === '') return false;
    const instanceId = node.spec.nodeMetadata?.instanceID ?? '';
    return room.slots.used(instanceId) > 0 || informers.podEnis.store.byIndex('trunk', eniID).length > 0;
  }

  async #released(node: TerwayNode, signal: AbortSignal): Promise<Outcome> {
    await this.#dropRecord(node, signal);
    return {};
  }

  /** Lets a Node CR go; memory keeps nothing of it. */
  async #dropRecord(node: TerwayNode, signal: AbortSignal): Promise<void> {
    const { name, annotations } = node.metadata;
    const intent = parseTrunkIntent(annotations?.[ANNOTATION_TRUNK_INTENT]);
    this.#context.driver.forget(nodeOwner(name), intent?.eniID);
    this.#failures.delete(name);
    await this.#writer.removeFinalizer(node, signal);
  }

  async #nodeIsGone(name: string, signal: AbortSignal): Promise<boolean> {
    try {
      await this.#context.client.get(coreNodeResource, { name }, { signal });
      return false;
    } catch (error) {
      if (isNotFound(error)) return true;
      throw error;
    }
  }

  #warn(core: CoreNode, reason: Reason, cause: string): void {
    const regarding = { apiVersion: 'v1', kind: 'Node', object: core };
    this.#context.events.about(regarding, { type: 'Warning', reason, cause }, 'node');
  }

  /** A direct cloud call failed: says so where the node's network is described, and tries again later. */
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

/** Nodes that are not ours to serve (reference 4.6). */
function isForeign(core: CoreNode, wanted: Readonly<Record<string, string>>): boolean {
  const labels = core.metadata.labels ?? {};
  if (Object.entries(wanted).some(([name, value]) => labels[name] !== value)) return true;
  return labels[LABEL_IGNORE] === 'true' || labels['type'] === 'virtual-kubelet' || labels[LABEL_LINGJUN] === 'true';
}

function recordedTrunk({ status }: TerwayNode) {
  return Object.values(status?.networkInterfaces ?? {}).find(
    (eni) => eni.networkInterfaceType === 'Trunk' && eni.status === 'InUse',
  );
}

/** Of a node that is gone only the instance is known. */
function releasedIdentity({ spec }: TerwayNode): NodeIdentity {
  return { instanceId: spec.nodeMetadata?.instanceID ?? '', instanceType: '', regionId: '', zoneId: '' };
}
