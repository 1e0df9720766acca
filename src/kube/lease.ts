import { onAbort } from '../util/abort.ts';
import type { Clock } from '../util/clock.ts';
import { jitter, type Random } from '../util/random.ts';
import type { KubeClient } from './client.ts';
import type { CallOptions } from './client-types.ts';
import { isAlreadyExists, isConflict, isNotFound } from './errors.ts';
import { microTime } from './micro-time.ts';
import type { HasMetadata, Resource } from './types.ts';

/** `coordination.k8s.io/v1` Lease. */
export interface Lease extends HasMetadata {
  spec?: LeaseSpec;
}

interface LeaseSpec {
  holderIdentity?: string;
  leaseDurationSeconds?: number;
  acquireTime?: string;
  renewTime?: string;
  leaseTransitions?: number;
}

export const leaseResource: Resource<Lease> = {
  group: 'coordination.k8s.io',
  version: 'v1',
  plural: 'leases',
  kind: 'Lease',
  namespaced: true,
};

/** Proof of leadership, to check right before doing something that only the leader may do. */
export interface HeldLease {
  /**
   * Throws and ends the term when another process may hold the lease by now. The signal alone is not enough: after the process
   * was suspended, sockets may be read before the timer that aborts it fires.
   *
   * @throws LeaseLostError, or the reason of the signal
   */
  assertHeld(): void;
}

export interface RunWithLeaseOptions {
  client: Pick<KubeClient, 'get' | 'create' | 'patch'>;
  namespace: string;
  name: string;
  /** Runs while we lead. Must end soon after its signal aborts: within `leaseDurationMs - renewDeadlineMs`. */
  onLead: (signal: AbortSignal, lease: HeldLease) => Promise<void>;
  signal: AbortSignal;
  /** Unique to this process: after a restart it must be a new candidate. */
  identity: string;
  /** How long others wait after the last renewal they saw. Whole seconds. Default 15,000. */
  leaseDurationMs?: number;
  /** How long we stay leader without a successful renewal. Default 10,000. */
  renewDeadlineMs?: number;
  /** Between two attempts. Default 2,000. */
  retryPeriodMs?: number;
  clock: Clock;
  random: Random;
  /** The holder changed; `''` when nobody holds the lease. */
  onHolder?: (identity: string) => void;
  /** A request failed and will be retried. */
  onError?: (error: unknown) => void;
}

/**
 * - `stopped`: the signal aborted.
 * - `finished`: `onLead` returned on its own.
 * - `lost`: the lease could not be renewed in time, or another process took it.
 */
export type LeaseOutcome = 'stopped' | 'finished' | 'lost';

/**
 * Waits until the lease is ours, runs `onLead`, and renews the lease until `onLead` has ended. The rules are those of
 * client-go's leader election. In addition the leader is fenced: its signal aborts `renewDeadlineMs` after it *sent* the last
 * successful renewal, while others wait `leaseDurationMs` after they *saw* it, so no two lead at once even if their clocks
 * differ. Only the speed of the clocks matters.
 *
 * A clean stop releases the lease after `onLead` has ended, so that the next leader need not wait.
 *
 * @returns when `onLead` has ended
 * @throws what `onLead` throws, after the lease was released
 */
export async function runWithLease(options: RunWithLeaseOptions): Promise<LeaseOutcome> {
  const { leaseDurationMs = 15_000, renewDeadlineMs = 10_000, retryPeriodMs = 2000 } = options;
  if (leaseDurationMs <= renewDeadlineMs || renewDeadlineMs <= retryPeriodMs) {
    throw new Error('a lease needs leaseDurationMs > renewDeadlineMs > retryPeriodMs');
  }
  const candidate = new Candidate(options, { leaseDurationMs, renewDeadlineMs, retryPeriodMs });
  const { signal } = options;
  while (!signal.aborted && !(await candidate.tryAcquire(signal))) await candidate.pause(signal);
  if (!candidate.isHolder) return 'stopped';
  return candidate.lead(options.onLead, signal);
}

interface Timing {
  leaseDurationMs: number;
  renewDeadlineMs: number;
  retryPeriodMs: number;
}

class Candidate {
  readonly #options: RunWithLeaseOptions;
  readonly #timing: Timing;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #identity: string;
  /** The lease as last read or written, and when we first saw that state. */
  #seen: { lease: Lease; sinceMs: number } | undefined;
  /** When the last successful acquisition or renewal was sent; undefined while another process may hold the lease. */
  #heldSinceMs: number | undefined;

