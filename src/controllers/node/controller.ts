import { attemptTags, ownershipTags } from '../../allocation/identity.ts';
import type { InterfaceStep } from '../../allocation/interface-step.ts';
import type { ObservedEni } from '../../allocation/observation.ts';
import { nextTrunkStep, parseTrunkIntent, planTrunk, type TrunkIntent } from '../../allocation/trunk.ts';
import { CloudError } from '../../cloud/errors.ts';
import { ENI_CONFIG, parseEniConfig } from '../../config/eni-config.ts';
import {
  ANNOTATION_TRUNK_INTENT,
  FINALIZER_NODE,
  LABEL_EXCLUSIVE_MODE,
  LABEL_IGNORE,
  LABEL_LINGJUN,
} from '../../crds/names.ts';
import type { TerwayNode } from '../../crds/node.ts';
import { assertNever, errorMessage } from '../../util/errors.ts';
import type { ControllerContext } from '../context.ts';
import { type NodeIdentity, nodeIdentity } from '../node-facts.ts';
import { Operations } from '../operations.ts';
import type { CoreNode } from '../resources.ts';
import { InstanceTypeCatalog } from './instance-types.ts';
import { NodeWriter } from './writer.ts';

const STEPS_PER_VISIT = 10;
const RETRY_MS = 15_000;
/** While pods of a leaving node still hold member ENIs of its trunk. */
const LEAVING_RETRY_MS = 2000;

type Outcome = 'again' | { requeueAfterMs?: number };

/**
 * Looks after the network of each Kubernetes node: capacity from the instance type, one trunk ENI, and what scheduler and
 * node daemon read (annotation `trunk-on`, extended resource `aliyun/member-eni`).
 */
export class NodeController {
  readonly #context: ControllerContext;
  readonly #operations: Operations;
  readonly #writer: NodeWriter;
  readonly #types: InstanceTypeCatalog;
  /** Instances whose ENIs were asked for once, so that a trunk from before is adopted. */
  readonly #surveyed = new Map<string, ObservedEni | undefined>();

  constructor(context: ControllerContext) {
    this.#context = context;
    const { client, clock, informers, signal, wakeNode, cloud } = context;
    this.#operations = new Operations({ clock, signal, wake: wakeNode });
    this.#writer = new NodeWriter({ client, informers, clock });
    this.#types = new InstanceTypeCatalog({ cloud, clock });
  }

  /** Reconciles one node by name. */
  async reconcile(name: string, signal: AbortSignal): Promise<{ requeueAfterMs?: number }> {
    for (let count = 0; count < STEPS_PER_VISIT; count += 1) {
      const outcome = await this.#visit(name, signal);
      if (outcome !== 'again') return outcome;
    }
    return { requeueAfterMs: 1 };
  }

  async #visit(name: string, signal: AbortSignal): Promise<Outcome> {
    const { informers } = this.#context;
    const core = informers.coreNodes.store.get(name);
    const node = informers.nodes.store.get(name);
    const leaving = core === undefined || node?.metadata.deletionTimestamp !== undefined;
    if (node !== undefined && leaving) return this.#release(node, core, signal);
    if (core === undefined || isForeign(core) || core.metadata.deletionTimestamp !== undefined) return {};

    const found = nodeIdentity(core);
    if ('missing' in found) {
      this.#warn(core, 'ConfigError', `node ${name} lacks ${found.missing}, so it gets no trunk ENI`);
      return {};
    }
    const { identity } = found;
    if (node === undefined || this.#isOutdated(node, identity)) return this.#describe(core, node, identity, signal);
    if (
      (node.spec.nodeCap?.memberAdapterLimit ?? 0) <= 0 ||
      core.metadata.labels?.[LABEL_EXCLUSIVE_MODE] !== undefined
    ) {
      await this.#writer.condition(node, 'TrunkNotSupported', `${identity.instanceType} takes no member ENIs`, signal);
      return {};
    }
    return this.#trunk(core, node, identity, signal);
  }

