import type { Term } from '../../../src/controllers/term.ts';
import type { CloudCall } from '../cloud-link.ts';
import type { WorldReplica } from '../replica.ts';
import type { World } from '../world.ts';
import type { ReplicaAct } from './acts.ts';
import type { SeededFaults } from './faults.ts';

/** A place among the replicas, like a pod of the Deployment: when its process is killed, another one follows. */
interface Place {
  current: WorldReplica | undefined;
  starts: number;
}

/** The replicas of a seeded world: carries out what a plan does to them, and starts those that were killed again. */
export class SeededReplicas {
  readonly #world: World;
  readonly #faults: SeededFaults;
  readonly #onFailure: (failure: string) => void;
  readonly #places: Place[];
  /** What the configuration file says. */
  #degradation: '' | 'l0' | 'l1' = '';
  #degradedUntilMs = 0;

  /** @param options.onFailure is called when a replica has ended by itself. */
  constructor(options: { world: World; faults: SeededFaults; count: number; onFailure: (failure: string) => void }) {
    this.#world = options.world;
    this.#faults = options.faults;
    this.#onFailure = options.onFailure;
    this.#places = Array.from({ length: options.count }, () => ({ current: undefined, starts: 0 }));
  }

  /** Starts those that do not run. */
  start(): void {
    for (const at of this.#places.keys()) this.#start(at);
  }

  /** The one that runs at a place. */
  at(place: number): WorldReplica | undefined {
    return this.#places[place]?.current;
  }

  /** Whether the configuration file forbids a call that is being sent. */
  forbids({ action }: Pick<CloudCall, 'action'>): boolean {
    return this.#degradation === 'l0' || (this.#degradation === 'l1' && /^(Unassign|Detach|Delete)/.test(action));
  }

  /** Nothing is forbidden from now on. */
  quiet(): void {
    this.#degrade('');
  }

  #degrade(degradation: '' | 'l0' | 'l1'): void {
    this.#degradation = degradation;
    for (const { current } of this.#places) current?.configure({ degradation });
  }

  /** The place of the replica with this name, as long as it runs. */
  placeOf(name: string): number | undefined {
    const at = this.#places.findIndex(({ current }) => current?.name === name);
    return at < 0 ? undefined : at;
  }

  /** The term of the replica with this name, if it leads. One that leads again has another. */
  termOf(name: string): Term | undefined {
    return this.#places.find(({ current }) => current?.name === name)?.current?.term;
  }

  /** @param forMs until the next one starts in its place */
  kill(at: number, forMs: number): void {
    const place = this.#places[at];
    if (place?.current === undefined) return;
    place.current.kill();
    place.current = undefined;
    this.#world.clock.schedule(forMs, () => this.#start(at));
  }

  killAll(forMs: number): void {
    for (const at of this.#places.keys()) this.kill(at, forMs);
  }

  perform(act: ReplicaAct): void {
    const { clock } = this.#world;
    const watches = (place: number, of = '') =>
      (this.at(place)?.transport.watches ?? []).filter(({ call }) => call.resource.startsWith(of));
    switch (act.kind) {
      case 'kill-replica':
        this.kill(act.replica, act.forMs);
        return;
      case 'stall-replica': {
        const name = this.at(act.replica)?.name;
        if (name !== undefined) this.#faults.stall(name, clock.monotonicMs() + act.forMs);
        return;
      }
      case 'freeze-watches':
        for (const watch of watches(act.replica)) watch.freeze();
        return;
      case 'break-watches':
        for (const watch of watches(act.replica)) watch.break();
        return;
      case 'degrade':
        this.#degrade(act.level);
        this.#degradedUntilMs = Math.max(this.#degradedUntilMs, clock.monotonicMs() + act.forMs);
        clock.schedule(act.forMs, () => {
          if (clock.monotonicMs() >= this.#degradedUntilMs) this.#degrade('');
        });
        return;
      case 'late-takeover':
      case 'torn-takeover': {
        const isTorn = act.kind === 'torn-takeover';
        const late = isTorn ? this.#candidate(act.replica) : act.replica;
        for (const watch of watches(late, isTorn ? `${act.frozen}.` : '')) watch.freeze();
        clock.schedule(act.afterMs, () => {
          for (const at of this.#places.keys()) if (at !== late) this.kill(at, act.forMs);
        });
      }
    }
  }

  /** The place, or the next one if its replica leads: that has nothing to take over. */
  #candidate(place: number): number {
    return this.at(place)?.term === undefined ? place : (place + 1) % this.#places.length;
  }

  #start(at: number): void {
    const place = this.#places[at];
    if (place === undefined || place.current !== undefined) return;
    place.starts += 1;
    const name = `replica-${at + 1}${'abcdefghijklmnopqrstuvwxyz'.charAt(place.starts - 1)}`;
    const replica = this.#world.startReplica(name);
    place.current = replica;
    replica.configure({ degradation: this.#degradation });
    const failed = (why: string) => {
      if (place.current !== replica) return;
      place.current = undefined;
      this.#onFailure(`${name} ended by itself: ${why}`);
    };
    replica.ended.then(
      () => failed('without an error'),
      (error: unknown) => failed(String(error)),
    );
  }
}
