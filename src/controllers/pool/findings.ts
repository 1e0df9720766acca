import { type OperationFailure, reasonOfFailure } from '../../allocation/operation.ts';
import type { Capacity } from '../../allocation/plan.ts';
import {
  erdmaUnmet,
  type Statement,
  shortfallStatement,
  sizeBeyond,
  takenByOthers,
  type Unmet,
} from '../../allocation/pool/conditions.ts';
import { placeNeeded } from '../../allocation/pool/places.ts';
import type { PoolPlan } from '../../allocation/pool/plan-pool.ts';
import { maxAvailableIp, type PoolRules, smallNodeHint } from '../../allocation/pool/rules.ts';
import { type Supply, supplyOf } from '../../allocation/pool/supply.ts';
import type { PoolDraft } from '../../allocation/pool/view.ts';
import type { TrunkOutlook } from '../../allocation/trunk.ts';
import type { NodeEni, TerwayNode } from '../../crds/node.ts';
import type { NetworkCatalog } from '../network-catalog.ts';
import type { Intents, PoolCreation } from './intents.ts';
import type { Refusal } from './memory.ts';

/** What a look at a node has found, for those who look at the cluster. */
export interface PoolFindings {
  supply: Supply;
  /** Why there is no address for another pod. */
  shortage: Statement | undefined;
  unmet: Unmet;
  /** Pods that the node has room for. */
  pods: number;
}

interface Look {
  node: TerwayNode;
  trunk: TrunkOutlook;
  plan: PoolPlan;
  asked: Intents;
  rules: PoolRules;
  creation: PoolCreation;
  /** By ENI, those that count. */
  refusals: ReadonlyMap<string, Refusal>;
  /** Why no ENI is made now. */
  creationRefusal: Refusal | undefined;
  /** Of each intent, why its last call failed; undefined while none has. */
  failures: readonly (OperationFailure | undefined)[];
  /** Whether the configuration lets nothing be asked for. */
  isStopped: boolean;
  /** ENIs whose tags are being read. */
  unread: ReadonlySet<string>;
  config: Pick<Unmet, 'problem' | 'dualStack'>;
  nowMs: number;
}

interface FindingsContext {
  capacity: Pick<Capacity, 'vSwitches'>;
  catalog: Pick<NetworkCatalog, 'knows'>;
}

/** Whether an ENI can get more addresses, as far as its vSwitch is concerned. */
export function hasAddresses({ vSwitches }: Pick<Capacity, 'vSwitches'>, nowMs: number): (eni: NodeEni) => boolean {
  return ({ vSwitchID = '' }) => !vSwitches.isFull(vSwitchID, nowMs);
}

/** Whether a vSwitch for a new ENI has an address, as far as is known. */
export function hasVSwitch(
  { capacity, catalog }: FindingsContext,
  { zone, vSwitchIds }: PoolCreation,
  nowMs: number,
): boolean {
  return !catalog.knows(vSwitchIds) || capacity.vSwitches.canTake(zone, vSwitchIds, nowMs);
}

export function findingsOf(
  context: FindingsContext,
  {
    node,
    trunk,
    plan,
    asked,
    rules,
    creation,
    refusals,
    creationRefusal,
    failures,
    isStopped,
    unread,
    config,
    nowMs,
  }: Look,
): PoolFindings {
  const { capacity, catalog } = context;
  const { families, limits, knobs } = rules;
  const { zone, vSwitchIds } = creation;
  const { networkInterfaces: enis = {}, poolIntents = [] } = plan.status;
  // An ENI that gives way serves whom no other can.
  const draft: PoolDraft = { enis, intents: [...poolIntents, ...asked.intents], unread };
  const isKnown = catalog.knows(vSwitchIds);
  const isInZone = vSwitchIds.some((id) => capacity.vSwitches.get(id)?.zoneId === zone);
  const supply = supplyOf(draft, families, limits, {
    isStopped,
    hasAddresses: (eni) => hasAddresses(capacity, nowMs)(eni) && refusals.get(eni.id)?.failure.kind !== 'exhausted',
    isRefused: ({ id }) => refusals.has(id),
    hasVSwitch: hasVSwitch(context, creation, nowMs),
    isCreationRefused: creationRefusal !== undefined,
    areCallsFailing:
      asked.intents.length === 0 && failures.length > 0 && failures.every((failure) => failure !== undefined),
  });
  const failure = failures.find((one) => one !== undefined) ?? (creationRefusal ?? [...refusals.values()][0])?.failure;
  const refusal = failure === undefined ? undefined : { reason: reasonOfFailure(failure), message: failure.message };
  const missedZone = isKnown && !isInZone ? zone : undefined;
  const about = { limits, vSwitchIds, missedZone, refusal };
  const shortage = supply === 'idle' || supply === 'possible' ? undefined : shortfallStatement(supply, about);
  const pods = maxAvailableIp(node.spec, false, trunk !== 'none');
  const small = smallNodeHint(pods, false, node.spec.nodeMetadata?.instanceType ?? '');
  return {
    supply,
    shortage,
    unmet: {
      ...config,
      small,
      size: sizeBeyond(knobs, pods - takenByOthers(enis, rules)),
      erdma: erdmaUnmet(node.spec),
      place: placeNeeded(plan.draining),
    },
    pods,
  };
}
