import { FRESH_MS } from '../../allocation/interface-step.ts';
import type { OperationFailure } from '../../allocation/operation.ts';
import type { Capacity } from '../../allocation/plan.ts';
import { isSeenAttached, planTrunk, type TrunkIntent } from '../../allocation/trunk.ts';
import type { EniObserver } from '../../cloud/observer.ts';
import { type ClusterNetwork, clusterNetwork } from '../../cluster/cluster-network.ts';
import type { EniConfigs } from '../../cluster/eni-configs.ts';
import type { NodeIdentity } from '../../cluster/node-view.ts';
import type { NodeEni, TerwayNode } from '../../crds/node.ts';
import type { Eni } from '../../ecs/eni.ts';
import { jsonEqual } from '../../kube/patch.ts';
import type { Clock } from '../../util/clock.ts';
import type { Random } from '../../util/random.ts';
import type { EniSearch } from '../eni/eni-search.ts';
import type { NetworkCatalog } from '../network-catalog.ts';

/** vSwitches rarely change; a full one shows when the create fails. */
const VSWITCHES_MAX_AGE_MS = 5 * 60_000;

/** The intent of a trunk, or why none is possible now. `asked`: the node is woken when the cloud has responded. */
export type TrunkPlan =
  | { intent: TrunkIntent }
  | { reason: 'ConfigError' | 'VSwitchFull'; message: string }
  | { asked: true };

/** The cloud's response about the trunk of an instance. */
type Survey = { answeredMs: number } & ({ trunk: Eni | undefined } | { error: unknown });

export interface TrunkPlannerContext {
  catalog: NetworkCatalog;
  clock: Clock;
  clusterId: string;
  enableTrunk: boolean | 'always';
  eniConfigs: EniConfigs;
  observer: EniObserver;
  random: Random;
  /** Slots and addresses; each plan adds `nowMs`. */
  capacity: Omit<Capacity, 'nowMs'>;
  /** Finds ENIs whose id is unknown. */
  search: EniSearch;
  /** Ends with the term. */
  signal: AbortSignal;
  wakeNode: (name: string) => void;
}

/** Chooses where to create the trunk of a node, or finds the one that its instance already has. */
export class TrunkPlanner {
  readonly #context: TrunkPlannerContext;
  /** By node; without an answer while the response is pending. */
  readonly #surveys = new Map<string, { instanceId: string; answer?: Survey }>();

  constructor(context: TrunkPlannerContext) {
    this.#context = context;
  }

  /** Questions about instances, and answers that were not used yet. */
  get size(): number {
    return this.#surveys.size;
  }

  /** The node is gone: drops what was asked about its instance. */
  forget(nodeName: string): void {
    this.#surveys.delete(nodeName);
  }

