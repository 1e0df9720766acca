import type { Step } from './acts.ts';
import { Bounds } from './bounds.ts';
import { type FaultKind, type Plan, traitsOf } from './plan.ts';
import { SeededWorld } from './seeded-world.ts';
import { Turns } from './turns.ts';
import { Witness } from './witness.ts';

/** When every fault has ended, how long the system may take to settle: an orphan is ten minutes old when it is collected. */
const SETTLE_MS = 30 * 60_000;
/**
 * Until the last status is written, the last look at the cloud taken, the last silent watch replaced (150 s, and a back-off of
 * 30 s), and what that brought late is released: an ENI that may have been created is looked for until 30 s after its plan.
 */
const WIND_DOWN_MS = 215_000;
/** A settled system is watched for this long. */
const CALM_MS = 3 * 60_000;
/** After the last step, before the faults end. */
const AFTERMATH_MS = 20_000;

/** What a run has shown. */
export interface Outcome {
  /** Empty when everything held. */
  problems: readonly string[];
  /** Which step came last before the first problem. */
  lastStep: Step | undefined;
  /** Virtual milliseconds from the end of the faults until the system was settled. */
  settledMs: number;
  faults: ReadonlyMap<FaultKind, number>;
  acts: ReadonlyMap<string, number>;
}

/** Runs a plan from its beginning until the system is settled and calm, or until something is wrong. */
export async function runPlan(plan: Plan, onWorld: (seeded: SeededWorld) => void = () => undefined): Promise<Outcome> {
  const seeded = new SeededWorld(plan);
  onWorld(seeded);
  const run = new Run(plan, seeded);
  try {
    return await run.outcome();
  } finally {
    run.end();
  }
}

class Run {
  readonly #plan: Plan;
  readonly #seeded: SeededWorld;
  readonly #witness: Witness;
  readonly #acts = new Map<string, number>();
  #problems: string[] = [];
  #lastStep: Step | undefined;

  constructor(plan: Plan, seeded: SeededWorld) {
    this.#plan = plan;
    this.#seeded = seeded;
    for (const trait of traitsOf(plan)) this.#acts.set(trait, 1);
    this.#witness = new Witness(seeded, plan.rateLimit);
  }

  async outcome(): Promise<Outcome> {
    const settledMs = await this.#all();
    const { faults } = this.#seeded;
    return { problems: this.#problems, lastStep: this.#lastStep, settledMs, faults: faults.counts, acts: this.#acts };
  }

  end(): void {
    this.#witness.end();
    this.#seeded.end();
  }

  async #all(): Promise<number> {
    const { clock } = this.#seeded.world;
    const startMs = clock.monotonicMs();
    for (const step of this.#plan.steps) {
      if (!(await this.#pass(startMs + step.atMs))) return 0;
      this.#lastStep = step;
      this.#acts.set(step.act.kind, (this.#acts.get(step.act.kind) ?? 0) + 1);
      this.#seeded.perform(step.act);
      if (!this.#isFine()) return 0;
    }
    if (!(await this.#pass(clock.monotonicMs() + AFTERMATH_MS))) return 0;
    this.#seeded.quiet();
    const quietMs = clock.monotonicMs();
    await this.#settle(quietMs + SETTLE_MS);
    const settledMs = clock.monotonicMs() - quietMs;
    // A crash from here on would only test the start.
    this.#seeded.onCall = () => undefined;
    if (await this.#pass(clock.monotonicMs() + WIND_DOWN_MS)) await this.#holdToBounds();
    return settledMs;
  }

  /** L2, and the bounds of a settled system, until something is wrong. */
  async #holdToBounds(): Promise<void> {
    const seeded = this.#seeded;
    const pass = (untilMs: number) => this.#pass(untilMs);
    const bounds = new Bounds(seeded, pass);
    const turns = new Turns({ seeded, pass, node: this.#plan.nodes, rateLimit: this.#plan.rateLimit });
    const looks = [
      () => this.#stayCalm(bounds.idle()),
      () => bounds.probe(),
      () => bounds.unstarted(),
      () => bounds.shared(),
      () => turns.look(),
      () => bounds.slots(),
      () => bounds.emptied(),
    ];
    for (const look of looks) {
      const found = await look();
      // What the witness saw meanwhile comes first.
      if (this.#isFine()) this.#problems.push(...found);
      if (this.#problems.length > 0) return;
    }
  }

  /** Lets time pass. @returns whether nothing is wrong */
  async #pass(untilMs: number): Promise<boolean> {
    const { clock } = this.#seeded.world;
    while (this.#isFine()) if (!(await clock.step(untilMs))) break;
    if (this.#problems.length > 0) return false;
    await clock.advance(untilMs - clock.monotonicMs());
    return this.#isFine();
  }

  async #settle(untilMs: number): Promise<void> {
    const { clock } = this.#seeded.world;
    // A look at everything for each second is enough.
    for (let nextMs = clock.monotonicMs(); ; nextMs += 1000) {
      if (!(await this.#pass(nextMs))) return;
      this.#seeded.attend();
      this.#seeded.nodes.attend();
      const open = this.#witness.unsettled();
      if (open.length === 0) return;
      if (nextMs >= untilMs) {
        this.#problems = open.map((problem) => `L1: not settled in ${SETTLE_MS / 60_000} minutes: ${problem}`);
        return;
      }
    }
  }

  /** L2: a settled system writes nothing but its lease, changes nothing and asks for next to nothing. */
  async #stayCalm(askedTooMuch: () => string[]): Promise<string[]> {
    const { kube, cloud } = this.#seeded.world;
    const writes: string[] = [];
    const calls: string[] = [];
    const ends = [
      kube.subscribe(({ actor, resource, verb, key }) => {
        if (actor !== 'user' && actor !== 'kubelet' && !resource.startsWith('leases.'))
          writes.push(`${verb} ${resource} ${key}`);
      }),
      cloud.subscribe(({ kind, action }) => {
        if (kind === 'call' && !action.startsWith('Describe')) calls.push(action);
      }),
    ];
    await this.#pass(this.#seeded.world.clock.monotonicMs() + CALM_MS);
    for (const end of ends) end();
    return [...[...writes, ...calls].map((what) => `L2: the settled system still does ${what}`), ...askedTooMuch()];
  }

  #isFine(): boolean {
    this.#problems.push(...this.#witness.look());
    return this.#problems.length === 0;
  }
}
