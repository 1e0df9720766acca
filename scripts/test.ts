/**
 * Runs the checks and every test project, and ends with a summary line. Parts of one stage run in parallel, because most of
 * them wait more than they compute; the next stage starts only when all parts before it have passed.
 * `--only NAME[,NAME]` runs some of the parts in sequence and streams their output. `--keep-going` continues after a failed
 * part.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { stripVTControlCharacters } from 'node:util';
import * as z from 'zod';
import { readFlags } from '../tools/flags.ts';

const root = join(import.meta.dirname, '..');

interface Part {
  name: string;
  /** Number of shards of a project; each is a process with its own cluster. */
  shard?: string;
  /** Parts of the same stage that must end first. */
  after?: string;
  /** Whether it runs clusters with nodes: see {@link NODE_LANES}. */
  hasNodes?: boolean;
}

interface Stage {
  /** In starting order. */
  parts: readonly Part[];
  /** How many run at once, at least and, while the processors have time left, at most. */
  lanes: readonly [least: number, most: number];
}

/** A cluster with three nodes takes about 40 inotify instances, one without nodes 5; root's default limit is 128. */
const NODE_LANES = 2;

const part = (name: string): Part => ({ name });
const shards = (name: string, count: number, more: Omit<Part, 'name' | 'shard'> = {}): Part[] =>
  Array.from({ length: count }, (_, at) => ({ name, shard: `${at + 1}/${count}`, ...more }));

/** Prerequisites first, then fast checks, then the longest parts, so that none runs alone at the end. */
const STAGES: readonly Stage[] = [
  { parts: [part('build')], lanes: [1, 1] },
  {
    parts: [
      ...[part('check'), part('unit'), part('netns')],
      // Two at a time from the beginning, because they are a third of the work.
      ...shards('nodes', 8, { hasNodes: true }),
      // Checks that the machine is unchanged, so it must not overlap with netns, which mounts file systems.
      { name: 'cluster', after: 'netns', hasNodes: true },
      ...[part('vm'), ...shards('e2e', 4), ...shards('faults', 2).reverse(), part('integration')],
    ],
    // More parts would slow down busy cores, because waiting tests poll.
    lanes: [4, 6],
  },
];

const resultSchema = z.object({
  numPassedTests: z.number(),
  numFailedTests: z.number(),
  numPendingTests: z.number(),
  testResults: z.array(
    z.object({
      name: z.string(),
      status: z.string(),
      /** Why the file did not run. */
      message: z.string(),
      assertionResults: z.array(
        z.object({ fullName: z.string(), status: z.string(), failureMessages: z.array(z.string()).nullish() }),
      ),
    }),
  ),
});

/** Length limit of a message in the summary. */
const SUMMARY_LINES = 8;

const STILL_RUNNING_EVERY_MS = 60_000;

/** Another part begins when the processors were idle for this share of the time between two looks. */
const IDLE_SHARE = 0.3;
const IDLE_LOOK_MS = 10_000;

class Run {
  readonly counts = { passed: 0, failed: 0, skipped: 0 };
  /** Failures, repeated at the end because the output of their part may be far up. */
  readonly failures: string[] = [];
  ok = true;
  readonly #directory: string;
  readonly #keepGoing: boolean;
  #isEnded = false;
  /** Buffers output until the part has ended, because interleaved output is unreadable. */
  #buffered = false;
  readonly #running = new Map<string, number>();
  /** Parts that are not vitest projects. */
  readonly #commands: Readonly<Record<string, readonly [string, ...string[]]>>;

