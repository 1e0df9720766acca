import { nodeNameOf } from '../kubelets.ts';
import { NETWORKINTERFACES, NODES, PODENIS, PODNETWORKINGS, type World } from '../world.ts';
import type { SeededWorld } from './seeded-world.ts';

const PROBE = 'default/probe';
/** Until a pod is bound where a slot, an address and quota are there. The cloud takes 1.8 s of it. */
const BIND_MS = 10_000;
/** Until everything of a pod that is gone is gone: 5 s may be needed to trust the cloud, for both the ENI and its mirror. */
const RELEASE_MS = 60_000;
/** The same when no sandbox is in the way: the node answers at once, and `releaseConfirmation` (30 s) is not waited for. */
const ANSWERED_MS = 25_000;
/** Until the last mirror and status are written. */
const AFTERWARDS_MS = 15_000;
/** Until everything of the last pods is gone, with quota for a few calls per minute. */
const EMPTY_MS = 5 * 60_000;
/** Two rounds of the collector, and a check of each PodNetworking. */
const LAST_ROUNDS_MS = 150_000;
/** docs/design/allocation.md, "Records and their owners". */
const WORK = { bind: { writes: 5, calls: 2 }, release: { writes: 4, calls: 2 } };
/** Requests of one replica in an hour without events: its lease every 2 s, its watches, and nothing else. */
const IDLE_PER_HOUR = { get: 2000, list: 0, watch: 200 };
const HOUR_MS = 60 * 60_000;

/** Lets time pass. Returns whether the witness saw nothing wrong. */
type Pass = (untilMs: number) => Promise<boolean>;

/** Bounds of a settled system: what one pod costs, what idleness costs, and what is left when everything is gone. */
export class Bounds {
  readonly #seeded: SeededWorld;
  readonly #world: World;
  readonly #pass: Pass;

  constructor(seeded: SeededWorld, pass: Pass) {
    this.#seeded = seeded;
    this.#world = seeded.world;
    this.#pass = pass;
  }

  /** Starts counting requests of an idle system. @returns what was too much since */
  idle(): () => string[] {
    const startMs = this.#world.clock.monotonicMs();
    const before = this.#world.replicas.map((replica) => ({ replica, requests: replica.requests }));
    return () => {
      const hours = (this.#world.clock.monotonicMs() - startMs) / HOUR_MS;
      return before.flatMap(({ replica, requests }) =>
        (['get', 'list', 'watch'] as const).flatMap((verb) => {
          const count = replica.requests[verb] - requests[verb];
          const isFine = count <= Math.ceil(IDLE_PER_HOUR[verb] * hours);
          return isFine ? [] : [`idle: ${replica.name} sends ${Math.round(count / hours)} ${verb} requests per hour`];
        }),
      );
    };
  }

  /** One more pod comes and goes. @returns what took too long or cost too much */
  async probe(): Promise<string[]> {
    const nodeName = this.#nodeWithRoom();
    if (nodeName === undefined) return [];
    const work = countWork(this.#world);
    this.#createProbe(nodeName);
    const isBound = await this.#until(() => this.#world.isBound(PROBE), BIND_MS);
    if (!isBound)
      return [`bind: a pod with room on ${nodeName} has no network after ${BIND_MS / 1000} s (${this.#hindrance()})`];
    await this.#after(AFTERWARDS_MS);
    const problems = work.take('bind', WORK.bind);
    this.#world.deletePod(PROBE, 0);
    const isGone = await this.#until(() => this.#world.podEni(PROBE) === undefined, RELEASE_MS);
    if (!isGone) problems.push(`release: the PodENI of a pod outlives it by ${RELEASE_MS / 1000} s`);
    await this.#after(AFTERWARDS_MS);
    problems.push(...work.take('release', WORK.release));
    work.end();
    return problems;
  }

  /** A pod goes before its kubelet has started it. @returns what took too long */
  async unstarted(): Promise<string[]> {
    const nodeName = this.#nodeWithRoom((name) => this.#world.machines.has(name));
    const machine = this.#world.machines.get(nodeName ?? '');
    if (nodeName === undefined || machine === undefined) return [];
    machine.kubelet.pause();
    this.#createProbe(nodeName);
    await this.#until(() => this.#world.isBound(PROBE), BIND_MS);
    this.#world.deletePod(PROBE, 0);
    machine.kubelet.resume();
    const isGone = await this.#until(() => this.#world.podEni(PROBE) === undefined, ANSWERED_MS);
    await this.#after(AFTERWARDS_MS);
    return isGone ? [] : [`release: ${nodeName} does not say that a pod never had a sandbox`];
  }

  /** Everything goes: pods, records, nodes, PodNetworkings. @returns what is left in cluster, cloud or memory */
  async emptied(): Promise<string[]> {
    const { kube, cloud } = this.#world;
    this.#seeded.users.removePods();
    await this.#until(() => isEmpty(this.#world, [PODENIS, NETWORKINTERFACES]), EMPTY_MS);
    await this.#after(AFTERWARDS_MS);
    const inAgents = this.#heldByAgents();
    this.#seeded.removeNodes();
    await this.#until(() => isEmpty(this.#world, [NODES]), EMPTY_MS);
    this.#seeded.users.removeNetworkings();
    this.#seeded.users.removeForeignEnis();
    await this.#after(LAST_ROUNDS_MS);
    const objects = [PODENIS, NETWORKINTERFACES, NODES, PODNETWORKINGS].flatMap((resource) =>
      kube.objects(resource).map(({ metadata }) => `left: ${resource} ${metadata.name}`),
    );
    const enis = cloud.enis().map(({ id, status }) => `left: ${id} (${status})`);
    return [...objects, ...enis, ...this.#held(), ...inAgents];
  }

  /** What the probe waits for. */
  #hindrance(): string {
    const places = this.#world.replicas.flatMap(({ term }) => term?.pendingPods.places() ?? []);
    const place = places.find(({ pods }) => pods.includes(PROBE));
    return place === undefined ? 'it waits for nothing' : JSON.stringify(place.waitsFor);
  }

  /** Entries in the memory of the leader. */
  #held(): string[] {
    return this.#world.replicas.flatMap(({ name, leaderState }) => stillHeld(name, leaderState?.held ?? {}));
  }

  /** Entries in the memory of the agents. */
  #heldByAgents(): string[] {
    return [...this.#world.machines.values()].flatMap(({ agent }) =>
      agent === undefined ? [] : stillHeld(agent.name, agent.held),
    );
  }

