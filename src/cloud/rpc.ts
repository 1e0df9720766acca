import type * as z from 'zod';
import { orAborted } from '../util/abort.ts';
import type { Clock } from '../util/clock.ts';
import { CloudError, toCloudError } from './errors.ts';
import type { CallLeave, QuotaScheduler, SendLimit, Turn, TurnRequest } from './quota.ts';
import type { RpcParams, RpcSender } from './rpc-sender.ts';

/** One finished call, for metrics and logs. */
export interface CallReport {
  action: string;
  /** `OK` or the error code. */
  code: string;
  durationMs: number;
  /** Time spent waiting for quota and for a free connection. */
  waitedMs: number;
  /** The cloud refused it for exceeding a limit. */
  throttled: boolean;
}

/** A request model of the official SDK: knows the wire names of its fields. */
interface RequestModel {
  toMap(): RpcParams;
}

type CallLimit = SendLimit & { askedMs: number };

type Exchanged<T> =
  | { state: 'answered'; answer: T; sentAtMs: number }
  | { state: 'throttled'; error: CloudError; next: TurnRequest }
  /** The turn expired before a connection was free. */
  | { state: 'missed'; next: TurnRequest };

/** After this many throttled attempts in a row a read fails; its caller reports that. */
const THROTTLED_TRIES = 5;
/** Connections to one service; a create occupies one for as long as the cloud takes. */
export const CONCURRENT_CALLS = 250;

/** Tracks whether one call may be written, and whether it was. */
class Exit {
  hasLeft = false;
  /** The call was cancelled; it must not be written any more. */
  isClosed = false;
  readonly #limit: SendLimit;

  constructor(limit: SendLimit) {
    this.#limit = limit;
  }

  leave(): void {
    try {
      this.#limit.assertAllowed?.();
      this.#limit.signal.throwIfAborted();
    } catch (error) {
      this.isClosed = true;
      throw error;
    }
    this.hasLeft = true;
    this.#limit.onSent?.();
  }
}

/** Shared by the services of one account and region: quota and the limit on concurrent calls. */
export class RpcContext {
  readonly quota: QuotaScheduler;
  readonly clock: Clock;
  readonly regionId: string;
  readonly onCall: (report: CallReport) => void;
  #free = CONCURRENT_CALLS;
  /** Each has a turn, so the quota of a few minutes bounds them. */
  readonly #queue: (() => void)[] = [];

  constructor(options: {
    quota: QuotaScheduler;
    clock: Clock;
    regionId: string;
    onCall?: (report: CallReport) => void;
  }) {
    this.quota = options.quota;
    this.clock = options.clock;
    this.regionId = options.regionId;
    this.onCall = options.onCall ?? (() => {});
  }

