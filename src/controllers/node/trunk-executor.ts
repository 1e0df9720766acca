import { ownershipTags } from '../../allocation/identity.ts';
import { attachedTrunk, eniLimitOf, hasPlaceForTrunk } from '../../allocation/node-mode.ts';
import { type OperationFailure, reasonOfFailure } from '../../allocation/operation.ts';
import type { Capacity } from '../../allocation/plan.ts';
import {
  isSeenAttached,
  nextTrunkStep,
  parseTrunkIntent,
  type TrunkIntent,
  trunkGroups,
} from '../../allocation/trunk.ts';
import type { EniObserver } from '../../cloud/observer.ts';
import type { EniConfigs } from '../../cluster/eni-configs.ts';
import type { Informers } from '../../cluster/informers.ts';
import { type NodeIdentity, nodeIdentity } from '../../cluster/node-view.ts';
import { ANNOTATION_TRUNK_INTENT } from '../../crds/names.ts';
import type { TerwayNode } from '../../crds/node.ts';
import type { Reason } from '../../crds/reasons/catalogue.ts';
import { keyOf } from '../../kube/types.ts';
import type { Log } from '../../telemetry/log.ts';
import { type Clock, latestMs } from '../../util/clock.ts';
import type { EniDecision, EniDriver, Outcome } from '../eni/driver.ts';
import type { NetworkCatalog } from '../network-catalog.ts';
import { nodeOwner } from '../owners.ts';
import type { TrunkPlanner } from './trunk-planner.ts';
import type { NodeWriter } from './writer.ts';

const RETRY_MS = 15_000;
/** How old the CIDR of a vSwitch may be; it never changes. */
const CIDR_MAX_AGE_MS = 24 * 60 * 60_000;

/** A trunk with its intent, being processed. */
interface TrunkWork {
  goal: 'bind' | 'release';
  node: TerwayNode;
  identity: NodeIdentity;
  intent: TrunkIntent;
  signal: AbortSignal;
}

export interface TrunkExecutorContext {
  catalog: NetworkCatalog;
  clock: Clock;
  clusterId: string;
  driver: EniDriver;
  eniConfigs: Pick<EniConfigs, 'isCentral'>;
  log: Log;
  observer: EniObserver;
  /** Slots and addresses; each plan adds `nowMs`. */
  capacity: Omit<Capacity, 'nowMs'>;
  informers: Pick<Informers, 'coreNodes' | 'nodes' | 'podEnis'>;
}

/**
 * Executes decided steps for the trunk of a node: records, waits, reports. The driver makes the calls (eni/driver.ts).
 */
export class TrunkExecutor {
  readonly #context: TrunkExecutorContext;
  readonly #writer: NodeWriter;
  readonly #planner: TrunkPlanner;
  readonly #released: (node: TerwayNode, signal: AbortSignal) => Promise<Outcome>;
  /** Failures for lack of an address that were already counted against their vSwitch. */
  readonly #charged = new WeakSet<OperationFailure>();

  /** @param options.released goes on once the trunk is released. */
  constructor(
    context: TrunkExecutorContext,
    options: {
      writer: NodeWriter;
      planner: TrunkPlanner;
      released: (node: TerwayNode, signal: AbortSignal) => Promise<Outcome>;
    },
  ) {
    this.#context = context;
    this.#writer = options.writer;
    this.#planner = options.planner;
    this.#released = options.released;
  }

