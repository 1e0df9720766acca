import type { Clock } from '../../../src/util/clock.ts';
import { type Random, seededRandom } from '../../../src/util/random.ts';
import type { ApiCall, EventFault, FaultPlan, RequestFault, WatchFault } from '../../kube/faults.ts';
import type { CloudCall, CloudFault } from '../cloud-link.ts';
import type { MachineCall, MachineFault } from '../node/process.ts';
import type { FaultKind, FaultRates } from './plan.ts';

const THROTTLING = { code: 'Throttling.User', status: 400 };
/** A vSwitch has no addresses left. */
export const EXHAUSTED = { code: 'InvalidVSwitchId.IpNotEnough', status: 403 };
const INTERNAL = { code: 'InternalError', status: 500 };
/**
 * Nothing can fence a creation that the API server receives when the lease of its sender has ended, nor a detach that the cloud
 * receives then, so nothing is held back for longer than a leader would go without renewing its lease.
 */
const LONGEST_DELAY_MS = 10_000;
const SLOW_MS = 3000;
const LATE_MS = 20_000;
/** How likely a kernel that has just failed fails again when that step is undone, as when its helper has ended. */
const UNDO_FAILS = 0.5;

/** Calls to the cloud that are refused for a time. */
export interface Refusal {
  code: string;
  status: number;
  untilMs: number;
  /** Default: all. */
  matches?: (call: CloudCall) => boolean;
}

/** Decides by chance what goes wrong with each call, until it is told to stop. Counts what happened. */
export class SeededFaults {
  readonly #random: Random;
  /** Of undone steps, drawn apart. */
  readonly #undoing: Random;
  readonly #rates: FaultRates;
  readonly #clock: Clock;
  readonly #counts = new Map<FaultKind, number>();
  /** Until when nothing that a replica sends arrives. */
  readonly #stalls = new Map<string, number>();
  #refusals: readonly Refusal[] = [];
  /** Until when no connection to the API server can be made: by all, or by a process. */
  #stoppedUntilMs = 0;
  /** Until when the API server refuses writes. */
  #fullUntilMs = 0;
  readonly #cutOff = new Map<string, number>();
  #isOver = false;

  readonly kube: FaultPlan = {
    onRequest: (call) => this.#onRequest(call),
    onWatch: (call) => this.#onWatch(call),
    onEvent: () => this.#onEvent(),
  };
  readonly cloud = (call: CloudCall): CloudFault | undefined => this.#onCloudCall(call);
  readonly machine = (call: MachineCall): MachineFault | undefined => this.#onMachineCall(call);

  constructor(options: { seed: number; rates: FaultRates; clock: Clock }) {
    this.#random = seededRandom(options.seed ^ 0x5eed);
    this.#undoing = seededRandom(options.seed ^ 0x0d0);
    this.#rates = options.rates;
    this.#clock = options.clock;
  }

  /** Nothing goes wrong from now on. */
  stop(): void {
    this.#isOver = true;
    this.#stalls.clear();
    this.#refusals = [];
    this.#stoppedUntilMs = 0;
    this.#fullUntilMs = 0;
    this.#cutOff.clear();
  }

  /** Whatever this replica sends before that time arrives then, or is lost. */
  stall(replica: string, untilMs: number): void {
    this.#stalls.set(replica, untilMs);
  }

  stopApiServer(untilMs: number): void {
    this.#stoppedUntilMs = untilMs;
  }

  refuseWrites(untilMs: number): void {
    this.#fullUntilMs = untilMs;
  }

  /** This process cannot reach the API server before that time. */
  cutOff(process: string, untilMs: number): void {
    this.#cutOff.set(process, untilMs);
  }

  refuse(refusal: Refusal): void {
    const nowMs = this.#clock.monotonicMs();
    this.#refusals = [...this.#refusals.filter(({ untilMs }) => untilMs > nowMs), refusal];
  }

  get counts(): ReadonlyMap<FaultKind, number> {
    return this.#counts;
  }