  #isOutdated(node: TerwayNode, identity: NodeIdentity): boolean {
    const { nodeMetadata, nodeCap } = node.spec;
    return (
      nodeCap?.networkCardsCount === undefined ||
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
    await this.#writer.describe(core, node, identity, cap, signal);
    return 'again';
  }

  async #trunk(core: CoreNode, node: TerwayNode, identity: NodeIdentity, signal: AbortSignal): Promise<Outcome> {
    const name = node.metadata.name;
    const intent = parseTrunkIntent(node.metadata.annotations?.[ANNOTATION_TRUNK_INTENT]);
    const recorded = Object.values(node.status?.networkInterfaces ?? {}).find(
      (eni) => eni.networkInterfaceType === 'Trunk' && eni.status === 'InUse',
    );
    const observation = intent === undefined ? undefined : this.#context.observer.latest(intent.eniID);
    if (
      recorded !== undefined &&
      (intent === undefined || (intent.eniID === recorded.id && observation === undefined))
    ) {
      await this.#writer.publish(core, node, recorded.id, signal);
      this.#context.waitingRoom.wake({ kind: 'node', nodeName: name });
      return {};
    }
    if (intent === undefined) return this.#plan(node, identity, 1, undefined, signal);
    const step = nextTrunkStep({
      goal: 'bind',
      intent,
      instanceId: identity.instanceId,
      nodeName: name,
      bound: recorded !== undefined,
      observation,
      operation: this.#operations.get(name),
      clusterId: this.#context.clusterId,
      nowMs: this.#context.clock.now(),
    });
    return this.#execute(node, identity, intent, step, signal);
  }

  /** Writes the intent of a trunk, or adopts the trunk that the instance has already. */
  async #plan(
    node: TerwayNode,
    identity: NodeIdentity,
    attempt: number,
    avoid: string | undefined,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { clusterId, clock, room } = this.#context;
    const present = await this.#survey(identity.instanceId, signal);
    const config = this.#networkConfig(node, identity.zoneId);
    if (present === undefined && 'error' in config) {
      await this.#writer.condition(node, 'ConfigError', config.error, signal);
      return { requeueAfterMs: RETRY_MS };
    }
    const candidates = 'error' in config ? [] : config.vSwitchIds;
    const vSwitchId =
      present?.vSwitchId ??
      candidates.find((id) => id !== avoid && (room.vSwitches.free(id) ?? 1) > 0) ??
      candidates[0] ??
      '';
    const intent = planTrunk({
      clusterId,
      nodeName: node.metadata.name,
      nodeUid: node.metadata.uid ?? '',
      attempt,
      vSwitchId,
      securityGroupIds: present?.securityGroupIds ?? ('error' in config ? [] : config.securityGroupIds),
      nowMs: clock.now(),
    });
    await this.#writer.intent(node, present === undefined ? intent : { ...intent, eniID: present.id }, signal);
    this.#operations.clear(node.metadata.name);
    return 'again';
  }

  async #survey(instanceId: string, signal: AbortSignal): Promise<ObservedEni | undefined> {
    if (!this.#surveyed.has(instanceId)) {
      const { enis, sentAtMs } = await this.#context.cloud.describeEnis({ instanceId, type: 'Trunk' }, signal);
      const [trunk] = enis;
      if (trunk !== undefined) this.#context.observer.note(trunk, sentAtMs);
      this.#surveyed.set(instanceId, trunk);
    }
    const present = this.#surveyed.get(instanceId);
    this.#surveyed.delete(instanceId);
    return present;
  }

  /** What the node daemon wrote into the Node CR counts; else the cluster's eni-config. */
  #networkConfig(
    node: TerwayNode,
    zone: string,
  ): { vSwitchIds: string[]; securityGroupIds: string[] } | { error: string } {
    const { eni } = node.spec;
    if (eni !== undefined && eni.vSwitchOptions.length > 0) {
      return { vSwitchIds: eni.vSwitchOptions, securityGroupIds: eni.securityGroupIDs };
    }
    const configMap = this.#context.informers.configMaps.store.get(`${ENI_CONFIG.namespace}/${ENI_CONFIG.name}`);
    if (configMap === undefined) {
      return {
        error: `ConfigMap ${ENI_CONFIG.namespace}/${ENI_CONFIG.name} does not exist; it names the vSwitches and security groups of trunk ENIs`,
      };
    }
    const parsed = parseEniConfig(configMap.data);
    if ('error' in parsed) return parsed;
    const vSwitchIds = parsed.config.vSwitchesByZone[zone] ?? [];
    if (vSwitchIds.length === 0) {
      return {
        error: `ConfigMap ${ENI_CONFIG.namespace}/${ENI_CONFIG.name}, key ${ENI_CONFIG.key}: vswitches has no entry for zone ${zone}`,
      };
    }
    return { vSwitchIds, securityGroupIds: parsed.config.securityGroupIds };
  }

  async #execute(
    node: TerwayNode,
    identity: NodeIdentity,
    intent: TrunkIntent,
    step: InterfaceStep,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { observer, clock } = this.#context;
    const name = node.metadata.name;
    switch (step.do) {
      case 'create':
        this.#create(node, intent);
        return {};
      case 'find':
        this.#find(name, intent);
        return {};
      case 'record':
        await this.#writer.intent(node, { ...intent, eniID: step.eni.id }, signal);
        this.#operations.clear(name);
        return 'again';
      case 'newAttempt':
        observer.forget(intent.eniID);
        return this.#plan(node, identity, intent.attempt + 1, step.avoidVSwitch ? intent.vSwitchID : undefined, signal);
      case 'observe':
        observer.expect(intent.eniID, 'read', nodeOwner(name));
        return {};
      case 'attach':
      case 'detach':
      case 'delete':
        this.#change(name, identity.instanceId, step.eni, step.do);
        return {};
      case 'waitForCall':
        return {};
      case 'waitForCloud':
        observer.expect(intent.eniID, step.transition, nodeOwner(name));
        return {};
      case 'pause':
        if (step.failure !== undefined) await this.#writer.condition(node, 'CloudError', step.failure.message, signal);
        else if (intent.eniID !== '') observer.forget(intent.eniID);
        return { requeueAfterMs: Math.max(1, step.untilMs - clock.now()) };
      case 'blocked':
        await this.#writer.condition(node, step.reason, step.message, signal);
        return { requeueAfterMs: RETRY_MS };
      case 'done':
        if (step.eni === undefined) return {};
        await this.#writer.attached(
          node,
          step.eni,
          this.#context.room.vSwitches.get(step.eni.vSwitchId)?.cidrBlock ?? '',
          signal,
        );
        this.#context.log.info({ node: name, trunk: step.eni.id }, 'trunk attached');
        observer.forget(step.eni.id);
        this.#operations.clear(name);
        return 'again';
      default:
        return assertNever(step);
    }
  }

  #create(node: TerwayNode, intent: TrunkIntent): void {
    const { cloud, clusterId, clock, observer } = this.#context;
    const { name, uid } = node.metadata;
    this.#operations.start(name, name, 'create', async (signal) => {
      const eni = await cloud.createEni(
        {
          kind: 'Trunk',
          vSwitchId: intent.vSwitchID,
          securityGroupIds: intent.securityGroupIDs,
          // The trunk goes with its instance.
          deleteOnRelease: true,
          description: 'interface create by terway',
          clientToken: intent.clientToken,
          tags: ownershipTags({
            clusterId,
            owner: `node/${name}`,
            ownerUid: uid ?? '',
            clientToken: intent.clientToken,
          }),
        },
        signal,
      );
      observer.note(eni, clock.now());
      return eni;
    });
  }

  #find(name: string, intent: TrunkIntent): void {
    const { cloud, clusterId, observer } = this.#context;
    this.#operations.start(name, name, 'find', async (signal) => {
      const { enis, sentAtMs } = await cloud.describeEnis({ tags: attemptTags(clusterId, intent.clientToken) }, signal);
      const [eni] = enis;
      if (eni !== undefined) observer.note(eni, sentAtMs);
      return eni;
    });
  }

  #change(name: string, instanceId: string, eni: ObservedEni, kind: 'attach' | 'detach' | 'delete'): void {
    const { cloud } = this.#context;
    this.#operations.start(name, name, kind, async (signal) => {
      if (kind === 'delete') await cloud.deleteEni(eni.id, signal);
      else if (kind === 'attach') await cloud.attachEni({ eniId: eni.id, instanceId }, signal);
      else await cloud.detachEni({ eniId: eni.id, instanceId: eni.instanceId ?? instanceId }, signal);
      return undefined;
    });
  }

  /** The Kubernetes node is gone: release its trunk when no pod uses it any more, then let the Node CR go. */
  async #release(node: TerwayNode, core: CoreNode | undefined, signal: AbortSignal): Promise<Outcome> {
    const { clusterId, clock, observer, room, informers } = this.#context;
    const { name, finalizers, annotations, deletionTimestamp } = node.metadata;
    if (core === undefined && deletionTimestamp === undefined) {
      // Its owner reference makes the garbage collector delete it; that may take a while or never come in a test cluster.
      await this.#writer.deleteObject(node, signal);
      return 'again';
    }
    if (!(finalizers ?? []).includes(FINALIZER_NODE)) return {};
    const intent = parseTrunkIntent(annotations?.[ANNOTATION_TRUNK_INTENT]);
    if (intent !== undefined) {
      const inUse =
        intent.eniID !== '' &&
        (room.slots.used(intent.eniID) > 0 || informers.podEnis.store.byIndex('trunk', intent.eniID).length > 0);
      if (inUse) return { requeueAfterMs: LEAVING_RETRY_MS };
      const step = nextTrunkStep({
        goal: 'release',
        intent,
        instanceId: node.spec.nodeMetadata?.instanceID ?? '',
        nodeName: name,
        bound: false,
        observation: observer.latest(intent.eniID),
        operation: this.#operations.get(name),
        clusterId,
        nowMs: clock.now(),
      });
      // An ENI that is not ours, such as an adopted trunk of upstream's pool, stays with its instance.
      if (step.do !== 'done' && !(step.do === 'blocked' && step.reason === 'EniNotOurs')) {
        const identity = {
          instanceId: node.spec.nodeMetadata?.instanceID ?? '',
          instanceType: '',
          regionId: '',
          zoneId: '',
        };
        return this.#execute(node, identity, intent, step, signal);
      }
      observer.forget(intent.eniID);
    }
    await this.#writer.removeFinalizer(node, signal);
    this.#operations.clear(name);
    return {};
  }

  #warn(core: CoreNode, reason: string, note: string): void {
    this.#context.events.about({ apiVersion: 'v1', kind: 'Node', object: core }, 'Warning', reason, note, 'node');
  }

  /** Turns a failure of a direct cloud call into a condition; anything else is the queue's business. */
  async reportFailure(name: string, error: unknown, signal: AbortSignal): Promise<void> {
    const node = this.#context.informers.nodes.store.get(name);
    if (node === undefined || !(error instanceof CloudError)) return;
    await this.#writer.condition(node, 'CloudError', errorMessage(error), signal);
  }
}

/** The observer's owner of a trunk, as opposed to a pod's name. */
export const NODE_OWNER_PREFIX = 'node:';

function nodeOwner(name: string): string {
  return `${NODE_OWNER_PREFIX}${name}`;
}

/** Nodes that are not ours to serve (reference 4.6). */
function isForeign(core: CoreNode): boolean {
  const labels = core.metadata.labels ?? {};
  return labels[LABEL_IGNORE] === 'true' || labels['type'] === 'virtual-kubelet' || labels[LABEL_LINGJUN] === 'true';
}