  constructor(directory: string, keepGoing: boolean) {
    this.#directory = directory;
    this.#keepGoing = keepGoing;
    const bundles = join(directory, 'bundles');
    this.#commands = {
      build: [process.execPath, join(root, 'scripts', 'prepare.ts'), '--bundles', bundles],
      check: ['npm', 'run', '--silent', 'check'],
    };
  }

  /** Whether new parts may start; after a failure only with `--keep-going`. */
  get goesOn(): boolean {
    return !this.#isEnded && (this.ok || this.#keepGoing);
  }

  /** Stop starting parts. */
  end(): void {
    this.ok = false;
    this.#isEnded = true;
  }

  async stage({ parts, lanes: [least, most] }: Stage): Promise<void> {
    this.#buffered = most > 1;
    const waiting = [...parts];
    const running = new Map<Part, Promise<void>>();
    const mayStart = (next: Part): boolean => {
      if (next.after !== undefined && [...waiting, ...running.keys()].some(({ name }) => name === next.after))
        return false;
      return next.hasNodes !== true || [...running.keys()].filter(({ hasNodes }) => hasNodes).length < NODE_LANES;
    };
    const startNext = (lanes: number): boolean => {
      const at = this.goesOn && running.size < lanes ? waiting.findIndex(mayStart) : -1;
      const [next] = at === -1 ? [] : waiting.splice(at, 1);
      if (next === undefined) return false;
      running.set(
        next,
        this.#part(next).finally(() => running.delete(next)),
      );
      return true;
    };
    for (;;) {
      while (startNext(least));
      if (running.size === 0) return;
      const look = new AbortController();
      const isIdle = running.size < most && waiting.some(mayStart) ? processorsIdle(look.signal) : undefined;
      const first = await Promise.race([...running.values(), ...(isIdle === undefined ? [] : [isIdle])]);
      look.abort();
      if (first === true) startNext(most);
    }
  }

  stillRunning(): void {
    const running = [...this.#running].map(([title, startedMs]) => `${title} (${seconds(startedMs)} s)`);
    if (running.length > 0) process.stdout.write(`... ${running.join(', ')}\n`);
  }

  async #part({ name, shard }: Part): Promise<void> {
    const title = shard === undefined ? name : `${name} ${shard}`;
    const startedMs = performance.now();
    this.#running.set(title, startedMs);
    if (!this.#buffered) process.stdout.write(`\n=== ${title}\n`);
    const report = join(this.#directory, `${title.replaceAll(/\W/g, '-')}.json`);
    const command = this.#commands[name];
    const { code, output } = await this.#execute(command ?? vitest(name, shard, report));
    const failures = command === undefined ? await this.#count(report) : [];
    this.#running.delete(title);
    if (code !== 0) {
      this.ok = false;
      const what = failures.length > 0 ? failures : [`exit code ${code}; its output is above`];
      this.failures.push(...what.map((text) => `${title}: ${text}`));
    }
    // The test harness takes them from there.
    else if (name === 'build') process.env['TERWAY_TEST_BUNDLES'] = join(this.#directory, 'bundles');
    if (this.#buffered) process.stdout.write(`\n=== ${title}\n${output}`);
    process.stdout.write(`=== ${title}: ${code === 0 ? 'ok' : 'FAILED'} after ${seconds(startedMs)} s\n`);
  }

  async #execute([command, ...args]: readonly [string, ...string[]]): Promise<{ code: number; output: string }> {
    const child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, NODE_COMPILE_CACHE: join(this.#directory, 'compiled') },
      stdio: ['ignore', ...(this.#buffered ? (['pipe', 'pipe'] as const) : (['inherit', 'inherit'] as const))],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? 1));
    return { code: await promise, output };
  }

  /** Counts the tests of a part and returns its failures. A part that ended without a report counts as zero tests. */
  async #count(report: string): Promise<string[]> {
    const text = await readFile(report, 'utf8').catch(() => undefined);
    if (text === undefined) {
      this.ok = false;
      return [];
    }
    const result = resultSchema.parse(JSON.parse(text));
    this.counts.passed += result.numPassedTests;
    this.counts.failed += result.numFailedTests;
    this.counts.skipped += result.numPendingTests;
    return result.testResults.flatMap(({ name, status, message, assertionResults }) => {
      const file = relative(root, name);
      const failed = assertionResults.filter((test) => test.status === 'failed');
      if (failed.length === 0 && status === 'failed') return [`${file}\n${firstLines(message)}`];
      return failed.map((test) => `${file}: ${test.fullName}\n${firstLines(test.failureMessages?.join('\n') ?? '')}`);
    });
  }
}

/** Resolves with true when the processors had time left for a while, or with false when the signal aborts. */
async function processorsIdle(signal: AbortSignal): Promise<boolean> {
  for (let before = processorTimes(); ; before = processorTimes()) {
    await delay(IDLE_LOOK_MS, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return false;
    const { idle, all } = processorTimes();
    if (idle - before.idle > IDLE_SHARE * (all - before.all)) return true;
  }
}

function processorTimes(): { idle: number; all: number } {
  const times = cpus().map((cpu) => cpu.times);
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  return { idle: sum(times.map(({ idle }) => idle)), all: sum(times.flatMap((each) => Object.values(each))) };
}

function firstLines(message: string): string {
  const lines = stripVTControlCharacters(message).split('\n').slice(0, SUMMARY_LINES);
  return lines.map((line) => `    ${line}`).join('\n');
}

function vitest(project: string, shard: string | undefined, report: string): [string, ...string[]] {
  return [
    ...([process.execPath, join(root, 'node_modules', 'vitest', 'vitest.mjs'), 'run', '--project', project] as const),
    ...(shard === undefined ? [] : [`--shard=${shard}`]),
    ...['--reporter=default', '--reporter=json', `--outputFile.json=${report}`],
  ];
}

function seconds(sinceMs: number): string {
  return ((performance.now() - sinceMs) / 1000).toFixed(0);
}

const flags = readFlags({ only: { type: 'string' }, 'keep-going': { type: 'boolean', default: false } });
const only = flags.only?.split(',');
const stages = only === undefined ? STAGES : [{ parts: only.map(part), lanes: [1, 1] as const }];

const startedMs = performance.now();
const directory = await mkdtemp(join(tmpdir(), 'terway-tests-'));
const run = new Run(directory, flags['keep-going']);
const heartbeat = setInterval(() => run.stillRunning(), STILL_RUNNING_EVERY_MS);
// The terminal's Ctrl-C reaches every part, and each cleans up on its own.
process.on('SIGINT', () => run.end());
try {
  for (const stage of stages) if (run.goesOn) await run.stage(stage);
} finally {
  clearInterval(heartbeat);
  await rm(directory, { recursive: true, force: true });
}
if (run.failures.length > 0) process.stdout.write(`\nFailed:\n${run.failures.join('\n')}\n`);
const { passed, failed, skipped } = run.counts;
process.stdout.write(`\nafter ${seconds(startedMs)} s\n${passed} passed, ${failed} failed, ${skipped} skipped\n`);
process.exitCode = run.ok && failed === 0 ? 0 : 1;