  #onRequest({ replica, verb, subresource }: ApiCall): RequestFault | undefined {
    if (!this.#reachesApiServer(replica)) return { kind: 'not-sent', failure: 'connect' };
    const stallMs = this.#stallOf(replica);
    if (stallMs > LONGEST_DELAY_MS) return { kind: 'lost-request', failure: 'timeout' };
    if (stallMs > 0) return { kind: 'slow', requestMs: stallMs };
    const isWrite = verb !== 'get' && verb !== 'list' && verb !== 'watch';
    if (isWrite && this.#clock.monotonicMs() < this.#fullUntilMs) return { kind: 'refused', status: 500 };
    if (this.#hits('kube-slow')) return { kind: 'slow', requestMs: this.#upTo(SLOW_MS), answerMs: this.#upTo(SLOW_MS) };
    if (isWrite && subresource !== 'status' && verb !== 'create' && this.#hits('kube-conflict')) {
      return { kind: 'refused', status: 409 };
    }
    if (this.#hits('kube-throttled')) return { kind: 'refused', status: 429, retryAfterSeconds: 1 };
    if (this.#hits('kube-error')) return { kind: 'refused', status: 500 };
    if (this.#hits('kube-not-sent')) return { kind: 'not-sent', failure: 'connect' };
    if (this.#hits('kube-lost-request')) return { kind: 'lost-request', failure: this.#failure() };
    if (this.#hits('kube-lost-answer')) return { kind: 'lost-answer', failure: this.#failure() };
    if (isWrite && this.#hits('kube-doubled')) return { kind: 'doubled' };
    if (isWrite && this.#hits('kube-invalid')) return { kind: 'refused', status: 422 };
    return undefined;
  }

  #onWatch({ replica }: ApiCall): WatchFault | undefined {
    if (!this.#reachesApiServer(replica)) return { kind: 'not-sent', failure: 'connect' };
    const stallMs = this.#stallOf(replica);
    if (stallMs > 0) return { kind: 'slow', requestMs: stallMs };
    return this.#hits('watch-expired')
      ? { kind: 'expired', as: this.#random.next() < 0.5 ? 'answer' : 'event' }
      : undefined;
  }

  #onEvent(): EventFault | undefined {
    if (this.#hits('watch-late')) return { kind: 'late', ms: this.#upTo(LATE_MS) };
    if (this.#hits('watch-doubled')) return { kind: 'doubled' };
    if (this.#hits('watch-broken')) return { kind: this.#random.next() < 0.5 ? 'broken' : 'ended' };
    return undefined;
  }

  #onCloudCall(call: CloudCall): CloudFault | undefined {
    const stallMs = this.#stallOf(call.replica);
    if (stallMs > LONGEST_DELAY_MS) return { kind: 'lost-request' };
    if (stallMs > 0) return { kind: 'slow', requestMs: stallMs };
    const refusal = this.#refusalOf(call);
    if (refusal !== undefined) return { kind: 'refused', code: refusal.code, status: refusal.status };
    if (this.#hits('cloud-slow'))
      return { kind: 'slow', requestMs: this.#upTo(SLOW_MS), answerMs: this.#upTo(SLOW_MS) };
    if (this.#hits('cloud-throttled')) return { kind: 'refused', ...THROTTLING };
    if (this.#hits('cloud-error')) return { kind: 'refused', ...INTERNAL };
    if (this.#hits('cloud-lost-request')) return { kind: 'lost-request' };
    if (this.#hits('cloud-lost-answer')) return { kind: 'lost-answer' };
    if (call.action === 'CreateNetworkInterface' && this.#hits('cloud-empty-id')) return { kind: 'empty-id' };
    return undefined;
  }

  #onMachineCall({ operation }: MachineCall): MachineFault | undefined {
    if (operation.startsWith('disk')) {
      if (this.#hits('disk-slow')) return { kind: 'slow', ms: this.#upTo(SLOW_MS) };
      return this.#hits('disk-error') ? { kind: 'failed' } : undefined;
    }
    if (operation === 'kernel add-undo')
      return !this.#isOver && this.#undoing.next() < UNDO_FAILS ? { kind: 'failed' } : undefined;
    if (this.#hits('kernel-slow')) return { kind: 'slow', ms: this.#upTo(SLOW_MS) };
    return this.#hits('kernel-error') ? { kind: 'failed' } : undefined;
  }

  #reachesApiServer(process: string): boolean {
    const nowMs = this.#clock.monotonicMs();
    return nowMs >= this.#stoppedUntilMs && nowMs >= (this.#cutOff.get(process) ?? 0);
  }

  #refusalOf(call: CloudCall): Refusal | undefined {
    const nowMs = this.#clock.monotonicMs();
    return this.#refusals.find(({ untilMs, matches }) => nowMs < untilMs && (matches === undefined || matches(call)));
  }

  #stallOf(replica: string): number {
    return (this.#stalls.get(replica) ?? 0) - this.#clock.monotonicMs();
  }

  #hits(kind: FaultKind): boolean {
    const rate = this.#isOver ? undefined : this.#rates[kind];
    if (rate === undefined || this.#random.next() >= rate) return false;
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + 1);
    return true;
  }

  #upTo(ms: number): number {
    return Math.floor(this.#random.next() * ms);
  }

  #failure(): 'broken' | 'timeout' {
    return this.#random.next() < 0.5 ? 'broken' : 'timeout';
  }
}
