import { ANNOTATION_POD_UID } from '../../../src/crds/names.ts';
import type { World } from '../world.ts';
import { NAMESPACE } from './pods.ts';
import { nodeName } from './seeded-users.ts';
import type { SeededWorld } from './seeded-world.ts';

/** With more calls per minute it takes too many pods to have a line. */
const MOST_CALLS = 8;
const MINUTE_MS = 60_000;
/** Until a new node has its trunk. It needs a turn of two APIs. */
const TRUNK_MS = 3 * MINUTE_MS;
/** From the turn of a pod's first call on, as without a line: the calls of a move, and the time that the cloud takes for them. */
const MOVE_MS = 15_000;
/** What comes before or after the other must have been seen by the control plane. */
const SEEN_MS = 1000;
/** After so many turns by class, the oldest call has one (docs/design/allocation.md, "Quota"). */
const TURNS_BY_CLASS = 9;
/** Its PodNetworking; nothing else uses it, and its addresses are plenty. */
const NETWORKING = 'line';

/** Lets time pass. Returns whether the witness saw nothing wrong. */
type Pass = (untilMs: number) => Promise<boolean>;

/**
 * L3: who gets the turns when there are few. Fixed addresses of a node of their own are released and move, each of which begins with a
 * detach, so that there is a line of detaches. What matters is which of them the cloud was asked for when.
 */
export class Turns {
  readonly #seeded: SeededWorld;
  readonly #world: World;
  readonly #pass: Pass;
  readonly #node: number;
  readonly #perMinute: number;

  /**
   * @param options.node the number of a node that there is not yet
   * @param options.rateLimit calls per minute and API; undefined: the defaults
   */
  constructor(options: { seeded: SeededWorld; pass: Pass; node: number; rateLimit: number | undefined }) {
    this.#seeded = options.seeded;
    this.#world = options.seeded.world;
    this.#pass = options.pass;
    this.#node = options.node;
    this.#perMinute = options.rateLimit ?? Number.POSITIVE_INFINITY;
  }

  /** @returns who waited too long */
  async look(): Promise<string[]> {
    const perMinute = this.#perMinute;
    if (perMinute > MOST_CALLS) return [];
    const many = Array.from({ length: 2 * perMinute }, (_, at) => `line-${at}`);
    const [mover, leaver] = ['mover', 'leaver'];
    const isReady = await this.#prepare([...many, mover, leaver]);
    if (!isReady) return ['L3: pods that wait for quota do not all get their turn'];
    const problems = await this.#urgent(many, mover);
    if (problems.length > 0) return problems;
    for (const name of many) this.#create(name);
    if (!(await this.#allBound(many))) return ['L3: pods that return to their addresses do not all get their turn'];
    return this.#old(many, leaver);
  }

  async #prepare(names: readonly string[]): Promise<boolean> {
    const { podVSwitchId } = this.#world;
    this.#world.addNetworking(NETWORKING, { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '1h' }, [
      podVSwitchId,
    ]);
    this.#seeded.addNode(this.#node);
    const name = nodeName(this.#node);
    if (!(await this.#until(() => this.#world.trunkOf(name) !== undefined, TRUNK_MS))) return false;
    for (const each of names) this.#create(each);
    return this.#allBound(names);
  }

  /** A fixed address moves while releases wait: it needs the next turn. */
  async #urgent(many: readonly string[], mover: string): Promise<string[]> {
    await this.#nextMinute();
    for (const name of many) this.#delete(name);
    await this.#after(SEEN_MS);
    this.#replace(mover);
    const uid = this.#uidOf(mover);
    const withinMs = this.#restOfMinuteMs() + MOVE_MS;
    const hasMoved = await this.#until(() => this.#isBound(mover, uid), withinMs);
    if (!hasMoved) return [`L3: a fixed address that moves waits for longer than a minute behind releases`];
    await this.#until(() => many.every((name) => this.#isReserved(name)), 3 * MINUTE_MS);
    return [];
  }

  /** A release waits while fixed addresses move, more than there are turns: it needs one turn in ten. */
  async #old(many: readonly string[], leaver: string): Promise<string[]> {
    const perMinute = this.#perMinute;
    await this.#nextMinute();
    const moving = new Map<string, string>();
    const move = (names: readonly string[]) => {
      for (const name of names) {
        this.#replace(name);
        moving.set(name, this.#uidOf(name));
      }
    };
    move(many.slice(0, perMinute));
    await this.#after(SEEN_MS);
    this.#delete(leaver);
    await this.#after(SEEN_MS);
    move(many.slice(perMinute));
    const minutes = 1 + Math.ceil((TURNS_BY_CLASS + 1) / perMinute);
    const untilMs = this.#nowMs() + minutes * MINUTE_MS;
    while (!this.#isReserved(leaver) && this.#nowMs() < untilMs) {
      move(many.filter((name) => this.#isBound(name, moving.get(name) ?? '')));
      if (!(await this.#after(SEEN_MS))) return [];
    }
    if (this.#isReserved(leaver)) return [];
    return [`L3: a release waits for longer than ${minutes} minutes behind addresses that move`];
  }

  #create(name: string): void {
    const node = nodeName(this.#node);
    this.#world.createPod({ name, nodeName: node, networking: NETWORKING, ownerKind: 'StatefulSet' });
  }

  #delete(name: string): void {
    this.#world.deletePod(`${NAMESPACE}/${name}`, 0);
  }

  #replace(name: string): void {
    this.#delete(name);
    this.#create(name);
  }

  #uidOf(name: string): string {
    return this.#world.kube.peek('pods', { namespace: NAMESPACE, name })?.metadata.uid ?? '';
  }

  #isBound(name: string, uid: string): boolean {
    const podEni = this.#world.podEni(`${NAMESPACE}/${name}`);
    return podEni?.status?.phase === 'Bind' && podEni.metadata.annotations?.[ANNOTATION_POD_UID] === uid;
  }

  #isReserved(name: string): boolean {
    return this.#world.podEni(`${NAMESPACE}/${name}`)?.status?.phase === 'Unbind';
  }

  /** Each needs a turn of at most two APIs, one after the other. */
  #allBound(names: readonly string[]): Promise<boolean> {
    const minutes = 2 + Math.ceil(names.length / this.#perMinute);
    return this.#until(() => names.every((name) => this.#isBound(name, this.#uidOf(name))), minutes * MINUTE_MS);
  }

  #nowMs(): number {
    return this.#world.clock.monotonicMs();
  }

  /** The cloud counts by minutes of the clock. */
  #restOfMinuteMs(): number {
    return MINUTE_MS - (this.#world.clock.now() % MINUTE_MS);
  }

  /** Every turn of the new minute is free. */
  async #nextMinute(): Promise<void> {
    await this.#after(this.#restOfMinuteMs() + SEEN_MS);
  }

  async #until(holds: () => boolean, withinMs: number): Promise<boolean> {
    const untilMs = this.#nowMs() + withinMs;
    while (!holds() && this.#nowMs() < untilMs) {
      if (!(await this.#pass(Math.min(untilMs, this.#nowMs() + SEEN_MS)))) break;
    }
    return holds();
  }

  #after(ms: number): Promise<boolean> {
    return this.#pass(this.#nowMs() + ms);
  }
}