  constructor(options: RunWithLeaseOptions, timing: Timing) {
    this.#options = options;
    this.#timing = timing;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#identity = options.identity;
  }

  get isHolder(): boolean {
    return this.#heldSinceMs !== undefined;
  }

  /** Never throws; false also for a failed request. */
  async tryAcquire(signal: AbortSignal): Promise<boolean> {
    try {
      const lease = await this.#read(signal);
      if (lease === undefined) return await this.#create(signal);
      if (!this.#isFree(lease)) return false;
      return await this.#write(lease, signal);
    } catch (error) {
      // Another candidate was faster, which is normal in an election.
      if (!signal.aborted && !isConflict(error) && !isAlreadyExists(error)) this.#options.onError?.(error);
      return false;
    }
  }

  /** Jittered, so that candidates that started together do not stay in step. */
  async pause(signal: AbortSignal): Promise<void> {
    const delayMs = jitter(this.#random, this.#timing.retryPeriodMs * 1.2, 0.2);
    await this.#clock.sleep(delayMs, signal).catch(() => {});
  }

  async lead(onLead: RunWithLeaseOptions['onLead'], signal: AbortSignal): Promise<LeaseOutcome> {
    const leader = new AbortController();
    using _stopping = onAbort(signal, () => leader.abort(signal.reason));
    // Keep renewing while onLead stops: until it has ended nobody else may lead.
    const ended = new AbortController();
    const held: HeldLease = {
      assertHeld: () => {
        if (!leader.signal.aborted && this.#validForMs() <= 0) this.#lose('expired', leader);
        leader.signal.throwIfAborted();
      },
    };
    const renewing = this.#keepRenewing(ended.signal, leader);
    try {
      await onLead(leader.signal, held);
    } finally {
      ended.abort();
      await renewing;
      if (this.#validForMs() > 0) await this.#release();
    }
    if (leader.signal.reason instanceof LeaseLostError) return 'lost';
    return signal.aborted ? 'stopped' : 'finished';
  }

  /** Returns when `ended` aborts, or after it has reported the loss. */
  async #keepRenewing(ended: AbortSignal, leader: AbortController): Promise<void> {
    while (!ended.aborted && this.isHolder) {
      await this.#clock.sleep(Math.min(this.#timing.retryPeriodMs, this.#validForMs()), ended).catch(() => {});
      if (ended.aborted || !this.isHolder) return;
      const result = this.#validForMs() > 0 ? await this.#renew() : 'expired';
      if (ended.aborted || result === 'renewed') continue;
      if (result === 'taken' || this.#validForMs() <= 0) {
        this.#lose(result === 'taken' ? 'taken' : 'expired', leader);
        return;
      }
    }
  }

  #lose(how: 'taken' | 'expired', leader: AbortController): void {
    this.#heldSinceMs = undefined;
    const { name } = this.#options;
    leader.abort(new LeaseLostError(`lease ${name}: ${how === 'taken' ? 'taken over' : 'not renewed in time'}`));
  }

  async #renew(): Promise<'renewed' | 'taken' | 'failed'> {
    // A request must not outlive our leadership: abort it in time even if no response comes.
    const limit = new AbortController();
    const timer = this.#clock.schedule(this.#validForMs(), () => limit.abort(new Error('the renew deadline passed')));
    try {
      const known = this.#seen?.lease;
      if (known !== undefined && (await this.#writeUnlessChanged(known, limit.signal))) return 'renewed';
      const lease = await this.#read(limit.signal);
      if (lease === undefined) return (await this.#create(limit.signal)) ? 'renewed' : 'failed';
      if (lease.spec?.holderIdentity !== this.#identity) return 'taken';
      return (await this.#write(lease, limit.signal)) ? 'renewed' : 'failed';
    } catch (error) {
      this.#options.onError?.(error);
      return 'failed';
    } finally {
      timer.cancel();
    }
  }

  /** Skips the read when nobody else changed the lease since our last write, which is the normal case. */
  async #writeUnlessChanged(lease: Lease, signal: AbortSignal): Promise<boolean> {
    try {
      return await this.#write(lease, signal);
    } catch (error) {
      if (isConflict(error) || isNotFound(error)) return false;
      throw error;
    }
  }

  async #read(signal: AbortSignal | undefined): Promise<Lease | undefined> {
    const { client, namespace, name } = this.#options;
    try {
      const lease = await client.get(leaseResource, { namespace, name }, this.#call(signal));
      this.#saw(lease);
      return lease;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  async #create(signal: AbortSignal): Promise<boolean> {
    const { client, namespace, name } = this.#options;
    const sentMs = this.#clock.monotonicMs();
    const spec = { ...this.#claim(), leaseTransitions: 0 };
    this.#saw(await client.create(leaseResource, { metadata: { namespace, name }, spec }, this.#call(signal)));
    this.#heldSinceMs = sentMs;
    return true;
  }

  /** Acquires or renews the lease that was read; throws a conflict when it changed since. */
  async #write(lease: Lease, signal: AbortSignal): Promise<boolean> {
    const { client, namespace, name } = this.#options;
    const { holderIdentity, leaseTransitions = 0, acquireTime } = lease.spec ?? {};
    const isRenewal = holderIdentity === this.#identity;
    const claim = this.#claim();
    const spec = {
      ...claim,
      acquireTime: isRenewal ? acquireTime : claim.acquireTime,
      leaseTransitions: isRenewal ? leaseTransitions : leaseTransitions + 1,
    };
    const { uid, resourceVersion } = lease.metadata;
    const sentMs = this.#clock.monotonicMs();
    const body = { metadata: { uid, resourceVersion }, spec };
    this.#saw(await client.patch(leaseResource, { namespace, name }, { type: 'merge', body }, this.#call(signal)));
    this.#heldSinceMs = sentMs;
    return true;
  }

  /** Never throws: a lease that cannot be released expires. */
  async #release(): Promise<void> {
    const { client, namespace, name, onError } = this.#options;
    const spec = { holderIdentity: '', leaseDurationSeconds: 1, renewTime: microTime(this.#clock.now()) };
    // The second try covers a renewal that was applied although its response was lost.
    for (let attempt = 1, lease = this.#seen?.lease; attempt <= 2; attempt++) {
      if (lease?.spec?.holderIdentity !== this.#identity) return;
      const { uid, resourceVersion } = lease.metadata;
      const body = { metadata: { uid, resourceVersion }, spec };
      try {
        await client.patch(leaseResource, { namespace, name }, { type: 'merge', body }, this.#call(undefined));
        return;
      } catch (error) {
        if (!isConflict(error)) onError?.(error);
        lease = await this.#read(undefined).catch(() => undefined);
      }
    }
  }

  #claim(): Required<Omit<LeaseSpec, 'leaseTransitions'>> {
    const now = microTime(this.#clock.now());
    const leaseDurationSeconds = Math.ceil(this.#timing.leaseDurationMs / 1000);
    return { holderIdentity: this.#identity, leaseDurationSeconds, acquireTime: now, renewTime: now };
  }

  /** A changed record restarts the wait, measured by our own clock, because the times in the record are another machine's. */
  #saw(lease: Lease): void {
    const before = this.#seen?.lease;
    if (before?.metadata.resourceVersion === lease.metadata.resourceVersion) return;
    this.#seen = { lease, sinceMs: this.#clock.monotonicMs() };
    const holder = lease.spec?.holderIdentity ?? '';
    if (before === undefined || holder !== (before.spec?.holderIdentity ?? '')) this.#options.onHolder?.(holder);
  }

  #isFree(lease: Lease): boolean {
    const { holderIdentity = '', leaseDurationSeconds } = lease.spec ?? {};
    if (holderIdentity === '' || holderIdentity === this.#identity) return true;
    const waitMs = leaseDurationSeconds === undefined ? this.#timing.leaseDurationMs : leaseDurationSeconds * 1000;
    return this.#seen !== undefined && this.#clock.monotonicMs() >= this.#seen.sinceMs + waitMs;
  }

  #validForMs(): number {
    if (this.#heldSinceMs === undefined) return 0;
    return Math.max(0, this.#heldSinceMs + this.#timing.renewDeadlineMs - this.#clock.monotonicMs());
  }

  /** Short tries, so that several fit before the deadline. */
  #call(signal: AbortSignal | undefined): CallOptions {
    return { signal, timeoutMs: this.#timing.retryPeriodMs, maxTries: 1 };
  }
}

/** The reason of the leader's signal when it lost leadership. */
export class LeaseLostError extends Error {
  override name = 'LeaseLostError';
}