  /** Writes the intent of a trunk, or reports why none is possible now. */
  async plan(node: TerwayNode, identity: NodeIdentity, attempt: number, signal: AbortSignal): Promise<Outcome> {
    if (!this.#hasPlace(node)) return this.#awaitPlace(node, signal);
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

  /** One step of a trunk towards its goal. @throws CloudError, KubeApiError, TransportError */
  async execute(work: TrunkWork): Promise<Outcome> {
    const { goal, node, identity, intent, signal } = work;
    const { observer, clock, driver } = this.#context;
    const { name } = node.metadata;
    const owner = nodeOwner(name);
    if (goal === 'bind' && intent.withdrawnAt !== undefined) {
      const { withdrawnAt: _again, ...wanted } = intent;
      await this.#writer.intent(node, wanted, signal);
      return 'again';
    }
    const decision = this.#decide(work);
    if (this.#needsPlace(node, decision)) return this.#awaitPlace(node, signal);
    const subject = { id: owner, owner, eniId: intent.eniID, decide: () => this.#decideAgain(work) };
    return driver.perform(subject, decision, {
      record: async ({ eni }) => {
        await this.#writer.intent(node, { ...intent, eniID: eni.id }, signal);
        return 'again';
      },
      newAttempt: async ({ avoidVSwitch, failure }) => {
        observer.forget(intent.eniID, owner);
        // Once per failure: the intent stays until an address is free elsewhere, and is examined repeatedly until then.
        if (avoidVSwitch && failure !== undefined && !this.#charged.has(failure)) {
          this.#charged.add(failure);
          this.#context.capacity.vSwitches.block(intent.vSwitchID, clock.now());
        }
        const current = await this.lost(node, intent.eniID, signal);
        if (this.#planner.whyNone(current, this.isKept(current, identity)) !== undefined) {
          driver.forget(owner, { id: intent.eniID, owner });
          await this.#writer.dropIntent(current, signal);
          return 'again';
        }
        return this.plan(current, identity, intent.attempt + 1, signal);
      },
      inProgress: () => ({}),
      pause: async ({ untilMs, failure }) => {
        if (failure !== undefined) {
          if (goal === 'bind' && this.#planner.isCorrected(node, identity, intent, failure)) {
            return this.plan(node, identity, intent.attempt + 1, signal);
          }
          await this.#problem(work, reasonOfFailure(failure), failure.message);
        }
        return { requeueAfterMs: Math.max(1, untilMs - clock.now()) };
      },
      blocked: async ({ reason, message }) => {
        // An ENI that is not ours, such as a trunk adopted from upstream's pool, stays on its instance.
        if (goal === 'release' && reason === 'EniNotOurs') return this.#released(node, signal);
        if (clock.now() - (observer.latest(intent.eniID)?.atMs ?? 0) >= RETRY_MS) {
          observer.expect(intent.eniID, 'read', owner, 'audit');
        }
        await this.#problem(work, reason, message);
        return { requeueAfterMs: RETRY_MS };
      },
      done: async ({ eni }) => {
        if (goal === 'release') return this.#released(node, signal);
        if (eni === undefined) return {};
        await this.#writer.attached(node, eni, await this.#cidrsOf(eni.vSwitchId, signal), signal);
        this.#context.log.info({ node: name, trunk: eni.id }, 'trunk attached');
        driver.forget(owner, { id: eni.id, owner });
        return 'again';
      },
    });
  }

  /** The configuration asks for no trunk any more, and that of the intent does not stay: releases it. */
  async withdraw(work: Omit<TrunkWork, 'goal'>): Promise<Outcome> {
    const { node, intent, signal } = work;
    if (intent.withdrawnAt !== undefined) return this.execute({ ...work, goal: 'release' });
    const withdrawnAt = new Date(this.#context.clock.now()).toISOString();
    await this.#writer.intent(node, { ...intent, withdrawnAt }, signal);
    return 'again';
  }

  /** Whether the node has a trunk that stays, whatever the configuration says by now: pods may use it. */
  isKept(node: TerwayNode, { instanceId }: NodeIdentity): boolean {
    if (attachedTrunk(node) !== undefined) return true;
    const intent = parseTrunkIntent(node.metadata.annotations?.[ANNOTATION_TRUNK_INTENT]);
    if (intent === undefined) return false;
    return (
      isSeenAttached(this.#context.observer.latest(intent.eniID), instanceId) || this.unattached(node) === undefined
    );
  }

  /** Whether pods still have interfaces on a trunk. */
  isInUse(node: TerwayNode, { eniID }: TrunkIntent): boolean {
    const { capacity, informers } = this.#context;
    if (eniID === '') return false;
    const instanceId = node.spec.nodeMetadata?.instanceID ?? '';
    return capacity.slots.used(instanceId) > 0 || informers.podEnis.store.byIndex('trunk', eniID).length > 0;
  }

  /** The intent of a trunk that only its record names: it is not attached, so neither its instance nor a pod leads to it. */
  unattached(node: TerwayNode): TrunkIntent | undefined {
    const intent = parseTrunkIntent(node.metadata.annotations?.[ANNOTATION_TRUNK_INTENT]);
    if (intent === undefined || attachedTrunk(node) !== undefined) return undefined;
    const members = this.#context.informers.podEnis.store.byIndex('trunk', intent.eniID);
    return members.length === 0 ? intent : undefined;
  }

  /** The next step for the trunk of an intent. */
  #decide({ goal, node, identity, intent }: Omit<TrunkWork, 'signal'>): EniDecision {
    const { observer, driver, clusterId, clock, eniConfigs } = this.#context;
    const { name, uid, deletionTimestamp } = node.metadata;
    const { instanceId } = identity;
    const observation = observer.latest(intent.eniID);
    const shared = node.spec.eni?.securityGroupIDs ?? [];
    const groups = eniConfigs.isCentral
      ? trunkGroups(intent, observation?.eni, shared, clusterId)
      : intent.securityGroupIDs;
    const step = nextTrunkStep({
      goal,
      intent: { ...intent, securityGroupIDs: groups },
      instanceId,
      clusterId,
      nodeName: name,
      bound: goal === 'bind' && attachedTrunk(node) !== undefined,
      goalSinceMs: deletionTimestamp === undefined ? withdrawnMs(intent) : latestMs(deletionTimestamp),
      observation,
      operation: driver.operation(nodeOwner(name)),
      nowMs: clock.now(),
    });
    const creation = {
      kind: 'Trunk' as const,
      vSwitchId: intent.vSwitchID,
      securityGroupIds: intent.securityGroupIDs,
      // The trunk is deleted with its instance.
      deleteOnRelease: true,
      description: 'interface create by terway',
      clientToken: intent.clientToken,
      tags: {
        ...intent.tags,
        // Our tags come last, so that they win: they identify the owner of the ENI.
        ...ownershipTags({ clusterId, owner: `node/${name}`, ownerUid: uid ?? '', clientToken: intent.clientToken }),
      },
    };
    return {
      step,
      creation,
      plannedMs: Date.parse(intent.createdAt),
      callClass: goal === 'bind' ? 'pod' : 'release',
      target: { instanceID: instanceId },
      securityGroupIds: groups,
    };
  }

  /** Decides again from the current stores; undefined when intent or goal have changed. */
  #decideAgain({ goal, node, intent }: TrunkWork): EniDecision | undefined {
    const { coreNodes, nodes } = this.#context.informers;
    const { name } = node.metadata;
    const current = nodes.store.get(name);
    const core = coreNodes.store.get(name);
    const now = parseTrunkIntent(current?.metadata.annotations?.[ANNOTATION_TRUNK_INTENT]);
    if (current === undefined || now === undefined || now.clientToken !== intent.clientToken) return undefined;
    const isLeaving = core === undefined || current.metadata.deletionTimestamp !== undefined;
    if ((goal === 'release') !== (isLeaving || now.withdrawnAt !== undefined)) return undefined;
    if (isLeaving) {
      const mayGo = core === undefined ? !this.isInUse(current, now) : this.unattached(current) !== undefined;
      if (!mayGo) return undefined;
      return this.#decide({ goal, node: current, identity: releasedIdentity(current), intent: now });
    }
    const found = core === undefined ? undefined : nodeIdentity(core);
    if (found === undefined || 'missing' in found) return undefined;
    const { identity } = found;
    if (goal === 'release' && this.isKept(current, identity)) return undefined;
    const decision = this.#decide({ goal, node: current, identity, intent: now });
    return this.#needsPlace(current, decision) ? undefined : decision;
  }

  /** Says what stands in the way, but not of a trunk that goes without its node: that the node gets none is said already. */
  async #problem({ goal, node, signal }: TrunkWork, reason: Reason, message: string): Promise<void> {
    if (goal === 'release' && node.metadata.deletionTimestamp === undefined) return;
    await this.#writer.condition(node, reason, message, signal);
  }

  /** Only where the control plane shares ENIs among pods does the record show all of them. */
  #hasPlace(node: TerwayNode): boolean {
    return !this.#context.eniConfigs.isCentral || hasPlaceForTrunk(node);
  }

  #needsPlace(node: TerwayNode, { step }: EniDecision): boolean {
    return (step.do === 'create' || step.do === 'attach') && !this.#hasPlace(node);
  }

  /** The pool wakes the node when there is a place. */
  async #awaitPlace(node: TerwayNode, signal: AbortSignal): Promise<Outcome> {
    const message = `other ENIs have all ${eniLimitOf(node)} places of the instance; the trunk is attached when one of them is gone`;
    await this.#writer.condition(node, 'PlaceAwaited', message, signal);
    return {};
  }

