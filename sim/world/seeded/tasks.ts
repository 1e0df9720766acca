import * as z from 'zod';
import { type CrashPoint, callsOf, LIVES, runWithCrash } from './crash-points.ts';
import { planOf } from './plan.ts';
import { type Outcome, runPlan } from './run.ts';

/** What a worker is given, a line each. */
export const taskSchema = z.union([
  z.object({ seed: z.number() }),
  z.object({
    life: z.enum(['control-plane', 'node', 'pool', 'pool-dual', 'pool-node']),
    call: z.number(),
    side: z.enum(['before', 'after']),
    againAfter: z.number().optional(),
  }),
]);
export type Task = z.output<typeof taskSchema>;

/** What it says of each. */
export const resultSchema = z.object({
  task: taskSchema,
  /** Of processors. */
  ms: z.number(),
  settledMs: z.number(),
  problems: z.array(z.string()),
  faults: z.record(z.string(), z.number()),
  acts: z.record(z.string(), z.number()),
  /** Calls at which a replica was killed, as `before create podenis`. */
  killedAt: z.array(z.string()),
});
export type Result = z.output<typeof resultSchema>;

/** After a restart, the calls at which it is killed once more. */
const RECOVERY_CALLS = 12;

/** Every crash point, alone and with a second one during the recovery. */
export async function everyCrash(): Promise<Task[]> {
  const lives = ['control-plane', 'node', 'pool', 'pool-dual', 'pool-node'] as const;
  return (await Promise.all(lives.map((life) => crashesOf(life)))).flat();
}

async function crashesOf(life: keyof typeof LIVES): Promise<Task[]> {
  const calls = await callsOf(LIVES[life]);
  const sides = ['before', 'after'] as const;
  return calls
    .map((_, at) => at + 1)
    .flatMap((call) =>
      sides.flatMap((side) => [
        { life, call, side },
        ...Array.from({ length: RECOVERY_CALLS }, (_, at) => ({ life, call, side, againAfter: at + 1 })),
      ]),
    );
}

/** Never rejects: a run that fails has a problem. */
export async function resultOf(task: Task): Promise<Result> {
  const before = process.cpuUsage();
  const outcome = await outcomeOf(task).catch((error: unknown) => ({
    problems: [`the run failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`],
    settledMs: 0,
    faults: new Map<string, number>(),
    acts: new Map<string, number>(),
    killedAt: [],
  }));
  const used = process.cpuUsage(before);
  return {
    task,
    ms: (used.user + used.system) / 1000,
    settledMs: outcome.settledMs,
    problems: [...outcome.problems],
    faults: Object.fromEntries(outcome.faults),
    acts: Object.fromEntries(outcome.acts),
    killedAt: [...outcome.killedAt],
  };
}

async function outcomeOf(task: Task): Promise<Outcome & { killedAt: readonly string[] }> {
  if ('seed' in task) return { ...(await runPlan(planOf(task.seed))), killedAt: [] };
  const { life, call, side, againAfter } = task;
  const point: CrashPoint = { call, side, ...(againAfter === undefined ? {} : { againAfter }) };
  const outcome = await runWithCrash(LIVES[life], point);
  return { ...outcome, killedAt: outcome.killedAt.map((name) => `${side} ${name}`) };
}
