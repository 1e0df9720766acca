import type { TerwayNode } from '../crds/node.ts';
import type { PodEni } from '../crds/pod-eni.ts';
import type { Store } from '../kube/store.ts';
import { onAbort } from '../util/abort.ts';
import type { Clock } from '../util/clock.ts';
import type { Random } from '../util/random.ts';
import { type Assignment, assignmentOf } from './assignment.ts';
import type { AttachmentRequest } from './cni/request.ts';
import type { Pod } from './resources.ts';

/** The stores that an assignment depends on. */
export interface AssignmentStores {
  pods: Store<Pod>;
  podEnis: Store<PodEni>;
  node: Store<TerwayNode>;
}

/** The kubelet has read a pod from the API server before it asks for its network, so the watch of pods is late or wrong after this. */
const KNOWN_WITHIN_MS = 10_000;
/** Spreads the nodes of a cluster whose API server is late for all of them. */
const KNOWN_SPREAD_MS = 10_000;
/** Some pods are never known: static pods, and those that were deleted by force while their kubelet goes on. */
const UNKNOWN_PERIOD_MS = 60_000;

/** Waits for assignments; each waiting sandbox looks only when an object that it depends on has changed. */
export class AssignmentWaiter {
  readonly #stores: AssignmentStores;
  readonly #clock: Clock;
  readonly #nodeName: string;
  readonly #mtu: number;
  readonly #random: Random;
  readonly #onUnknown: () => void;
  #unknownToldMs = Number.NEGATIVE_INFINITY;
  /** By pod `namespace/name`. */
  readonly #waiting = new Map<string, Set<() => void>>();

  /** @param options.onUnknown is called when a sandbox has waited for 10 to 20 s and its pod is still not known, at most once a minute */
  constructor(options: {
    stores: AssignmentStores;
    clock: Clock;
    nodeName: string;
    mtu: number;
    random: Random;
    onUnknown: () => void;
  }) {
    this.#stores = options.stores;
    this.#clock = options.clock;
    this.#nodeName = options.nodeName;
    this.#mtu = options.mtu;
    this.#random = options.random;
    this.#onUnknown = options.onUnknown;
    const ofPod = ({ metadata }: { metadata: { namespace?: string | undefined; name: string } }) =>
      this.#wake(`${metadata.namespace}/${metadata.name}`);
    const handler = { onAdd: ofPod, onUpdate: (_: unknown, current: Parameters<typeof ofPod>[0]) => ofPod(current) };
    this.#stores.pods.addHandler(handler);
    this.#stores.podEnis.addHandler(handler);
    const ofNode = () => {
      for (const key of this.#waiting.keys()) this.#wake(key);
    };
    this.#stores.node.addHandler({ onAdd: ofNode, onUpdate: ofNode });
  }

  /** How many sandboxes wait. */
  get size(): number {
    return [...this.#waiting.values()].reduce((sum, { size }) => sum + size, 0);
  }

  /** The assignment as things stand. */
  now(request: AttachmentRequest): Assignment {
    const key = `${request.pod.namespace}/${request.pod.name}`;
    return assignmentOf({
      request,
      pod: this.#stores.pods.get(key),
      podEni: this.#stores.podEnis.get(key),
      node: this.#stores.node.get(this.#nodeName),
      mtu: this.#mtu,
    });
  }

  /**
   * Waits until the assignment is there or refused, at most `timeoutMs`.
   *
   * @returns `waiting`, with the last reason, when the time is up
   * @throws the signal's reason when it aborts first
   */
  async wait(request: AttachmentRequest, timeoutMs: number, signal: AbortSignal): Promise<Assignment> {
    const key = `${request.pod.namespace}/${request.pod.name}`;
    const deadlineMs = this.#clock.monotonicMs() + timeoutMs;
    let unknownMs = this.#clock.monotonicMs() + KNOWN_WITHIN_MS + this.#random.next() * KNOWN_SPREAD_MS;
    for (;;) {
      signal.throwIfAborted();
      const assignment = this.now(request);
      const leftMs = deadlineMs - this.#clock.monotonicMs();
      if (assignment.state !== 'waiting' || leftMs <= 0) return assignment;
      const untilUnknownMs = unknownMs - this.#clock.monotonicMs();
      await this.#changed(key, Math.min(leftMs, Math.max(1, untilUnknownMs)), signal);
      if (this.#clock.monotonicMs() < unknownMs) continue;
      unknownMs = Number.POSITIVE_INFINITY;
      if (!this.#isKnown(request)) this.#tellUnknown();
    }
  }

  #tellUnknown(): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#unknownToldMs < UNKNOWN_PERIOD_MS) return;
    this.#unknownToldMs = nowMs;
    this.#onUnknown();
  }

  #isKnown({ pod: { namespace, name, uid } }: AttachmentRequest): boolean {
    const known = this.#stores.pods.get(`${namespace}/${name}`);
    return known !== undefined && (uid === undefined || known.metadata.uid === uid);
  }

  async #changed(key: string, timeoutMs: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiters = this.#waiting.get(key) ?? new Set();
    this.#waiting.set(key, waiters.add(resolve));
    const timer = this.#clock.schedule(timeoutMs, resolve);
    using _aborting = onAbort(signal, resolve);
    try {
      await promise;
    } finally {
      timer.cancel();
      waiters.delete(resolve);
      if (waiters.size === 0) this.#waiting.delete(key);
    }
  }

  #wake(key: string): void {
    for (const resolve of this.#waiting.get(key) ?? []) resolve();
  }
}
