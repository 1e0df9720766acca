import {
  POOL_AS_CONFIGURED,
  POOL_READY,
  type PoolCondition,
  poolAsConfigured,
  poolReady,
  type Statement,
  sufficientIp,
} from '../../allocation/pool/conditions.ts';
import type { PoolStatus } from '../../allocation/pool/pool-view.ts';
import type { Freed } from '../../allocation/pool/release.ts';
import { type Judgement, judgeSupply, type Shortage } from '../../allocation/pool/supply.ts';
import { POOL_RELEASES, releasesConfirmed } from '../../allocation/pool/unconfirmed.ts';
import type { PoolPod } from '../../allocation/pool/view.ts';
import type { PoolWait } from '../../allocation/pool/waits.ts';
import type { EniObserver } from '../../cloud/observer.ts';
import type { Informers } from '../../cluster/informers.ts';
import { isReady } from '../../cluster/node-view.ts';
import type { CoreNode } from '../../cluster/resources.ts';
import { ANNOTATION_MAX_AVAILABLE_IP, CONDITION_SUFFICIENT_IP } from '../../crds/names.ts';
import { type TerwayNode, terwayNodeResource } from '../../crds/node.ts';
import type { Reason } from '../../crds/reasons/catalogue.ts';
import type { Eni } from '../../ecs/eni.ts';
import type { KubeClient } from '../../kube/client.ts';
import { findCondition } from '../../kube/conditions.ts';
import { apiVersionOf } from '../../kube/types.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import { type Clock, rfc3339 } from '../../util/clock.ts';
import { withoutNewRequestId } from '../../util/same-failure.ts';
import type { SentPool } from '../../wire/admin-channel.ts';
import { stateCondition } from '../conditions.ts';
import { CoreNodeWriter } from '../core-node-writer.ts';
import type { EndedCall } from '../eni/pending-calls.ts';
import type { ControllerEvents } from '../events.ts';
import type { PoolFindings } from './findings.ts';
import { PendingReleases } from './pending-releases.ts';

/** A pod is told why it waits when it has waited so long: most have their address before that. */
const TOLD_AFTER_MS = 10_000;
const CONTROLLER = 'pool';

export interface PoolReporterContext {
  client: KubeClient;
  clock: Clock;
  events: ControllerEvents;
  observer: Pick<EniObserver, 'usualMs'>;
  metrics: Pick<Metrics, 'poolOperations' | 'poolAddressSeconds'>;
  informers: Pick<Informers, 'pods' | 'coreNodes'>;
}

interface Waiting extends Statement {
  /** `namespace/name` */
  key: string;
  sinceMs: number;
}

/** What is to be said about the supply of a node. */
export interface Verdict extends Omit<Judgement, 'shortage'> {
  shortage: Statement | undefined;
}

/** What a person sees of a pool: conditions, events, and what is written on the Kubernetes node. */
export class PoolReporter {
  readonly #context: PoolReporterContext;
  readonly #coreNodes: CoreNodeWriter;
  /** With why, in the words of the last look that found it. */
  readonly #shortages = new Map<string, Shortage & { why: Statement }>();
  /** Pods that wait, by node and uid. */
  readonly #waits = new Map<string, Map<string, Waiting>>();
  readonly #releases = new PendingReleases();

  constructor(context: PoolReporterContext) {
    this.#context = context;
    this.#coreNodes = new CoreNodeWriter(context);
  }

  /** Shortages, waits and releases that are remembered. */
  get size(): number {
    return this.#shortages.size + this.#waits.size + this.#releases.size;
  }

  forget(nodeName: string): void {
    this.#shortages.delete(nodeName);
    this.#waits.delete(nodeName);
    this.#releases.forget(nodeName);
  }

  /** Judges the supply of a node, and remembers what the next judgement needs. */
  judge(name: string, { supply, shortage: found }: PoolFindings): Verdict {
    const before = this.#shortages.get(name);
    const { shortage, ...rest } = judgeSupply(supply, before, this.#context.clock.now());
    const why = found ?? before?.why;
    if (shortage === undefined || why === undefined) {
      this.#shortages.delete(name);
      return { ...rest, shortage: undefined };
    }
    this.#shortages.set(name, { ...shortage, why });
    return { ...rest, shortage: why };
  }

  /** Adds the conditions of the Node CR to what is to be written. */
  addConditions(node: TerwayNode, status: PoolStatus, { unmet }: PoolFindings, verdict: Verdict): void {
    const before = findCondition(status.conditions, POOL_READY)?.reason;
    const ready = poolReady(verdict.isSufficient, verdict.shortage, before);
    if (ready !== undefined) this.#state(node, status, ready);
    this.#tellIfSmall(node, status, unmet.small);
    this.#state(node, status, poolAsConfigured(unmet));
  }

  /** Where people look when they wonder about a node: at the Kubernetes node. Once, when the condition begins to say it. */
  #tellIfSmall(node: TerwayNode, status: PoolStatus, small: string | undefined): void {
    const core = this.#context.informers.coreNodes.store.get(node.metadata.name);
    const stated = findCondition(status.conditions, POOL_AS_CONFIGURED)?.message ?? '';
    if (core === undefined || small === undefined || stated.includes(small)) return;
    const regarding = { apiVersion: 'v1', kind: 'Node', object: core };
    this.#context.events.about(regarding, { type: 'Warning', reason: 'NodeTooSmall', cause: small }, CONTROLLER);
  }

