import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import * as z from 'zod';
import { TOOLS } from '../src/datapath/test-support/datapath-lab.ts';
import { runChecked } from '../test/cluster/command.ts';

const NSENTER = 'nsenter';

const floodSchema = z.object({ sent: z.number(), cpuNs: z.number(), wallNs: z.number() });

/** The cost of a packet flood. */
export type Flood = z.infer<typeof floodSchema>;

/**
 * Sends packets as fast as possible (native/test/flood.c).
 *
 * @param command `flood-udp` or `flood-link`, with its arguments
 */
export async function flood(netns: string, ...command: string[]): Promise<Flood> {
  const text = await runChecked(NSENTER, [`--net=/run/netns/${netns}`, TOOLS.frames, ...command]);
  return floodSchema.parse(JSON.parse(text));
}

/** The kernel's count of packets that a link has received. */
export async function receivedPackets(netns: string, link: string): Promise<number> {
  const schema = z.tuple([z.object({ stats64: z.object({ rx: z.object({ packets: z.number() }) }) })]);
  const text = await runChecked('ip', ['-n', netns, '-s', '-j', 'link', 'show', link]);
  return schema.parse(JSON.parse(text))[0].stats64.rx.packets;
}

/** A running command of the tool, and the lines that it prints. Ends when disposed. */
export class FramesProcess implements AsyncDisposable {
  readonly lines: string[] = [];
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #wakers = new Set<() => void>();
  #isReady = false;
  #hasEnded = false;

  private constructor(netns: string, command: readonly string[]) {
    this.#child = spawn(NSENTER, [`--net=/run/netns/${netns}`, TOOLS.frames, ...command], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      if (line === 'ready') this.#isReady = true;
      else this.lines.push(line);
      this.#wake();
    });
    this.#child.once('close', () => {
      this.#hasEnded = true;
      this.#wake();
    });
  }

  /** @throws Error when the command ends before it is ready */
  static async start(netns: string, ...command: string[]): Promise<FramesProcess> {
    const started = new FramesProcess(netns, command);
    await started.#until(() => started.#isReady);
    return started;
  }

  /** Resolves when a line has this text. */
  async printed(text: string): Promise<void> {
    await this.#until(() => this.lines.some((line) => line.includes(text)));
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.#hasEnded) throw new Error(`${this.#child.spawnargs.join(' ')} ended`);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wakers.add(resolve);
      await promise;
      this.#wakers.delete(resolve);
    }
  }

  #wake(): void {
    for (const wake of this.#wakers) wake();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (this.#hasEnded) return;
    this.#child.once('close', () => resolve());
    this.#child.stdin.end();
    await promise;
  }
}
