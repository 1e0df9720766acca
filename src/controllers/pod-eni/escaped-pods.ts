import { recreatingOwner } from '../../allocation/escape.ts';
import type { Pod } from '../../cluster/resources.ts';
import type { KubeClient } from '../../kube/client.ts';
import { isConflict, isNotFound, isTooManyRequests } from '../../kube/errors.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { Clock } from '../../util/clock.ts';
import type { ControllerEvents } from '../events.ts';

/** While the webhook is down new pods escape, too, so an owner loses at most one pod in this time. */
const EVICT_EVERY_MS = 10_000;
const REMEMBERED_OWNERS = 1000;

export interface EscapedPodsContext {
  client: KubeClient;
  clock: Clock;
  /** Pods without a network because the webhook did not process them. */
  escaped: Set<string>;
  events: ControllerEvents;
  metrics: Pick<Metrics, 'podsEvicted'>;
}

/** Holds or evicts pods that a PodNetworking selects and the webhook did not process. */
export class EscapedPods {
  readonly #context: EscapedPodsContext;
  /** When a pod of an owner was last evicted, by the owner's uid; REMEMBERED_OWNERS at most. */
  readonly #evictedAtMs = new Map<string, number>();

  constructor(context: EscapedPodsContext) {
    this.#context = context;
  }

  /** @param networking names of the PodNetworkings that select the pod. */
  async deal(
    key: string,
    pod: Pod,
    policy: 'hold' | 'evict',
    networking: string,
    signal: AbortSignal,
  ): Promise<{ requeueAfterMs?: number }> {
    const { client, events, clock, escaped, metrics } = this.#context;
    escaped.add(key);
    const what = `PodNetworking ${networking} selects the pod, but the webhook did not process it (it was unavailable, or the PodNetworking changed since), so the pod gets no network`;
    const owner = recreatingOwner({ owners: pod.metadata.ownerReferences ?? [] });
    if (policy === 'hold' || owner === undefined) {
      const make =
        owner === undefined ? 'delete the pod and create it again' : 'delete the pod; its owner recreates it';
      events.podWarning(key, 'EscapedWebhook', `${what}: ${make}`);
      return {};
    }
    const nowMs = clock.monotonicMs();
    const waitMs = (this.#evictedAtMs.get(owner) ?? Number.NEGATIVE_INFINITY) + EVICT_EVERY_MS - nowMs;
    if (waitMs > 0) {
      events.podWarning(key, 'EscapedWebhook', `${what}: it will be evicted, one pod per owner at a time`);
      return { requeueAfterMs: waitMs };
    }
    this.#remember(owner, nowMs);
    events.podWarning(key, 'EscapedWebhook', `${what}: it is evicted, and its owner recreates it`);
    try {
      await client.evict(pod.metadata, pod.metadata.uid ?? '', { signal });
      metrics.podsEvicted.inc();
    } catch (error) {
      if (isNotFound(error) || isConflict(error)) return {};
      // A disruption budget.
      if (isTooManyRequests(error)) return { requeueAfterMs: EVICT_EVERY_MS };
      throw error;
    }
    return {};
  }

  #remember(owner: string, nowMs: number): void {
    // Deleted first, so that the map stays ordered by last eviction.
    this.#evictedAtMs.delete(owner);
    this.#evictedAtMs.set(owner, nowMs);
    const [oldest] = this.#evictedAtMs.keys();
    if (this.#evictedAtMs.size > REMEMBERED_OWNERS && oldest !== undefined) this.#evictedAtMs.delete(oldest);
  }
}
