import type { Statement } from '../../allocation/pool/conditions.ts';
import { dropMoot, holdsRecord, type PoolEnd } from '../../allocation/pool/leaving.ts';
import type { PoolStatus } from '../../allocation/pool/pool-view.ts';
import { release } from '../../allocation/pool/release.ts';
import { addressesOf } from '../../allocation/pool/view.ts';
import { poolWaits } from '../../allocation/pool/waits.ts';
import type { Informers } from '../../cluster/informers.ts';
import type { CoreNode } from '../../cluster/resources.ts';
import type { PoolIntent, TerwayNode } from '../../crds/node.ts';
import type { ReconcileResult } from '../../kube/controller.ts';
import type { Clock } from '../../util/clock.ts';
import { reportsRelease } from '../sandbox-reports.ts';
import type { PoolFigures } from './figures.ts';
import { PoolMemory } from './memory.ts';
import { performEach } from './perform.ts';
import { type PoolPodsContext, poolPods } from './pods.ts';
import type { PoolRecorder } from './recorder.ts';
import type { PoolReporter } from './reporter.ts';
import type { PoolSubject, PoolSubjects } from './subjects.ts';
import { sooner } from './times.ts';
import type { PoolWriter } from './writer.ts';

interface PoolEndingOptions extends PoolPodsContext {
  clock: Clock;
  informers: PoolPodsContext['informers'] & Pick<Informers, 'coreNodes' | 'nodeRuntimes'>;
  wakeNode: (name: string) => void;
  figures: PoolFigures;
  recorder: PoolRecorder;
  reporter: PoolReporter;
  subjects: PoolSubjects;
  writer: PoolWriter;
  /** Drops what is remembered of a node. */
  forget: (name: string) => void;
  /** Asks about vSwitches. @returns when to look again, epoch milliseconds */
  lookUp: (name: string, vSwitchIds: string[]) => number;
}

/** Ends what was asked for where a node has no pool: nothing is handed out, nothing is asked for, and nothing stays unrecorded. */
export class PoolEnding {
  readonly #options: PoolEndingOptions;

  constructor(options: PoolEndingOptions) {
    this.#options = options;
  }