  /** @throws CloudError */
  async plan(node: TerwayNode, identity: NodeIdentity, attempt: number, signal: AbortSignal): Promise<TrunkPlan> {
    const survey = this.#survey(node.metadata.name, identity.instanceId);
    if (survey === 'asked') return { asked: true };
    if ('error' in survey) throw survey.error;
    const present = survey.trunk;
    if (present !== undefined) return { intent: this.#intentFor(node, attempt, { ...present, tags: {} }, present.id) };
    const config = this.#networkConfig(node, identity.zoneId);
    if ('message' in config) return config;
    const { vSwitchIds, securityGroupIds, tags } = config;
    const { catalog, capacity, random, clock } = this.#context;
    await catalog.lookUp({ vSwitchIds, securityGroupIds: [] }, VSWITCHES_MAX_AGE_MS, signal);
    const choice = capacity.vSwitches.take(identity.zoneId, vSwitchIds, 'ordered', random, clock.now());
    switch (choice.kind) {
      case 'taken':
        return { intent: this.#intentFor(node, attempt, { vSwitchId: choice.vSwitch.id, securityGroupIds, tags }, '') };
      case 'noneInZone':
        return {
          reason: 'ConfigError',
          message: `none of the vSwitches for trunk ENIs (${vSwitchIds.join(', ')}) exists in the VPC and in zone ${identity.zoneId} of the node`,
        };
      case 'full':
        return {
          reason: 'VSwitchFull',
          message: `no free address in ${choice.ids.join(', ')}, the vSwitches for trunk ENIs in zone ${identity.zoneId}`,
        };
    }
  }

  /**
   * The intent of a trunk that the record names without one, as Terway has made it, and that somebody has detached or deleted since.
   * Undefined while it is attached, as far as is known; `gone` when it is deleted, and no intent can be made from what the record has.
   */
  forDetached(node: TerwayNode, recorded: NodeEni, { instanceId }: NodeIdentity): TrunkIntent | 'gone' | undefined {
    const seen = this.#context.observer.latest(recorded.id);
    if (seen === undefined || isSeenAttached(seen, instanceId)) return undefined;
    const { vSwitchID: vSwitchId = '', securityGroupIDs: securityGroupIds = [] } = recorded;
    const known = seen.eni ?? { vSwitchId, securityGroupIds };
    return known.vSwitchId === '' ? 'gone' : this.#intentFor(node, 1, { ...known, tags: {} }, recorded.id);
  }

  /** Why the node gets no trunk, or undefined. @param isKept it has one that stays ({@link TrunkExecutor.isKept}) */
  whyNone(node: TerwayNode, isKept: boolean): string | undefined {
    const { enableTrunk } = this.#context;
    if (enableTrunk === false) return 'trunk mode is turned off in the configuration (enableTrunk: false)';
    if ((node.spec.nodeCap?.memberAdapterLimit ?? 0) === 0) {
      return `instance type ${node.spec.nodeMetadata?.instanceType ?? ''} does not support member ENIs`;
    }
    if (isKept || enableTrunk === 'always') return undefined;
    const { parsed, source } = this.#context.eniConfigs.ofNode(node.metadata.name);
    if ('error' in parsed || parsed.config.trunking === true) return undefined;
    if (parsed.config.trunking === false) return `enable_eni_trunking is false in ${source}`;
    return `enable_eni_trunking is not set in ${source}; set it to true there, or enableTrunk: always in the configuration`;
  }

  /**
   * A create that the cloud refused will fail again unless someone corrects the configuration that it was planned from.
   * In that case the corrected configuration is used.
   */
  isCorrected(node: TerwayNode, identity: NodeIdentity, intent: TrunkIntent, failure: OperationFailure): boolean {
    if (intent.eniID !== '' || (failure.kind !== 'invalid' && failure.kind !== 'notFound')) return false;
    const config = this.#networkConfig(node, identity.zoneId);
    if ('message' in config) return false;
    return (
      !config.vSwitchIds.includes(intent.vSwitchID) ||
      !jsonEqual([config.securityGroupIds, config.tags], [intent.securityGroupIDs, intent.tags])
    );
  }

  #intentFor(
    node: TerwayNode,
    attempt: number,
    parameters: { vSwitchId: string; securityGroupIds: string[]; tags: Record<string, string> },
    eniID: string,
  ): TrunkIntent {
    const { vSwitchId, securityGroupIds, tags } = parameters;
    const intent = planTrunk({
      clusterId: this.#context.clusterId,
      nodeName: node.metadata.name,
      nodeUid: node.metadata.uid ?? '',
      attempt,
      vSwitchId,
      securityGroupIds,
      tags,
      nowMs: this.#context.clock.now(),
    });
    return { ...intent, eniID };
  }

  /**
   * An existing trunk, ours or upstream's, is adopted, because an instance supports only one. No worker waits for the
   * response, so that nodes that ask together share requests.
   */
  #survey(nodeName: string, instanceId: string): Survey | 'asked' {
    const { clock, wakeNode } = this.#context;
    const known = this.#surveys.get(nodeName);
    if (known?.instanceId === instanceId) {
      const { answer } = known;
      if (answer === undefined) return 'asked';
      this.#surveys.delete(nodeName);
      if (clock.monotonicMs() - answer.answeredMs < FRESH_MS) return answer;
    }
    const question: { instanceId: string; answer?: Survey } = { instanceId };
    this.#surveys.set(nodeName, question);
    void this.#ask(instanceId).then((answer) => {
      question.answer = answer;
      wakeNode(nodeName);
    });
    return 'asked';
  }

  /** Never rejects. */
  async #ask(instanceId: string): Promise<Survey> {
    const { search, observer, clock, signal } = this.#context;
    try {
      const { enis, sentAtMs } = await search.ask({ trunkOf: instanceId }, { signal, callClass: 'pod' });
      const [trunk] = enis;
      if (trunk !== undefined) observer.note(trunk, sentAtMs);
      return { answeredMs: clock.monotonicMs(), trunk };
    } catch (error) {
      return { answeredMs: clock.monotonicMs(), error };
    }
  }

  /** The node daemon's configuration in the Node CR takes precedence over the node's eni-config. */
  #networkConfig(node: TerwayNode, zone: string): ClusterNetwork | { reason: 'ConfigError'; message: string } {
    const { eni } = node.spec;
    if (eni !== undefined && eni.vSwitchOptions.length > 0) {
      return { vSwitchIds: eni.vSwitchOptions, securityGroupIds: eni.securityGroupIDs, tags: eni.tag ?? {} };
    }
    const network = clusterNetwork(this.#context.eniConfigs, { nodeName: node.metadata.name, zone });
    return 'message' in network ? { reason: 'ConfigError', message: network.message } : network;
  }
}
