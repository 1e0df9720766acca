import { type Clock, type ScheduledCall, systemClock } from '../../src/util/clock.ts';
import { adminHandler } from './http/admin-handler.ts';
import { Gateway } from './http/gateway.ts';
import { hostPort, isLoopback, type ListenAddress, type Listener, listen } from './http/http-listener.ts';
import type { AccessKey } from './http/signature.ts';
import { CloudModel, type CloudModelOptions } from './model/model.ts';

/** The key that is accepted when none is configured. */
export const DEFAULT_ACCESS_KEY: AccessKey = {
  accessKeyId: 'LTAI5tSimulatedKeyId',
  accessKeySecret: 'SimulatedAccessKeySecret',
};

export interface CloudSimulatorOptions {
  /** Where the API listens; `127.0.0.1` and any free port when absent. */
  listen?: ListenAddress | undefined;
  /** Where the control channel listens, loopback only; `false` leaves it out. */
  adminListen?: ListenAddress | false | undefined;
  accessKeys?: AccessKey[] | undefined;
  clock?: Clock | undefined;
  /** An account to serve; absent: a new one from `account`. */
  model?: CloudModel | undefined;
  account?: CloudModelOptions | undefined;
}

export interface CloudSimulator extends AsyncDisposable {
  /** `host:port`, as the SDK's `endpoint` takes it; ECS and VPC alike, protocol HTTP. */
  endpoint: string;
  /** Base URL for the AdminClient; empty without control channel. */
  adminUrl: string;
  model: CloudModel;
  clock: Clock;
  accessKeys: readonly AccessKey[];
  /** Ends connections, timer and listeners. Idempotent. */
  close(): Promise<void>;
}

/**
 * Starts the simulator in this process. Rejects when an address cannot be used, with RangeError when the control channel
 * would not be on loopback.
 */
export async function startCloudSimulator(options: CloudSimulatorOptions = {}): Promise<CloudSimulator> {
  const clock = options.clock ?? systemClock;
  const model = options.model ?? new CloudModel(options.account);
  const accessKeys = options.accessKeys ?? [DEFAULT_ACCESS_KEY];
  const adminAddress = options.adminListen ?? { host: '127.0.0.1', port: 0 };
  if (adminAddress !== false && !isLoopback(adminAddress.host)) {
    throw new RangeError(`the control channel listens on loopback only, not on ${adminAddress.host}`);
  }
  const ticker = new Ticker(model, clock);
  const gateway = new Gateway({ model, clock, accessKeys });
  const listeners: Listener[] = [];
  try {
    const api = await listen(options.listen ?? { host: '127.0.0.1', port: 0 }, (req, res) => gateway.handle(req, res));
    listeners.push(api);
    let adminUrl = '';
    if (adminAddress !== false) {
      const admin = await listen(adminAddress, adminHandler({ model, clock }));
      listeners.push(admin);
      adminUrl = `http://${hostPort(admin)}/_sim`;
    }
    ticker.start();
    const close = async (): Promise<void> => {
      ticker.stop();
      await Promise.all(listeners.map((listener) => listener.close()));
    };
    return {
      endpoint: hostPort(api),
      adminUrl,
      model,
      clock,
      accessKeys,
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await Promise.all(listeners.map((listener) => listener.close()));
    throw error;
  }
}

/**
 * Lets completions happen at their time without a request coming in, so that listeners of the journal see them. One
 * timer at the next due event; the model itself has none.
 */
class Ticker {
  readonly #model: CloudModel;
  readonly #clock: Clock;
  #planned: { dueMs: number; call: ScheduledCall } | undefined;
  #unsubscribe: () => void = () => {};
  #stopped = false;

  constructor(model: CloudModel, clock: Clock) {
    this.#model = model;
    this.#clock = clock;
  }

  /** Every change of the model, also one made in this process, is in the journal after it was planned. */
  start(): void {
    this.#unsubscribe = this.#model.subscribe(() => this.#reschedule());
    this.#reschedule();
  }

  #reschedule(): void {
    const dueMs = this.#model.nextDueMs();
    if (this.#stopped || this.#planned?.dueMs === dueMs) return;
    this.#planned?.call.cancel();
    this.#planned = undefined;
    if (dueMs === undefined) return;
    const call = this.#clock.schedule(Math.max(0, Math.ceil(dueMs - this.#clock.now())), () => {
      this.#planned = undefined;
      this.#model.advance(this.#clock.now());
      this.#reschedule();
    });
    this.#planned = { dueMs, call };
  }

  stop(): void {
    this.#stopped = true;
    this.#unsubscribe();
    this.#planned?.call.cancel();
    this.#planned = undefined;
  }
}
