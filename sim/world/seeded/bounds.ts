import { addressesOf } from '../../../src/allocation/pool/view.ts';
import { nodeNameOf } from '../kubelets.ts';
import { NETWORKINTERFACES, NODES, PODENIS, PODNETWORKINGS, type World } from '../world.ts';
import { isShared } from './pods.ts';
import type { SeededWorld } from './seeded-world.ts';

const PROBE = 'default/probe';
/** Until a pod is bound where a slot, an address and quota are there. The cloud takes 1.8 s of it. */
const BIND_MS = 10_000;
/** Until everything of a pod that is gone is gone: 5 s may be needed to trust the cloud, for both the ENI and its mirror. */
const RELEASE_MS = 60_000;
/** The same when no sandbox is in the way: the node answers at once, and `releaseConfirmation` (30 s) is not waited for. */
const ANSWERED_MS = 25_000;
/** Until an address is free whose pod is deleted: containers end, and the node says so. */
const FREE_MS = 10_000;
/** The cloud counts calls by clock minute. */
const QUOTA_MS = 60_000;
/** Until the last mirror and status are written. */
const AFTERWARDS_MS = 15_000;
/** Until everything of the last pods is gone, with quota for a few calls per minute. */
const EMPTY_MS = 5 * 60_000;
/** Of a node that is soon full. */
const FEW_SLOTS = 3;
/** Until the control plane has seen a pod. */
const SEEN_MS = 1000;
/** Two rounds of the collector, and a check of each PodNetworking. */
const LAST_ROUNDS_MS = 150_000;
/** docs/design/allocation.md, "Records and their owners". */
const WORK = { bind: { writes: 5, calls: 2 }, release: { writes: 4, calls: 2 } };
/** Requests of one replica in an hour without events: its lease every 2 s, its watches, and nothing else. */
const IDLE_PER_HOUR = { get: 2000, list: 0, watch: 200 };
const HOUR_MS = 60 * 60_000;
/** `podNetworkingRecheck` (1 min) less its jitter. Each check asks for vSwitches and for security groups. */
const CHECK_MS = 54_000;
/** The same while pods wait for an address. */
const FULL_CHECK_MS = 15_000;
/** `collector.interval`, by default (docs/configuration.md), and what its jitter takes off. */
const COLLECTOR_MS = 60_000;
const COLLECTOR_JITTER = 0.1;

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

  /** Starts counting requests and reads of an idle system. @returns what was too much since */
  idle(): () => string[] {
    const startMs = this.#world.clock.monotonicMs();
    const before = this.#world.replicas.map((replica) => ({ replica, requests: replica.requests }));
    const reads = countReads(this.#world);
    return () => {
      const ms = this.#world.clock.monotonicMs() - startMs;
      const hours = ms / HOUR_MS;
      const tooMany = before.flatMap(({ replica, requests }) =>
        (['get', 'list', 'watch'] as const).flatMap((verb) => {
          const count = replica.requests[verb] - requests[verb];
          const isFine = count <= Math.ceil(IDLE_PER_HOUR[verb] * hours);
          return isFine ? [] : [`idle: ${replica.name} sends ${Math.round(count / hours)} ${verb} requests per hour`];
        }),
      );
      const most = this.#readsWithin(ms);
      const looks = [...reads.end()].flatMap(([action, count]) =>
        count <= (most[action] ?? 0) ? [] : [`idle: ${Math.round(count / hours)} calls of ${action} per hour`],
      );
      return [...tooMany, ...looks];
    };
  }

  /** How often the cloud may be asked while nothing happens: by the periods of collector and PodNetworkings, once more for the edges. */
  #readsWithin(ms: number): Readonly<Record<string, number>> {
    const checks = this.#world.kube.objects(PODNETWORKINGS).reduce((sum, { metadata: { name } }) => {
      const everyMs = this.#seeded.hasAddress(name) ? CHECK_MS : FULL_CHECK_MS;
      return sum + Math.floor(ms / everyMs) + 1;
    }, 0);
    const roundMs = (this.#seeded.collectorMs ?? COLLECTOR_MS) * (1 - COLLECTOR_JITTER);
    const DescribeNetworkInterfaces = Math.floor(ms / roundMs) + 1;
    return { DescribeVSwitches: checks, DescribeSecurityGroups: checks, DescribeNetworkInterfaces };
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

  /** A pod comes and goes that shares the ENIs of its node. @returns what took too long */
  async shared(): Promise<string[]> {
    const { machines } = this.#world;
    const nodeName = [...machines.keys()].find((name) => this.#world.nodeRecord(name)?.spec.pool !== undefined);
    if (nodeName === undefined) return [];
    const [namespace, name] = ['default', 'shared-probe'];
    const hasAddress = () => {
      const enis = Object.values(this.#world.nodeRecord(nodeName)?.status?.networkInterfaces ?? {});
      return enis.some((eni) => addressesOf(eni).some(({ podID }) => podID === `${namespace}/${name}`));
    };
    this.#world.createPod({ name, nodeName, networking: 'none' });
    if (!(await this.#until(hasAddress, EMPTY_MS)))
      return [`bind: a pod that shares ENIs of ${nodeName} has no address`];
    await this.#after(AFTERWARDS_MS);
    this.#world.deletePod(`${namespace}/${name}`);
    const isFree = await this.#until(() => !hasAddress(), FREE_MS);
    await this.#after(AFTERWARDS_MS);
    return isFree ? [] : [`release: the address of a pod outlives it by ${FREE_MS / 1000} s`];
  }

  /** A pod goes before its kubelet has started it. @returns what took too long */
  async unstarted(): Promise<string[]> {
    const nodeName = this.#nodeWithRoom((name) => this.#world.machines.has(name));
    const machine = this.#world.machines.get(nodeName ?? '');
    if (nodeName === undefined || machine === undefined) return [];
    // A leader that has been throttled may have learnt that one call is left of each minute.
    await this.#after(QUOTA_MS - (this.#world.clock.now() % QUOTA_MS));
    machine.kubelet.pause();
    this.#createProbe(nodeName);
    await this.#until(() => this.#world.isBound(PROBE), BIND_MS);
    this.#world.deletePod(PROBE, 0);
    machine.kubelet.resume();
    const isGone = await this.#until(() => this.#world.podEni(PROBE) === undefined, ANSWERED_MS);
    await this.#after(AFTERWARDS_MS);
    return isGone ? [] : [`release: ${nodeName} does not say that a pod never had a sandbox`];
  }

  /** L3: of two pods that wait for a slot of a full node, the first one gets it. @returns who was overtaken */
  async slots(): Promise<string[]> {
    const { kube, podVSwitchId } = this.#world;
    const podsOf = (name: string) => kube.objects('pods').filter((pod) => nodeNameOf(pod) === name && !isShared(pod));
    const small = this.#world.state().nodes.flatMap(({ metadata: { name }, spec }) => {
      const left = (spec.nodeCap?.memberAdapterLimit ?? 0) - podsOf(name).length;
      return this.#world.trunkOf(name) !== undefined && left >= 0 && left <= FEW_SLOTS
        ? [{ nodeName: name, left }]
        : [];
    });
    const [found] = small;
    if (found === undefined) return [];
    const { nodeName, left } = found;
    const networking = 'slots';
    this.#world.addNetworking(networking, { type: 'Elastic' }, [podVSwitchId]);
    for (let at = 0; at < left; at += 1) this.#world.createPod({ name: `filler-${at}`, nodeName, networking });
    const keys = podsOf(nodeName).map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
    const isFull = await this.#until(() => keys.every((key) => this.#world.isBound(key)), EMPTY_MS);
    // Some may wait for an address.
    if (!isFull) return [];
    for (const name of ['early', 'late']) {
      this.#world.createPod({ name, nodeName, networking });
      await this.#after(SEEN_MS);
    }
    this.#world.deletePod(keys[0] ?? '', 0);
    const [early, late] = ['default/early', 'default/late'];
    await this.#until(() => this.#world.isBound(early) || this.#world.isBound(late), EMPTY_MS);
    if (this.#world.isBound(early)) return [];
    return [`L3: a slot of ${nodeName} goes to ${this.#world.isBound(late) ? 'a pod that came later' : 'nobody'}`];
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
      const used = pods.filter((pod) => nodeNameOf(pod) === metadata.name && !isShared(pod)).length;
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

/** Counts calls that ask the cloud for something. */
function countReads({ cloud }: World) {
  const counts = new Map<string, number>();
  const unsubscribe = cloud.subscribe(({ kind, action }) => {
    if (kind === 'call' && action.startsWith('Describe')) counts.set(action, (counts.get(action) ?? 0) + 1);
  });
  return {
    end: (): ReadonlyMap<string, number> => {
      unsubscribe();
      return counts;
    },
  };
}

/** Counts writes of records and mirrors, and calls that change the cloud. */
function countWork({ kube, cloud }: World) {
  let [writes, calls] = [0, 0];
  const ends = [
    kube.subscribe(({ resource, actor }) => {
      if (actor.startsWith('replica') && (resource === PODENIS || resource === NETWORKINTERFACES)) writes += 1;
    }),
    cloud.subscribe(({ kind, action }) => {
      // A pod with an ENI of its own needs no address of those that others share; a pool may be giving some up meanwhile.
      if (kind === 'call' && !/^(Describe|Assign|Unassign)/.test(action)) calls += 1;
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
