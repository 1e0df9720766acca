import type { CapturedFrame } from '../sim/vpc/protocol.ts';
import type { Capture, VpcSwitch } from '../sim/vpc/vpc-switch.ts';
import { Changes, type WaitOptions } from './changes.ts';
import { NEVER_MS } from './time.ts';

/** A frame and when the switch told of it. */
export interface SeenFrame extends CapturedFrame {
  seenMs: number;
}

/** Every frame that the switch handles from now on until it is disposed, in their order. */
export class FrameWatch implements AsyncDisposable {
  readonly #frames: SeenFrame[] = [];
  readonly #changes = new Changes();
  readonly #capture: Capture;
  readonly #over = new AbortController();

  private constructor(capture: Capture) {
    this.#capture = capture;
    const note = (frame: CapturedFrame) => {
      this.#frames.push({ ...frame, seenMs: performance.now() });
      this.#changes.notify();
      return false;
    };
    // A condition that never holds sees every frame. A switch that ends is noticed elsewhere.
    capture.frames.wait(note, { timeoutMs: NEVER_MS, signal: this.#over.signal }).catch(() => undefined);
  }

  static async start(vpc: VpcSwitch): Promise<FrameWatch> {
    return new FrameWatch(await vpc.capture());
  }

  get frames(): readonly SeenFrame[] {
    return this.#frames;
  }

  /** Resolves with the answer of `look` once it has one. @throws DeadlineError; the signal's reason */
  until<T>(look: (frames: readonly SeenFrame[]) => T | undefined, options: WaitOptions): Promise<T> {
    return this.#changes.until(() => look(this.#frames), options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort();
    await this.#capture[Symbol.asyncDispose]();
  }
}
