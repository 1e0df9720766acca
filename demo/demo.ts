import { constants } from 'node:os';
import { join } from 'node:path';
import { shorten } from '../src/util/terminal/text.ts';
import { realNodeSupport } from '../test/cluster/real-nodes/support.ts';
import { isExecutable } from '../tools/programs/cache.ts';
import { Closers } from './closers.ts';
import { createScreen } from './create-screen.ts';
import { DemoError, Interruption } from './errors.ts';
import { plainExploration, realExploration, tellHowToExplore } from './explore.ts';
import { readableLog } from './log-tail.ts';
import { Narrator } from './narrator.ts';
import { PlainStage } from './plain-stage.ts';
import { takePlainTour } from './plain-tour.ts';
import { RealStage } from './real-stage.ts';
import { takeRealTour } from './real-tour.ts';

const OPTIONS = ['--once', '--plain', '--help', '-h'];
const USAGE = `usage: node demo/demo.ts [--once] [--plain]

Shows the product at work: a real cluster, a simulated cloud, pods that get their ENIs. Then the cluster goes on running
until Ctrl-C; with --once the command ends after the tour, with status 0, or 1 if something was wrong.

Nodes are namespaces of this machine with kubelets that run pods, where it allows that (root, Linux on x86-64, eBPF). Else,
and with --plain, they are objects without a machine.
`;

/** How far the demo is, which decides what Ctrl-C means. */
type Progress = 'touring' | 'exploring' | 'leaving';

async function main(args: readonly string[]): Promise<number> {
  const unknown = args.find((argument) => !OPTIONS.includes(argument));
  if (unknown !== undefined) {
    process.stderr.write(`demo: unknown argument "${unknown}"; there are --once and --plain\n`);
    return 2;
  }
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(USAGE);
    return 0;
  }
  const demo = new Demo();
  return demo.run({ once: args.includes('--once'), plain: args.includes('--plain') });
}

interface DemoOptions {
  once: boolean;
  plain: boolean;
}

class Demo {
  readonly #narrator = new Narrator(createScreen(process.stdout, process.env));
  readonly #closers = new Closers();
  readonly #stop = new AbortController();
  #progress: Progress = 'touring';
  #signals = 0;

  /** @returns the exit status; nothing runs any more then. */
  async run(options: DemoOptions): Promise<number> {
    this.#listen();
    try {
      const code = await this.#show(options);
      return (await this.#leave()) ? code : 1;
    } catch (error) {
      const code = this.#judge(error);
      return (await this.#leave()) ? code : Math.max(code, 1);
    } finally {
      this.#narrator.screen.restore();
    }
  }

  async #show(options: DemoOptions): Promise<number> {
    const obstacle = options.plain ? '--plain asks for that' : await realNodeObstacle();
    this.#narrator.title(
      'terway-controlplane: pods with network interfaces of their own',
      obstacle === undefined
        ? 'Real nodes with real pods, the real control plane and node agents; only the cloud and its wires are simulated.'
        : 'A real Kubernetes control plane and the real operator; the cloud is simulated, and nodes are objects without a ' +
            `machine: ${obstacle}.`,
    );
    const signal = await (obstacle === undefined ? this.#showRealNodes(options) : this.#showPlainNodes(options));
    if (options.once) return 0;
    this.#progress = 'exploring';
    await aborted(signal);
    throw signal.reason;
  }

  /** @returns what aborts when the demo is to end, or something has ended by itself. */
  async #showRealNodes({ once }: DemoOptions): Promise<AbortSignal> {
    const stage = await RealStage.start(this.#narrator, this.#closers, this.#stop.signal);
    await takeRealTour(this.#narrator, stage);
    if (!once) await tellHowToExplore(this.#narrator, stage, realExploration(stage));
    return stage.signal;
  }

  /** @returns the same. */
  async #showPlainNodes({ once }: DemoOptions): Promise<AbortSignal> {
    const stage = await PlainStage.start(this.#narrator, this.#closers, this.#stop.signal);
    await takePlainTour(this.#narrator, stage);
    if (!once) await tellHowToExplore(this.#narrator, stage, plainExploration(stage));
    return stage.signal;
  }

  /** Tells what went wrong. @returns the exit status that says so */
  #judge(error: unknown): number {
    const screen = this.#narrator.screen;
    screen.restore();
    // Whatever fails after a signal fails because of it.
    const reason: unknown = this.#stop.signal.aborted ? this.#stop.signal.reason : error;
    if (reason instanceof Interruption) {
      return this.#progress === 'exploring' ? 0 : 128 + constants.signals[reason.signal];
    }
    const [first = '', ...rest] = (reason instanceof Error ? reason.message : String(reason)).trim().split('\n');
    this.#narrator.fail(first);
    const details = reason instanceof DemoError ? reason.details : readableLog(rest.join('\n'));
    this.#narrator.lines(...details.map((line) => screen.style.dim(shorten(line, this.#narrator.width))));
    return 1;
  }

  /** Ends what runs and removes what was made. @returns whether that succeeded */
  async #leave(): Promise<boolean> {
    this.#progress = 'leaving';
    this.#narrator.lines('');
    const failures = await this.#narrator.step('clean-up', () => this.#closers.close());
    for (const failure of failures) this.#narrator.fail(`cleaning up: ${failure.message}`);
    return failures.length === 0;
  }

  #listen(): void {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => this.#onSignal(signal));
    }
    process.on('uncaughtException', (error) => this.#stop.abort(error));
    process.on('unhandledRejection', (error) => this.#stop.abort(error));
    for (const stream of [process.stdout, process.stderr]) {
      // Nobody reads any more: a pipe that was closed, a terminal that is gone.
      stream.on('error', () => this.#stop.abort(new Interruption('SIGPIPE')));
    }
  }

  #onSignal(signal: NodeJS.Signals): void {
    this.#signals += 1;
    this.#stop.abort(new Interruption(signal));
    if (this.#signals === 2) this.#narrator.note('Still ending the processes; Ctrl-C once more leaves at once.');
    // The children go with this process; the next demo removes the folder.
    if (this.#signals > 2) process.exit(128 + constants.signals[signal]);
  }
}

/** Why this machine cannot run real nodes; undefined when it can. */
async function realNodeObstacle(): Promise<string | undefined> {
  const support = await realNodeSupport();
  if (!support.supported) return support.reason;
  const assets = process.env['KUBEBUILDER_ASSETS'] ?? '';
  const hasKubelet = assets === '' || (await isExecutable(join(assets, 'kubelet')));
  return hasKubelet ? undefined : 'KUBEBUILDER_ASSETS has no kubelet; without that variable one is built';
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

const LINGER_MS = 3000;

process.exitCode = await main(process.argv.slice(2));
// Everything has ended; should something forgotten keep this process alive, it ends all the same.
setTimeout(() => process.exit(), LINGER_MS).unref();
