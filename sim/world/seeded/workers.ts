import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Mutant } from './mutant.ts';
import { type Result, resultSchema, type Task } from './tasks.ts';

/**
 * Hands tasks in order to as many processes as there are processors.
 *
 * @param onResult returns whether to go on; tasks that were handed out before are finished.
 * @param mutant runs the product with this mistake.
 */
export async function runAll(
  tasks: readonly Task[],
  onResult: (result: Result) => boolean,
  mutant?: Mutant,
): Promise<void> {
  let isOver = false;
  const left = tasks[Symbol.iterator]();
  const processes = Array.from({ length: Math.min(tasks.length, availableParallelism()) }, async () => {
    const hook = mutant === undefined ? [] : ['--import', join(import.meta.dirname, 'mutate.ts')];
    const child = spawn(process.execPath, [...hook, join(import.meta.dirname, 'worker.ts')], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, TERWAY_MUTANT: mutant?.name },
    });
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    const next = () => {
      const { value, done } = isOver ? { value: undefined, done: true } : left.next();
      if (done === true) child.stdin.end();
      else child.stdin.write(`${JSON.stringify(value)}\n`);
    };
    next();
    for await (const line of createInterface({ input: child.stdout })) {
      if (!onResult(resultSchema.parse(JSON.parse(line)))) isOver = true;
      next();
    }
    const code = await ended;
    if (code !== 0) throw new Error(`a worker ended with code ${code}`);
  });
  await Promise.all(processes);
}

/** What became of a mutant. */
export interface Verdict {
  mutant: Mutant;
  /** The lowest seed that found the mistake; undefined when it survived. */
  killer: Killer | undefined;
  histories: number;
}

interface Killer {
  seed: number;
  problem: string;
}

/**
 * Runs seeds in order against the product with a mistake, until one finds it. A seed that breaks a promise without the mistake, too,
 * has found something else.
 *
 * @param run {@link runAll}
 */
export async function judge(mutant: Mutant, seeds: readonly number[], run: typeof runAll): Promise<Verdict> {
  let histories = 0;
  for (let left = seeds; ; ) {
    const found = await firstBroken(run, left, mutant);
    histories += found.histories;
    const { killer } = found;
    if (killer === undefined || (await firstBroken(run, [killer.seed])).killer === undefined) {
      return { mutant, killer, histories };
    }
    left = left.filter((seed) => seed > killer.seed);
  }
}

async function firstBroken(
  run: typeof runAll,
  seeds: readonly number[],
  mutant?: Mutant,
): Promise<{ killer: Killer | undefined; histories: number }> {
  let histories = 0;
  let killer: Killer | undefined;
  await run(
    seeds.map((seed) => ({ seed })),
    ({ task, problems: [problem] }) => {
      histories += 1;
      const isEarlier = 'seed' in task && task.seed < (killer?.seed ?? Number.POSITIVE_INFINITY);
      if (problem !== undefined && isEarlier) killer = { seed: task.seed, problem };
      return killer === undefined;
    },
    mutant,
  );
  return { killer, histories };
}
