import { remaker } from '../../allocation/escape.ts';
import type { Pod } from '../../cluster/resources.ts';
import type { KubeClient } from '../../kube/client.ts';
import { isConflict, isNotFound, isTooManyRequests } from '../../kube/errors.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { Clock } from '../../util/clock.ts';
import type { ControllerEvents } from '../events.ts';

/** While the webhook is down each new pod escapes, too: its owner loses no more than one pod in this time. */
const EVICT_EVERY_MS = 10_000;
const REMEMBERED_OWNERS = 1000;

/** What it works with. */
export interface EscapedPodsContext {
  client: KubeClient;
  clock: Clock;
  /** Pods that get no network because the webhook has not seen them. */
  escaped: Set<string>;
  events: ControllerEvents;
  metrics: Pick<Metrics, 'podsEvicted'>;
}

/** Holds or evicts pods that a PodNetworking picks and that the webhook has not seen. */
export class EscapedPods {
  readonly #context: EscapedPodsContext;
  /** When a pod of an owner was evicted last, by the owner's uid. */
  readonly #evictedAtMs = new Map<string, number>();

  constructor(context: EscapedPodsContext) {
    this.#context = context;
  }

  /** @param networking names what picks the pod. */
  async deal(
    key: string,
    pod: Pod,
    policy: 'hold' | 'evict',
    networking: string,
    signal: AbortSignal,
  ): Promise<{ requeueAfterMs?: number }> {
    const { client, events, clock, escaped, metrics } = this.#context;
    escaped.add(key);
    const what = `PodNetworking ${networking} picks the pod, but the webhook has not seen it (it was away, or the PodNetworking changed since), so it gets no network`;
    const owner = remaker({ owners: pod.metadata.ownerReferences ?? [] });
    if (policy === 'hold' || owner === undefined) {
      const make =
        owner === undefined ? 'delete the pod and create it again' : 'delete the pod; its owner makes a new one';
      events.podWarning(key, 'EscapedWebhook', `${what}: ${make}`);
      return {};
    }
    const nowMs = clock.monotonicMs();
    const waitMs = (this.#evictedAtMs.get(owner) ?? Number.NEGATIVE_INFINITY) + EVICT_EVERY_MS - nowMs;
    if (waitMs > 0) {
      events.podWarning(key, 'EscapedWebhook', `${what}: it will be evicted, one pod of an owner at a time`);
      return { requeueAfterMs: waitMs };
    }
    this.#remember(owner, nowMs);
    events.podWarning(key, 'EscapedWebhook', `${what}: it is evicted, and its owner makes a new one`);
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
    // Deleted first, so that the map stays in the order of the last eviction.
    this.#evictedAtMs.delete(owner);
    this.#evictedAtMs.set(owner, nowMs);
    const [oldest] = this.#evictedAtMs.keys();
    if (this.#evictedAtMs.size > REMEMBERED_OWNERS && oldest !== undefined) this.#evictedAtMs.delete(oldest);
  }
}