  /**
   * The same for addresses that wait for the word of the node.
   *
   * @param hasRuntime whether there is a NodeRuntime, where the node would say it
   * @returns when to look again, epoch milliseconds
   */
  addReleases(
    node: TerwayNode,
    status: PoolStatus,
    unconfirmed: readonly Freed[],
    hasRuntime: boolean,
  ): number | undefined {
    const nowMs = this.#context.clock.now();
    const stated = findCondition(status.conditions, POOL_RELEASES);
    const pending = this.#releases.note(node.metadata.name, unconfirmed, stated, nowMs);
    const about = { hasRuntime, isStated: stated !== undefined };
    const { condition, againMs } = releasesConfirmed(pending, about, nowMs);
    if (condition !== undefined) this.#state(node, status, condition);
    return againMs;
  }

  /** The reason that `PoolReady` has; undefined where the node has never had a pool. */
  saidOf(status: PoolStatus): string | undefined {
    return findCondition(status.conditions, POOL_READY)?.reason;
  }

  /** Takes away all conditions of the pool. Changes the status in place. */
  dropConditions(status: PoolStatus): void {
    const ours: readonly string[] = [POOL_READY, POOL_AS_CONFIGURED, POOL_RELEASES];
    status.conditions = status.conditions?.filter(({ type }) => !ours.includes(type));
  }

  /** The node has no pool, and nobody looks any more which addresses wait for its word. */
  addProblem(node: TerwayNode, status: PoolStatus, { reason, message }: Statement): void {
    this.#releases.forget(node.metadata.name);
    if (findCondition(status.conditions, POOL_RELEASES) !== undefined) {
      status.conditions = (status.conditions ?? []).filter(({ type }) => type !== POOL_RELEASES);
    }
    this.#state(node, status, { type: POOL_READY, status: 'False', reason, message });
  }

  #state(node: TerwayNode, status: PoolStatus, { message, ...condition }: PoolCondition): void {
    const before = findCondition(status.conditions, condition.type)?.message;
    const stated = { ...condition, message: withoutNewRequestId(before, message) };
    status.conditions = stateCondition(status.conditions, node, stated, this.#context.clock.now());
  }

  /** Writes what scheduler and people read on the Kubernetes node. */
  async onNode(
    core: CoreNode | undefined,
    { pods }: PoolFindings,
    { isSufficient, shortage }: Verdict,
    signal: AbortSignal,
  ): Promise<void> {
    if (core === undefined) return;
    const count = pods === 0 ? undefined : String(pods);
    const annotated = await this.#coreNodes.annotate(core, ANNOTATION_MAX_AVAILABLE_IP, count, signal);
    const condition = sufficientIp(isSufficient, shortage);
    if (condition !== undefined) await this.#coreNodes.condition(annotated, condition, signal);
  }

  /** Takes back what was written on the Kubernetes node. */
  async takeBack(core: CoreNode, signal: AbortSignal): Promise<void> {
    const annotated = await this.#coreNodes.annotate(core, ANNOTATION_MAX_AVAILABLE_IP, undefined, signal);
    await this.#coreNodes.withoutCondition(annotated, CONDITION_SUFFICIENT_IP, signal);
  }

  /** Tells pods that have waited for a while why. @returns when the next one is to be told, epoch milliseconds */
  waiting(nodeName: string, waits: readonly PoolWait[]): number | undefined {
    const nowMs = this.#context.clock.now();
    const before = this.#waits.get(nodeName);
    const now = new Map<string, Waiting>();
    const dues: number[] = [];
    for (const wait of waits) {
      const { pod, reason, message } = wait;
      const { sinceMs = nowMs } = before?.get(pod.uid) ?? {};
      now.set(pod.uid, { key: pod.key, sinceMs, reason, message });
      const dueMs = sinceMs + TOLD_AFTER_MS;
      if (dueMs > nowMs) dues.push(dueMs);
      else this.#tell(wait);
    }
    if (now.size === 0) this.#waits.delete(nodeName);
    else this.#waits.set(nodeName, now);
    return dues.length === 0 ? undefined : Math.min(...dues);
  }

  /** Pods have their addresses. @param lookedMs when the look began that gave them, epoch milliseconds */
  served(nodeName: string, pods: readonly PoolPod[], lookedMs: number): void {
    const waiting = this.#waits.get(nodeName);
    const nowMs = this.#context.clock.now();
    for (const { uid } of pods) {
      const { sinceMs = lookedMs } = waiting?.get(uid) ?? {};
      this.#context.metrics.poolAddressSeconds.observe(Math.max(0, nowMs - sinceMs) / 1000);
    }
  }

