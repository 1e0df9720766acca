import type { RpcCall, RpcSender } from '../../src/cloud/rpc-sender.ts';
import type { Clock } from '../../src/util/clock.ts';
import type { CloudModel } from '../cloud/model/model.ts';

/** A call to the cloud, as a fault plan sees it. */
export interface CloudCall extends RpcCall {
  /** Whose call it is. */
  replica: string;
}

/**
 * What goes wrong with a call.
 * - `slow`: it arrives late, or its answer does.
 * - `refused`: the cloud answers with this code and does nothing.
 * - `lost-request`: no answer comes, and nothing happens.
 * - `lost-answer`: it takes effect, and no answer comes.
 * - `empty-id`: it takes effect, and the answer names no ENI.
 * - `late`: the connection breaks, and it takes effect afterwards.
 */
export type CloudFault =
  | { kind: 'slow'; requestMs?: number; answerMs?: number }
  | { kind: 'refused'; code: string; status: number }
  | { kind: 'lost-request' | 'lost-answer' | 'empty-id' }
  | { kind: 'late'; ms: number };

export interface CloudLinkOptions {
  model: CloudModel;
  clock: Clock;
  replica: string;
  /** Asked once for each call. */
  onCall?: ((call: CloudCall) => CloudFault | undefined) | undefined;
}

const NO_DELAY: { requestMs?: number; answerMs?: number } = {};
/** Each way. */
const LATENCY_MS = 10;
/** As the SDK waits for an answer. */
const TIMEOUT_MS = 20_000;

/** One replica's connection to the cloud model, in the time of a clock. A call that was sent arrives even if its replica ends. */
export class CloudLink {
  readonly #options: CloudLinkOptions;
  #isCut = false;

  constructor(options: CloudLinkOptions) {
    this.#options = options;
  }

  /** Stops sending, like a killed process. */
  cut(): void {
    this.#isCut = true;
  }

  readonly send: RpcSender = async (call, leave) => {
    const { model, clock, replica, onCall } = this.#options;
    if (this.#isCut) return new Promise(() => undefined);
    leave();
    const fault = onCall?.({ ...call, replica });
    const { requestMs = 0, answerMs = 0 } = fault?.kind === 'slow' ? fault : NO_DELAY;
    await clock.sleep(LATENCY_MS + requestMs);
    if (fault?.kind === 'refused') {
      await clock.sleep(LATENCY_MS);
      throw sdkError(fault.code, fault.status, 'refused by a fault', '');
    }
    if (fault?.kind === 'lost-request') return this.#silence();
    const arrive = () => model.apply({ ...call, accessKeyId: replica }, clock.now());
    if (fault?.kind === 'late') {
      clock.schedule(fault.ms, arrive);
      throw new Error('ConnectionReset');
    }
    const outcome = arrive();
    if (fault?.kind === 'lost-answer') return this.#silence();
    await clock.sleep(LATENCY_MS + outcome.delayMs + answerMs);
    if (outcome.ok) return fault?.kind === 'empty-id' ? { ...outcome.body, NetworkInterfaceId: '' } : outcome.body;
    const { code, status, message } = outcome.error;
    throw sdkError(code, status, message, outcome.requestId);
  };

  async #silence(): Promise<never> {
    await this.#options.clock.sleep(TIMEOUT_MS);
    throw new Error('ReadTimeout');
  }
}

/** As the official SDK throws a refusal. */
function sdkError(code: string, statusCode: number, message: string, requestId: string): Error {
  return Object.assign(new Error(message), { code, statusCode, requestId });
}