  #createProbe(nodeName: string): void {
    this.#world.createPod({ name: PROBE.split('/')[1] ?? '', nodeName });
  }

  /** A node of these whose trunk has a free slot, if there is an address, too. */
  #nodeWithRoom(isWanted: (name: string) => boolean = () => true): string | undefined {
    if (!this.#seeded.hasAddress('elastic')) return undefined;
    const { nodes } = this.#world.state();
    const pods = this.#world.kube.objects('pods');
    return nodes.find(({ metadata, spec }) => {
      if (!isWanted(metadata.name)) return false;
      const used = pods.filter((pod) => nodeNameOf(pod) === metadata.name).length;
      return this.#world.trunkOf(metadata.name) !== undefined && used < (spec.nodeCap?.memberAdapterLimit ?? 0);
    })?.metadata.name;
  }

  /** @returns whether the condition came to hold */
  async #until(holds: () => boolean, withinMs: number): Promise<boolean> {
    const { clock } = this.#world;
    const untilMs = clock.monotonicMs() + withinMs;
    while (!holds() && clock.monotonicMs() < untilMs) {
      if (!(await this.#pass(Math.min(untilMs, clock.monotonicMs() + 250)))) break;
    }
    return holds();
  }

  async #after(ms: number): Promise<void> {
    await this.#pass(this.#world.clock.monotonicMs() + ms);
  }
}

function stillHeld(name: string, held: Readonly<Record<string, number>>): string[] {
  return Object.entries(held)
    .filter(([, count]) => count > 0)
    .map(([holder, count]) => `memory: ${name} still holds ${count} entries in ${holder}`);
}

function isEmpty({ kube }: World, resources: readonly string[]): boolean {
  return resources.every((resource) => kube.objects(resource).length === 0);
}

/** Counts writes of records and mirrors, and calls that change the cloud. */
function countWork({ kube, cloud }: World) {
  let [writes, calls] = [0, 0];
  const ends = [
    kube.subscribe(({ resource, actor }) => {
      if (actor.startsWith('replica') && (resource === PODENIS || resource === NETWORKINTERFACES)) writes += 1;
    }),
    cloud.subscribe(({ kind, action }) => {
      if (kind === 'call' && !action.startsWith('Describe')) calls += 1;
    }),
  ];
  return {
    /** What is above the bounds since the last call. */
    take(what: string, most: { writes: number; calls: number }): string[] {
      const problems = [
        ...(writes > most.writes ? [`${what}: ${writes} writes for one pod, not ${most.writes}`] : []),
        ...(calls > most.calls ? [`${what}: ${calls} calls for one pod, not ${most.calls}`] : []),
      ];
      [writes, calls] = [0, 0];
      return problems;
    },
    end: () => {
      for (const end of ends) end();
    },
  };
}