  /** The record goes. It stays until what was asked for is recorded or given up, and the ENIs of a node that is gone are released. */
  async leave(node: TerwayNode, end: PoolEnd, signal: AbortSignal): Promise<'again' | ReconcileResult> {
    const { subjects, informers, forget, wakeNode } = this.#options;
    const { name } = node.metadata;
    forget(name);
    const change = (known: PoolStatus) => {
      if (end === 'keep') return subjects.dropRefused(node, known);
      dropMoot(known);
      const draft = { enis: known.networkInterfaces ?? {}, intents: known.poolIntents ?? [] };
      // A node that is gone tells of no sandbox any more.
      const words = { isGone: () => true, hasSandbox: () => false };
      // Pods of the earlier instance go with it, also those that its successor starts anew.
      const isReplaced = informers.coreNodes.store.get(name) !== undefined;
      release(draft, isReplaced ? [] : poolPods(this.#options, name, holdersIn(known)), words);
      return [];
    };
    const { written, unknown } = await this.#record(node, change, signal);
    if (!holdsRecord(written.status ?? {}, end)) {
      subjects.keep(name, []);
      wakeNode(name);
      return {};
    }
    const isDue = ({ intent }: PoolSubject) => end === 'release' || intent !== undefined;
    return this.#perform(written, unknown, isDue, signal);
  }

  /** Says why the node has no pool, also to the pods that wait for it. */
  async withoutPool(node: TerwayNode, why: Statement, signal: AbortSignal): Promise<'again' | ReconcileResult> {
    const { figures, reporter, subjects } = this.#options;
    const { name } = node.metadata;
    const change = (known: PoolStatus) => {
      reporter.addProblem(node, known, why);
      return subjects.dropRefused(node, known);
    };
    const { written, unknown } = await this.#record(node, change, signal);
    const unserved = this.#unserved(name, written.status ?? {});
    figures.note(name, Object.values(written.status?.networkInterfaces ?? {}), unserved.length);
    const toldAgainMs = this.#tell(name, unserved, why);
    const outcome = await this.#perform(written, unknown, isAskedFor, signal);
    return outcome === 'again' ? outcome : sooner(outcome, [toldAgainMs], this.#options.clock.now());
  }

  /**
   * Pools are turned off, or it is not known any more whether they are on. What was said of the node is taken back, once: then it is others
   * that say it. Where our agent runs nobody else gives pods addresses, and they are told.
   */
  async turnedOff(
    node: TerwayNode,
    core: CoreNode,
    why: Statement,
    signal: AbortSignal,
  ): Promise<'again' | ReconcileResult> {
    const { figures, forget, reporter, subjects, informers, clock } = this.#options;
    const { name } = node.metadata;
    const before = reporter.saidOf(node.status ?? {});
    const isOurs = reportsRelease(informers.nodeRuntimes.store.get(name));
    // It never had one, and Terway's daemon serves its pods.
    if (!isOurs && before === undefined && (node.status?.poolIntents ?? []).length === 0) {
      forget(name);
      subjects.keep(name, []);
      return {};
    }
    const isSaid = before === 'PoolOff' || before === why.reason;
    // Last of all the Node CR says so: until it does, everything is taken back once more.
    if (!isSaid && why.reason === 'PoolOff') await reporter.takeBack(core, signal);
    const change = (known: PoolStatus) => {
      if (!isSaid && why.reason === 'PoolOff') reporter.dropConditions(known);
      if (!isSaid) reporter.addProblem(node, known, why);
      return subjects.dropRefused(node, known);
    };
    const { written, unknown } = await this.#record(node, change, signal);
    // Elsewhere Terway's daemon gives pods their addresses.
    const unserved = isOurs ? this.#unserved(name, written.status ?? {}) : [];
    if (unserved.length === 0) forget(name);
    else figures.note(name, Object.values(written.status?.networkInterfaces ?? {}), unserved.length);
    const toldAgainMs = this.#tell(name, unserved, why);
    const outcome = await this.#perform(written, unknown, isAskedFor, signal);
    return outcome === 'again' ? outcome : sooner(outcome, [toldAgainMs], clock.now());
  }

  /** Writes what calls have brought, and what else is to change. @param change changes the status in place; returns intents that end */
  async #record(node: TerwayNode, change: (known: PoolStatus) => PoolIntent[], signal: AbortSignal) {
    const { recorder, writer, clock } = this.#options;
    const memory = new PoolMemory();
    const updated = recorder.update(node, memory, clock.now());
    updated.astray.push(...change(updated.status));
    const written = await writer.status(node, updated.status, signal);
    recorder.account(node, updated, memory);
    return { written, unknown: updated.unknown };
  }

  /** @param isDue whose next step is taken */
  async #perform(
    written: TerwayNode,
    unknown: string[],
    isDue: (subject: PoolSubject) => boolean,
    signal: AbortSignal,
  ): Promise<'again' | ReconcileResult> {
    const { subjects, clock, lookUp } = this.#options;
    const { name } = written.metadata;
    const all = subjects.of(written);
    subjects.keep(name, all);
    const outcome = await performEach(this.#options, all.filter(isDue), false, signal);
    if (outcome === 'again' || unknown.length === 0) return outcome;
    return sooner(outcome, [lookUp(name, unknown)], clock.now());
  }

  #unserved(name: string, status: PoolStatus) {
    const holders = holdersIn(status);
    return poolPods(this.#options, name, holders).filter(
      ({ uid, mayGet, reported }) => mayGet && reported.length === 0 && !holders.has(uid),
    );
  }

  #tell(name: string, unserved: ReturnType<typeof poolPods>, why: Statement): number | undefined {
    const waits = poolWaits({ unserved, succeeding: [], stale: [], untold: [], held: [] }, why);
    return this.#options.reporter.waiting(name, waits);
  }
}

function isAskedFor({ intent }: PoolSubject): boolean {
  return intent !== undefined;
}

/** Uids of pods that have an address. */
export function holdersIn({ networkInterfaces = {} }: PoolStatus): Set<string> {
  const addresses = Object.values(networkInterfaces).flatMap((eni) => addressesOf(eni));
  return new Set(addresses.flatMap(({ podUID = '' }) => (podUID === '' ? [] : [podUID])));
}
