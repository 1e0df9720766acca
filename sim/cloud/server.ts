import { type Clock, type ScheduledCall, systemClock } from '../../src/util/clock.ts';
import { adminHandler } from './http/admin-handler.ts';
import { Gateway } from './http/gateway.ts';
import { hostPort, isLoopback, type ListenAddress, type Listener, listen } from './http/http-listener.ts';
import { metadataHandler } from './http/metadata-handler.ts';
import { listenProxied } from './http/proxied-listener.ts';
import type { AccessKey } from './http/signature.ts';
import { CloudModel, type CloudModelOptions } from './model/model.ts';

/** The access key that is accepted when none is configured. */
export const DEFAULT_ACCESS_KEY: AccessKey = {
  accessKeyId: 'LTAI5tSimulatedKeyId',
  accessKeySecret: 'SimulatedAccessKeySecret',
};

export interface CloudSimulatorOptions {
  /** Address of the API. Default: `127.0.0.1` and any free port. */
  listen?: ListenAddress | undefined;
  /** Address of the control channel, loopback only. `false` disables it. */
  adminListen?: ListenAddress | false | undefined;
  /**
   * Address of the instance metadata service for a program that stands in the VPC, such as the VPC switch (http/proxied-listener.ts).
   * Loopback only. Default: none.
   */
  metadataListen?: ListenAddress | undefined;
  accessKeys?: AccessKey[] | undefined;
  clock?: Clock | undefined;
  /** An account to serve. Default: a new one from `account`. */
  model?: CloudModel | undefined;
  account?: CloudModelOptions | undefined;
}

export interface CloudSimulator extends AsyncDisposable {
  /** `host:port`, for the SDK's `endpoint`. The same for ECS and VPC; protocol HTTP. */
  endpoint: string;
  /** Base URL for the AdminClient. Empty without a control channel. */
  adminUrl: string;
  /** `host:port` of the metadata service. Empty without one. */
  metadataEndpoint: string;
  model: CloudModel;
  clock: Clock;
  accessKeys: readonly AccessKey[];
  /** Ends connections, timer and listeners. Idempotent. */
  close(): Promise<void>;
}

/**
 * Starts the simulator in this process. Rejects when an address cannot be used, and with RangeError when the control channel or the
 * metadata service would not be on loopback.
 */
export async function startCloudSimulator(options: CloudSimulatorOptions = {}): Promise<CloudSimulator> {
  const clock = options.clock ?? systemClock;
  const model = options.model ?? new CloudModel(options.account);
  const accessKeys = options.accessKeys ?? [DEFAULT_ACCESS_KEY];
  const adminAddress = options.adminListen ?? { host: '127.0.0.1', port: 0 };
  if (adminAddress !== false && !isLoopback(adminAddress.host)) {
    throw new RangeError(`the control channel listens on loopback only, not on ${adminAddress.host}`);
  }
  const { metadataListen } = options;
  if (metadataListen !== undefined && !isLoopback(metadataListen.host)) {
    throw new RangeError(`the metadata service believes who connects to it, so not on ${metadataListen.host}`);
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
    let metadataEndpoint = '';
    if (metadataListen !== undefined) {
      const metadata = await listenProxied(metadataListen, metadataHandler({ model, clock }));
      listeners.push(metadata);
      metadataEndpoint = hostPort(metadata);
    }
    ticker.start();
    const close = async (): Promise<void> => {
      ticker.stop();
      await Promise.all(listeners.map((listener) => listener.close()));
    };
    return {
      endpoint: hostPort(api),
      adminUrl,
      metadataEndpoint,
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
 * Completes changes on time even without requests, so that listeners of the journal see them. Uses one timer for the next due
 * change; the model itself has none.
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

  /** A change is planned before its journal entry, even if made in this process. So each entry may bring a new due time. */
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
