import { CONDITION_SUFFICIENT_IP } from '../../crds/names.ts';
import type { NodeEni, TerwayNode } from '../../crds/node.ts';
import type { Reason } from '../../crds/reasons/catalogue.ts';
import type { PoolLimits } from './growth.ts';
import type { PoolKnobs } from './pool-view.ts';
import type { PoolRules } from './rules.ts';
import type { Shortfall } from './supply.ts';

/** What a condition says, or an event. */
export interface Statement {
  reason: Reason;
  message: string;
}

/** A condition of the Node CR or of the Kubernetes node. */
export interface PoolCondition extends Statement {
  type: string;
  status: 'True' | 'False';
}

export const POOL_READY = 'PoolReady';
export const POOL_AS_CONFIGURED = 'PoolAsConfigured';

/** Why pods wait for a shortage to end. */
export function shortfallStatement(
  why: Shortfall,
  about: {
    limits: PoolLimits;
    vSwitchIds: readonly string[];
    /** The zone of the node, if none of the vSwitches is there. */
    missedZone: string | undefined;
    refusal: Statement | undefined;
  },
): Statement {
  const { limits, vSwitchIds, missedZone, refusal } = about;
  switch (why) {
    case 'nodeFull':
      return {
        reason: 'NodeFull',
        message: `the node has all the addresses that it can hold: ${limits.enis} ENIs with ${limits.perEni.ipv4} each`,
      };
    case 'vSwitchFull':
      if (missedZone !== undefined) {
        return {
          reason: 'ConfigError',
          message: `none of ${vSwitchIds.join(', ')} is in zone ${missedZone} of the node`,
        };
      }
      return { reason: 'VSwitchFull', message: `there is no free address in ${vSwitchIds.join(', ')}` };
    case 'unread':
      return {
        reason: 'TagsUnread',
        message: 'eni_tag_filter or eni_tag_block_list was edited, and the cloud has not told the tags of ENIs since',
      };
    case 'stopped':
      return {
        reason: 'PoolGrowthOff',
        message: 'no address is idle, and poolGrowth is false in the configuration of the control plane',
      };
    case 'refused':
      return (
        refusal ?? {
          reason: 'CloudError',
          message: 'the cloud gives no more addresses; events of the Node CR say which calls fail',
        }
      );
  }
}

/**
 * Whether pods get addresses: for the Node CR. Pure.
 *
 * @param isSufficient undefined while it cannot be told
 * @param shortage why there is no address
 * @param before the reason that the condition has
 * @returns undefined to leave the condition as it is
 */
export function poolReady(
  isSufficient: boolean | undefined,
  shortage: Statement | undefined,
  before: string | undefined,
): PoolCondition | undefined {
  if (isSufficient === false && shortage !== undefined) return { type: POOL_READY, status: 'False', ...shortage };
  const wasWithoutPool = before === undefined || before === 'PoolNotDescribed' || before === 'PoolOff';
  if (isSufficient === undefined && !wasWithoutPool) return undefined;
  return { type: POOL_READY, status: 'True', reason: 'PoolServes', message: 'pods get addresses of shared ENIs' };
}

/** The condition of the Kubernetes node; undefined to leave it as it is. Pure. */
export function sufficientIp(
  isSufficient: boolean | undefined,
  shortage: Statement | undefined,
): PoolCondition | undefined {
  const type = CONDITION_SUFFICIENT_IP;
  if (isSufficient === undefined) return undefined;
  if (isSufficient || shortage === undefined) {
    const message = 'the node has an address for another pod, or can get one';
    return { type, status: 'True', reason: 'SufficientIP', message };
  }
  return { type, status: 'False', reason: 'InsufficientIP', message: shortage.message };
}

/** Why the node cannot have what is configured, whatever runs on it; of each kind one line. */
export interface Unmet {
  /** The configuration is wrong, and what was in force before still is. */
  problem: string | undefined;
  /** Pods get IPv4 alone. */
  dualStack: string | undefined;
  /** The instance type has room for few pods. */
  small: string | undefined;
  /** {@link erdmaUnmet} */
  erdma: string | undefined;
  /** {@link sizeBeyond} */
  size: string | undefined;
  /** An ENI makes room. */
  place: string | undefined;
}

/** Terway's daemon asks for ERDMA, in one line. */
export function erdmaUnmet({ eni }: TerwayNode['spec']): string | undefined {
  if (eni?.enableERDMA !== true) return undefined;
  return 'spec.eni.enableERDMA is true, and ERDMA is not supported on shared ENIs: pods that ask for it get ordinary addresses';
}

/** Addresses in the places of ENIs that are left alone: whoever made them has these. */
export function takenByOthers(
  enis: Readonly<Record<string, NodeEni>>,
  { families, limits }: Pick<PoolRules, 'families' | 'limits'>,
): number {
  const isAlone = ({ networkInterfaceType, networkInterfaceTrafficMode = 'Standard', unschedulable }: NodeEni) =>
    networkInterfaceType === 'Secondary' && networkInterfaceTrafficMode === 'Standard' && unschedulable === true;
  return Object.values(enis).filter(isAlone).length * Math.min(...families.map((family) => limits.perEni[family]));
}

/** `min_pool_size` or `ip_warm_up_size` is more than the node can hold, in one line. */
export function sizeBeyond({ leastIdle, warmUp }: PoolKnobs, pods: number): string | undefined {
  const [name, size] = leastIdle >= warmUp ? ['min_pool_size', leastIdle] : ['ip_warm_up_size', warmUp];
  return size > pods ? `${name} is ${size}, but the node has room for ${pods} addresses of pods` : undefined;
}

/** Whether the node can have what `eni_conf` asks for: for the Node CR. Pure. */
export function poolAsConfigured({ problem, dualStack, erdma, small, size, place }: Unmet): PoolCondition {
  const type = POOL_AS_CONFIGURED;
  const lines = [
    ['ConfigError', problem],
    ['DualStackNotSupported', dualStack],
    ['ErdmaNotSupported', erdma],
    ['PoolSizeBeyondNode', size],
    ['EniGivesWay', place],
    ['NodeTooSmall', small],
  ] as const;
  const unmet = lines.flatMap(([reason, line]) => (line === undefined ? [] : [{ reason, line }]));
  const [first] = unmet;
  if (first === undefined) {
    return { type, status: 'True', reason: 'AsConfigured', message: 'the node can have what eni_conf asks for' };
  }
  return { type, status: 'False', reason: first.reason, message: unmet.map(({ line }) => line).join('; ') };
}