  /** The recorded trunk is gone: reports it, and wakes the pods that were attached to it. */
  async lost(node: TerwayNode, eniId: string, signal: AbortSignal): Promise<TerwayNode> {
    if (node.status?.networkInterfaces?.[eniId] === undefined) return node;
    const { informers, observer, log } = this.#context;
    const message = `trunk ${eniId} no longer exists in the cloud`;
    const current = await this.#writer.forgetTrunk(node, 'TrunkLost', message, signal);
    log.warn({ node: node.metadata.name, trunk: eniId }, 'trunk lost');
    for (const podEni of informers.podEnis.store.byIndex('trunk', eniId)) {
      for (const { eni } of podEni.spec.allocations ?? []) {
        if (eni.id !== '') observer.expect(eni.id, 'read', keyOf(podEni.metadata), 'repair');
      }
    }
    return current;
  }

  /** Node agents derive the gateways from the CIDRs. */
  async #cidrsOf(vSwitchId: string, signal: AbortSignal): Promise<{ ipv4: string; ipv6: string }> {
    const { catalog } = this.#context;
    const wanted = { vSwitchIds: [vSwitchId], securityGroupIds: [] };
    const { vSwitches } = await catalog.lookUp(wanted, CIDR_MAX_AGE_MS, signal);
    const vSwitch = vSwitches.get(vSwitchId);
    return { ipv4: vSwitch?.cidrBlock ?? '', ipv6: vSwitch?.ipv6CidrBlock ?? '' };
  }
}

function withdrawnMs({ withdrawnAt }: TrunkIntent): number | undefined {
  return withdrawnAt === undefined ? undefined : Date.parse(withdrawnAt);
}

/** For a node that is gone only the instance is known. */
export function releasedIdentity({ spec }: TerwayNode): NodeIdentity {
  return { instanceId: spec.nodeMetadata?.instanceID ?? '', instanceType: '', regionId: '', zoneId: '' };
}