  /** Pods of a node that wait. */
  waitsOf(nodeName: string): SentPool['waiting'] {
    const waits = [...(this.#waits.get(nodeName)?.values() ?? [])];
    return waits.map(({ key: pod, reason, message, sinceMs }) => ({ pod, reason, message, since: rfc3339(sinceMs) }));
  }

  /** Addresses of pods that are gone, for which the node has not given its word. */
  unconfirmedOf(nodeName: string): NonNullable<SentPool['unconfirmed']> {
    return this.#releases.of(nodeName).map(({ ip, key: pod, sinceMs }) => ({ ip, pod, since: rfc3339(sinceMs) }));
  }

  /** The same for all nodes: how many, and for how long the first has waited of those whose node is Ready. */
  unconfirmed(): { count: number; oldestMs: number } {
    const { clock, informers } = this.#context;
    return this.#releases.figures(clock.now(), (nodeName) => isReady(informers.coreNodes.store.get(nodeName)));
  }

  /** Pods that wait by reason, and for how long the first of them has waited. */
  waits(): { byReason: Record<string, number>; oldestMs: number } {
    const nowMs = this.#context.clock.now();
    const all = [...this.#waits.values()].flatMap((pods) => [...pods.values()]);
    const byReason = new Map<string, number>();
    for (const { reason } of all) byReason.set(reason, (byReason.get(reason) ?? 0) + 1);
    const oldestMs = all.reduce((oldest, { sinceMs }) => Math.max(oldest, nowMs - sinceMs), 0);
    return { byReason: Object.fromEntries(byReason), oldestMs };
  }

  #tell({ pod: { key, uid }, type, reason, message }: PoolWait): void {
    const pod = this.#context.informers.pods.store.get(key);
    if (pod?.metadata.uid !== uid) return;
    const detail = () => {
      if (reason !== 'AddressAwaited') return undefined;
      return `a new ENI is usually attached within ${Math.ceil(this.#context.observer.usualMs('attach') / 1000)} s`;
    };
    const regarding = { apiVersion: 'v1', kind: 'Pod', object: pod };
    this.#context.events.about(regarding, { type, reason, cause: message, detail }, CONTROLLER);
  }

  /** A call for an ENI of the node has ended. */
  ended(node: TerwayNode | undefined, { kind, eniId, failure }: EndedCall): void {
    this.#context.metrics.poolOperations.inc({ operation: OPERATIONS[kind], result: failure?.kind ?? 'succeeded' });
    const reasons = REASONS_OF_CALLS[kind];
    if (node === undefined || reasons === undefined) return;
    if (failure !== undefined) {
      this.#aboutNode(node, 'Warning', reasons.failed, eniId === '' ? failure.message : `${eniId}: ${failure.message}`);
    } else if (reasons.succeeded !== undefined) {
      this.#aboutNode(node, 'Normal', reasons.succeeded, eniId);
    }
  }

  attached(node: TerwayNode, { id, ipv4, ipv6 }: Eni): void {
    const addresses = [`${ipv4.length} IPv4`, ...(ipv6.length === 0 ? [] : [`${ipv6.length} IPv6`])].join(' and ');
    this.#aboutNode(node, 'Normal', 'AttachENISucceed', `${id} is attached, with ${addresses} addresses`);
  }

  #aboutNode(node: TerwayNode, type: 'Normal' | 'Warning', reason: Reason, cause: string): void {
    const { kind } = terwayNodeResource;
    const regarding = { apiVersion: apiVersionOf(terwayNodeResource), kind, object: node };
    this.#context.events.about(regarding, { type, reason, cause }, CONTROLLER);
  }
}

const OPERATIONS: Readonly<Record<EndedCall['kind'], string>> = {
  create: 'create',
  find: 'find',
  attach: 'attach',
  detach: 'detach',
  delete: 'delete',
  modify: 'modify',
  assignIpv4: 'assign',
  assignIpv6: 'assign',
  unassignIpv4: 'unassign',
  unassignIpv6: 'unassign',
};

/** An attachment has succeeded only when the ENI is in use, and addresses that came show in the record. */
const REASONS_OF_CALLS: Partial<Record<EndedCall['kind'], { succeeded?: Reason; failed: Reason }>> = {
  create: { succeeded: 'CreateENISucceed', failed: 'CreateENIFailed' },
  attach: { failed: 'AttachENIFailed' },
  detach: { failed: 'DeleteENIFailed' },
  delete: { succeeded: 'DeleteENISucceed', failed: 'DeleteENIFailed' },
  assignIpv4: { failed: 'AllocIPFailed' },
  assignIpv6: { failed: 'AllocIPFailed' },
};