  /** Runs `call` when a connection is free; the SDK's own agent opens any number. */
  async withConnection<T>(call: () => Promise<T>): Promise<T> {
    if (this.#free === 0) await new Promise<void>((resolve) => this.#queue.push(resolve));
    else this.#free -= 1;
    try {
      return await call();
    } finally {
      const next = this.#queue.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}

/**
 * Calls actions of one service with the request models of the official SDK. The caller's schema parses the responses.
 */
export class RpcService {
  readonly #context: RpcContext;
  readonly #version: string;
  readonly #send: RpcSender;

  constructor(context: RpcContext, version: string, send: RpcSender) {
    this.#context = context;
    this.#version = version;
    this.#send = send;
  }

  /**
   * Sends one request. A throttled call that waits for quota here is sent again from its place in the line. With the
   * caller's own turn nothing is repeated, because only the caller knows whether that is safe.
   *
   * @returns the parsed response and when the request was sent (epoch milliseconds).
   * @throws CloudError, also when the response does not fit `answer`; the signal's reason when it aborts; what
   * `assertAllowed` throws. A call that was not sent gives its turn back.
   */
  async call<T>(
    action: string,
    request: RequestModel,
    answer: z.ZodType<T>,
    leave: CallLeave,
  ): Promise<{ answer: T; sentAtMs: number }> {
    const { signal } = leave;
    const { clock, quota } = this.#context;
    const limit = { ...leave, askedMs: clock.monotonicMs() };
    const exchange = (turn: Turn) => this.#withTurn(turn, action, request, answer, limit);
    if ('turn' in leave) {
      const answered = await exchange(leave.turn);
      if (answered.state === 'answered') return answered;
      throw answered.state === 'throttled' ? answered.error : missedTurn(action);
    }
    let next: TurnRequest = { api: action, callClass: leave.callClass };
    for (let throttled = 0; ; ) {
      const answered = await exchange(await quota.turn(next, signal));
      if (answered.state === 'answered') return answered;
      if (answered.state === 'throttled' && ++throttled === THROTTLED_TRIES) throw answered.error;
      next = answered.next;
    }
  }

  async #withTurn<T>(
    turn: Turn,
    action: string,
    request: RequestModel,
    answer: z.ZodType<T>,
    limit: CallLimit,
  ): Promise<Exchanged<T>> {
    const { clock } = this.#context;
    const { signal, askedMs } = limit;
    const exit = new Exit(limit);
    try {
      return await this.#context.withConnection(async (): Promise<Exchanged<T>> => {
        signal.throwIfAborted();
        // The wait for a connection extended into the next minute, to which this call is not charged.
        if (clock.now() > turn.validUntilMs) return { state: 'missed', next: turn.end('unknown') };
        try {
          const answered = await this.#exchange(action, request, answer, { askedMs, signal, exit });
          turn.end('accepted');
          return { state: 'answered', ...answered };
        } catch (error) {
          if (!(error instanceof CloudError) || !exit.hasLeft) throw error;
          const isThrottled = error.kind === 'throttled';
          const next = turn.end(isThrottled ? 'throttled' : error.kind === 'unavailable' ? 'unknown' : 'accepted');
          if (!isThrottled) throw error;
          return { state: 'throttled', error, next };
        }
      });
    } catch (error) {
      // Aborted in transit: it is unknown whether the cloud counts it.
      if (exit.hasLeft) turn.end('unknown');
      else turn.giveBack();
      throw error;
    }
  }

  async #exchange<T>(
    action: string,
    request: RequestModel,
    answer: z.ZodType<T>,
    { askedMs, signal, exit }: { askedMs: number; signal: AbortSignal; exit: Exit },
  ): Promise<{ answer: T; sentAtMs: number }> {
    const { clock, regionId, onCall } = this.#context;
    const sentAtMs = clock.now();
    const startedMs = clock.monotonicMs();
    const report = (code: string, throttled = false) =>
      onCall({
        action,
        code,
        throttled,
        durationMs: clock.monotonicMs() - startedMs,
        waitedMs: startedMs - askedMs,
      });
    try {
      const params = { RegionId: regionId, ...request.toMap() };
      // An aborted call that was already sent continues in the background, and its response is dropped.
      const body = await orAborted(
        this.#send({ version: this.#version, action, params }, () => exit.leave()),
        signal,
      );
      const parsed = answer.safeParse(body);
      if (!parsed.success) throw malformedAnswer(action, parsed.error);
      report('OK');
      return { answer: parsed.data, sentAtMs };
    } catch (thrown) {
      if (signal.aborted) throw signal.reason;
      if (exit.isClosed) throw thrown;
      const error = toCloudError(action, thrown);
      report(error.code, error.kind === 'throttled');
      throw error;
    }
  }
}

function malformedAnswer(action: string, error: z.ZodError): CloudError {
  const issue = error.issues[0];
  return new CloudError({
    // The status was HTTP 200, so the call may well have taken effect.
    kind: 'unavailable',
    action,
    code: 'MalformedAnswer',
    message: `${action}: invalid ${issue?.path.join('.')} in the response: ${issue?.message}`,
  });
}

function missedTurn(action: string): CloudError {
  return new CloudError({
    kind: 'throttled',
    action,
    code: 'TurnMissed',
    message: `${action}: no connection was free in time; the call was not sent`,
  });
}
