import * as z from 'zod';
import { ANNOTATION_TRUNK_INTENT } from '../crds/names.ts';
import type { TerwayNode } from '../crds/node.ts';
import type { Allocation } from '../crds/pod-eni.ts';
import type { Eni, EniObservation } from '../ecs/eni.ts';
import { clientTokenOf, isOurs } from './identity.ts';
import { type InterfaceStep, nextInterfaceStep } from './interface-step.ts';
import { attachedTrunk } from './node-mode.ts';
import type { Operation } from './operation.ts';

/**
 * The trunk of a node follows the life cycle of a pod interface (interface-step.ts) whose target has no trunk. Its
 * record is an annotation of the Node CR because upstream's daemon rewrites Node.spec.
 */
const trunkIntentSchema = z.object({
  attempt: z.int().min(1),
  clientToken: z.string().min(1).max(64),
  createdAt: z.string(),
  vSwitchID: z.string().min(1),
  securityGroupIDs: z.array(z.string()),
  /** Tags besides our own. Like every parameter, they are part of the ClientToken. */
  tags: z.record(z.string(), z.string()).default({}),
  /** ENI id, once the cloud has answered. */
  eniID: z.string().default(''),
  /** When it was found that the configuration asks for no trunk any more; it is released then. */
  withdrawnAt: z.string().optional(),
});
export type TrunkIntent = z.infer<typeof trunkIntentSchema>;

/** Reads the annotation; undefined when it is absent or damaged, which leads to a new intent. */
export function parseTrunkIntent(text: string | undefined): TrunkIntent | undefined {
  if (text === undefined) return undefined;
  try {
    const parsed = trunkIntentSchema.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a node gets a trunk; undefined while the node controller has not decided it. */
export function getsTrunk({ metadata: { annotations }, status }: TerwayNode): boolean | undefined {
  const condition = status?.conditions?.find(({ type }) => type === 'TrunkReady');
  if (condition !== undefined) return condition.reason !== 'TrunkNotSupported';
  return annotations?.[ANNOTATION_TRUNK_INTENT] === undefined ? undefined : true;
}

/** Whether the cloud has shown an ENI as attached to this instance. */
export function isSeenAttached(observation: EniObservation | undefined, instanceId: string | undefined): boolean {
  return observation?.eni?.status === 'InUse' && observation.eni.instanceId === instanceId;
}

/** What the pool of a node has to reckon with: a trunk that is there, one that is to be attached, or none; or what is not decided yet. */
export type TrunkOutlook = 'attached' | 'coming' | 'none' | 'undecided';

/** @param latest what the cloud showed last of an ENI: a trunk that somebody has detached is attached again */
export function trunkOutlook(node: TerwayNode, latest: (eniId: string) => EniObservation | undefined): TrunkOutlook {
  const recorded = attachedTrunk(node);
  const seen = recorded === undefined ? undefined : latest(recorded.id);
  if (seen !== undefined && !isSeenAttached(seen, node.spec.nodeMetadata?.instanceID)) return 'coming';
  if (recorded !== undefined) return 'attached';
  const isDecided = getsTrunk(node);
  if (isDecided === undefined) return 'undecided';
  return isDecided ? 'coming' : 'none';
}

/** Plans the creation of a trunk. */
export function planTrunk(plan: {
  clusterId: string;
  nodeName: string;
  nodeUid: string;
  attempt: number;
  vSwitchId: string;
  securityGroupIds: string[];
  tags: Record<string, string>;
  nowMs: number;
}): TrunkIntent {
  const createdAt = new Date(plan.nowMs).toISOString();
  return {
    attempt: plan.attempt,
    createdAt,
    vSwitchID: plan.vSwitchId,
    securityGroupIDs: plan.securityGroupIds,
    tags: plan.tags,
    eniID: '',
    clientToken: clientTokenOf({
      clusterId: plan.clusterId,
      owner: `node/${plan.nodeName}`,
      ownerUid: plan.nodeUid,
      interfaceName: 'trunk',
      attempt: plan.attempt,
      plannedAt: new Date(plan.nowMs).toISOString(),
      vSwitchId: plan.vSwitchId,
      securityGroupIds: plan.securityGroupIds,
    }),
  };
}

/**
 * The security groups that a trunk is to have where it serves a pool: those that the pool gives it when the configuration is edited.
 * Those of a trunk that is not ours are left as they are.
 *
 * @param shown what the cloud showed of the trunk last
 * @param shared the groups of ENIs that the pods of the node share; empty while nothing says which
 */
export function trunkGroups(
  intent: TrunkIntent,
  shown: Eni | undefined,
  shared: readonly string[],
  clusterId: string,
): string[] {
  if (shown === undefined) return intent.securityGroupIDs;
  if (!isOurs(shown.tags, clusterId)) return shown.securityGroupIds;
  return shared.length === 0 ? intent.securityGroupIDs : [...shared];
}

/** The next step of a trunk. Pure. */
export function nextTrunkStep(view: {
  goal: 'bind' | 'release';
  intent: TrunkIntent;
  instanceId: string;
  nodeName: string;
  /** The Node CR records the trunk as attached. */
  bound: boolean;
  /** When the Node CR was deleted, which is what the trunk is released for. */
  goalSinceMs?: number | undefined;
  observation?: EniObservation | undefined;
  operation?: Operation | undefined;
  clusterId: string;
  nowMs: number;
}): InterfaceStep {
  const { intent, observation, operation, goalSinceMs } = view;
  const allocation: Allocation = {
    eni: { id: intent.eniID, vSwitchID: intent.vSwitchID, securityGroupIDs: intent.securityGroupIDs },
    intent: { attempt: intent.attempt, clientToken: intent.clientToken, createdAt: intent.createdAt },
  };
  return nextInterfaceStep(
    view.goal,
    {
      allocation,
      fixed: false,
      // A trunk that vanished is replaced. Members of the old trunk are repaired through their own records.
      bound: false,
      target: { nodeName: view.nodeName, instanceID: view.instanceId },
      ...(goalSinceMs === undefined ? {} : { goalSinceMs }),
      ...(observation === undefined ? {} : { observation }),
      ...(operation === undefined ? {} : { operation }),
    },
    view.clusterId,
    view.nowMs,
  );
}
