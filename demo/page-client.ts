import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { Changes, type WaitOptions } from './changes.ts';
import { PAGE_PORT } from './real-samples.ts';
import type { RealStage } from './real-stage.ts';
import { NO_RESPONSE, type PodResponse } from './responses.ts';

const INTERVAL_MICROSECONDS = 200_000;
/** Should nobody be there to end it. */
const MOST_REQUESTS = 1500;

/** A pod that asks an address for its page, again and again, until it is disposed. */
export class PageClient implements AsyncDisposable {
  readonly #responses: PodResponse[] = [];
  readonly #changes = new Changes();
  readonly #child: ChildProcessByStdio<null, Readable, null>;
  readonly #closed: Promise<unknown>;

  private constructor(child: ChildProcessByStdio<null, Readable, null>) {
    this.#child = child;
    this.#closed = once(child, 'close');
    createInterface({ input: child.stdout }).on('line', (text) => {
      this.#responses.push({ text, atMs: performance.now() });
      this.#changes.notify();
    });
  }

  static start(stage: RealStage, from: string, address: string): PageClient {
    const ask = `timeout 1 wget -q -O - http://${address}:${PAGE_PORT}/ 2>/dev/null || echo ${NO_RESPONSE}`;
    const loop = `n=0; while [ $((n += 1)) -le ${MOST_REQUESTS} ]; do ${ask}; usleep ${INTERVAL_MICROSECONDS}; done`;
    const child = spawn(stage.cluster.binaries.path('kubectl'), ['exec', from, '--', 'sh', '-c', loop], {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { KUBECONFIG: stage.cluster.kubeconfigPath, HOME: stage.cluster.stateDir },
      // Ctrl-C in a terminal must reach only this process.
      detached: true,
    });
    return new PageClient(child);
  }

  get responses(): readonly PodResponse[] {
    return this.#responses;
  }

  /** Resolves when the last `times` responses all have this `text`. @throws DeadlineError; the signal's reason */
  async until(text: string, times: number, options: WaitOptions): Promise<void> {
    await this.#changes.until(() => {
      const last = this.#responses.slice(-times);
      return last.length === times && last.every((response) => response.text === text) ? true : undefined;
    }, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#closed;
  }
}
