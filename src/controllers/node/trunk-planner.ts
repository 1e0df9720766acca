import type { ObservedEni } from '../../allocation/observation.ts';
import { planTrunk, type TrunkIntent } from '../../allocation/trunk.ts';
import type { TerwayNode } from '../../crds/node.ts';
import { clusterNetwork } from '../cluster-network.ts';
import type { ControllerContext } from '../context.ts';
import type { NodeIdentity } from '../node-facts.ts';

/** vSwitches rarely come or go; that one is full is told by the creation. */
const VSWITCHES_MAX_AGE_MS = 5 * 60_000;

/** The intent of a trunk, or why there can be none now. */
export type TrunkPlan = { intent: TrunkIntent } | { reason: 'ConfigError' | 'VSwitchFull'; message: string };

/** Chooses where the trunk of a node is created, or finds the one that its instance has already. */
export class TrunkPlanner {
  readonly #context: ControllerContext;

  constructor(context: ControllerContext) {
    this.#context = context;
  }

  /** @throws CloudError */
  async plan(node: TerwayNode, identity: NodeIdentity, attempt: number, signal: AbortSignal): Promise<TrunkPlan> {
    const present = await this.#survey(identity.instanceId, signal);
    if (present !== undefined) return { intent: this.#intentFor(node, attempt, present, present.id) };
    const config = this.#networkConfig(node, identity.zoneId);
    if ('message' in config) return config;
    const { vSwitchIds, securityGroupIds } = config;
    const { catalog, room, random, clock } = this.#context;
    await catalog.lookUp({ vSwitchIds, securityGroupIds: [] }, VSWITCHES_MAX_AGE_MS, signal);
    const choice = room.vSwitches.take(identity.zoneId, vSwitchIds, 'ordered', random, clock.now());
    switch (choice.kind) {
      case 'taken':
        return { intent: this.#intentFor(node, attempt, { vSwitchId: choice.vSwitch.id, securityGroupIds }, '') };
      case 'noneInZone':
        return {
          reason: 'ConfigError',
          message: `none of the vSwitches for trunk ENIs (${vSwitchIds.join(', ')}) exists in the VPC and lies in zone ${identity.zoneId} of the node`,
        };
      case 'full':
        return {
          reason: 'VSwitchFull',
          message: `no free address in ${choice.ids.join(', ')}, the vSwitches for trunk ENIs in zone ${identity.zoneId}`,
        };
    }
  }

  #intentFor(
    node: TerwayNode,
    attempt: number,
    { vSwitchId, securityGroupIds }: { vSwitchId: string; securityGroupIds: string[] },
    eniID: string,
  ): TrunkIntent {
    const intent = planTrunk({
      clusterId: this.#context.clusterId,
      nodeName: node.metadata.name,
      nodeUid: node.metadata.uid ?? '',
      attempt,
      vSwitchId,
      securityGroupIds,
      nowMs: this.#context.clock.now(),
    });
    return { ...intent, eniID };
  }

  /** A trunk from before, of ours or upstream's, is adopted; an instance takes only one. */
  async #survey(instanceId: string, signal: AbortSignal): Promise<ObservedEni | undefined> {
    const { cloud, observer } = this.#context;
    const { enis, sentAtMs } = await cloud.describeEnis({ instanceId, type: 'Trunk' }, signal);
    const [trunk] = enis;
    if (trunk !== undefined) observer.note(trunk, sentAtMs);
    return trunk;
  }

  /** What the node daemon wrote into the Node CR counts; else the cluster's eni-config. */
  #networkConfig(
    node: TerwayNode,
    zone: string,
  ): { vSwitchIds: string[]; securityGroupIds: string[] } | { reason: 'ConfigError'; message: string } {
    const { eni } = node.spec;
    if (eni !== undefined && eni.vSwitchOptions.length > 0) {
      return { vSwitchIds: eni.vSwitchOptions, securityGroupIds: eni.securityGroupIDs };
    }
    const network = clusterNetwork(this.#context.informers, zone);
    return 'message' in network ? { reason: 'ConfigError', message: network.message } : network;
  }
}
