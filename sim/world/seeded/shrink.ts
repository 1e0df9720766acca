import type { Step } from './acts.ts';
import type { FaultKind, FaultRates, Plan } from './plan.ts';
import { ORDINARY } from './surroundings.ts';

/** More runs than this are not worth the wait. */
const MOST_RUNS = 400;

/**
 * A smaller plan that breaks the same invariant: fewer steps, kinds of faults and replicas. What is left out changes everything
 * that follows by chance, so the result is small, not smallest.
 *
 * @param problemsOf runs a plan and says what was wrong.
 * @param onProgress is called with each smaller plan.
 */
export async function shrink(
  plan: Plan,
  problemsOf: (plan: Plan) => Promise<readonly string[]>,
  onProgress: (plan: Plan) => void = () => undefined,
): Promise<Plan> {
  const kind = kindOf(await problemsOf(plan));
  let smallest = plan;
  let runs = 0;
  const tries = async (candidate: Plan): Promise<boolean> => {
    runs += 1;
    const isSame = runs <= MOST_RUNS && kindOf(await problemsOf(candidate)) === kind;
    if (!isSame) return false;
    smallest = candidate;
    onProgress(candidate);
    return true;
  };
  for (let before: Plan | undefined; before !== smallest && runs < MOST_RUNS; ) {
    before = smallest;
    while (smallest.replicas > 1 && (await tries({ ...smallest, replicas: smallest.replicas - 1 })));
    if (smallest.surroundings !== ORDINARY) await tries({ ...smallest, surroundings: ORDINARY });
    if (smallest.pool !== undefined) await tries({ ...smallest, pool: undefined });
    if (smallest.stack !== 'ipv4') await tries({ ...smallest, stack: 'ipv4' });
    for (const agent of smallest.agents)
      await tries({ ...smallest, agents: smallest.agents.filter((other) => other !== agent) });
    await withoutFaults(() => smallest, tries);
    await withoutSteps(() => smallest, tries);
  }
  return smallest;
}

type Tries = (candidate: Plan) => Promise<boolean>;

async function withoutFaults(current: () => Plan, tries: Tries): Promise<void> {
  if (Object.keys(current().rates).length > 0 && (await tries({ ...current(), rates: {} }))) return;
  for (const kind of Object.keys(current().rates)) await tries({ ...current(), rates: without(current().rates, kind) });
}

/** Halves, quarters, and so on to single steps. */
async function withoutSteps(current: () => Plan, tries: Tries): Promise<void> {
  for (let size = Math.ceil(current().steps.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < current().steps.length; ) {
      const steps: readonly Step[] = current().steps.filter((_, index) => index < at || index >= at + size);
      if (!(await tries({ ...current(), steps }))) at += size;
    }
  }
}

function without(rates: FaultRates, left: string): FaultRates {
  const kept: Partial<Record<FaultKind, number>> = { ...rates };
  for (const kind of Object.keys(kept)) if (kind === left) Reflect.deleteProperty(kept, kind);
  return kept;
}

/** Which invariant was broken first; ids differ between runs. */
function kindOf([first = '']: readonly string[]): string {
  return first.replaceAll(/\b(eni|i)-\w+|\d+/g, '').slice(0, 60);
}
