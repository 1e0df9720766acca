import { isRecord } from '../../../src/util/json.ts';
import type { Backup } from '../../kube/model/cluster.ts';
import type { KubeObject } from '../../kube/model/objects.ts';
import type { WorldReplica } from '../replica.ts';
import { NODES, PODENIS, World, type WorldOptions } from '../world.ts';

/** What a phase of a run took and cost. */
export interface Figures {
  phase: string;
  virtualS: number;
  /** What quota and cloud allow; absent for phases that they do not bound. */
  boundS?: number;
  /** Pods, nodes or records that the rest is counted for. */
  items: number;
  /** Calls that change the cloud. */
  calls: number;
  /** Calls that read it. */
  describes: number;
  /** Writes to the API server, without leases and events. */
  writes: number;
  reconciles: number;
  /** Millions of characters that came through watches. */
  watchedMillions: number;
  /** On this machine, with the models of API server and cloud in the same process. */
  realS: number;
  longestTurnMs: number;
  peakMemoryMb: number;
}

/** How long a phase may take at all. */
const LONGEST_MS = 4 * 60 * 60_000;
/** How often a leader is asked whether it still has something to do. */
const LOOK_MS = 250;
const CONTROLLERS = ['pod-eni', 'node', 'networkinterface', 'podnetworking'];
/** Parts of the leader that hold something while there is work; PodNetworkings are checked now and then. */
const BUSY = ['queue-pod-eni', 'queue-node', 'queue-networkinterface', 'cloud-calls', 'observer'];

/**
 * A world of thousands of nodes and pods. It counts with each write, because a look at everything would cost more than the
 * control plane itself.
 */
export class ScaleWorld {
  readonly world: World;
  readonly #phases = new Map<string, number>();
  #nodes = 0;
  #trunks = 0;
  #writes = 0;
  #longestTurnMs = 0;
  #replica: WorldReplica | undefined;

  constructor(options: WorldOptions = {}) {
    // A run has millions of writes and calls, and nobody reads them afterwards.
    this.world = new World({ journalCapacity: 1, ...options });
    this.world.kube.subscribe(({ resource, actor, before, after }) => {
      if (resource === PODENIS) this.#count(phaseOf(before), phaseOf(after));
      if (resource === NODES) this.#trunks += trunksOf(after) - trunksOf(before);
      const isNoise = resource.startsWith('leases.') || resource.startsWith('events');
      if (actor.startsWith('replica') && !isNoise) this.#writes += 1;
    });
  }

  get bound(): number {
    return this.#phases.get('Bind') ?? 0;
  }

  /** PodENIs of any phase. */
  get records(): number {
    return [...this.#phases.values()].reduce((sum, count) => sum + count, 0);
  }

  get trunks(): number {
    return this.#trunks;
  }

  addNodes(count: number): void {
    for (let at = 0; at < count; at += 1) this.world.addNode();
    this.#nodes += count;
  }

  /** Pods `NAME-0` … on the nodes in turn. */
  createPods(name: string, count: number): void {
    for (let at = 0; at < count; at += 1) {
      this.world.createPod({ name: `${name}-${at}`, nodeName: `node-${(at % this.#nodes) + 1}` });
    }
  }

  /** Pods `NAME-FROM` and those that follow. */
  deletePods(name: string, count: number, from = 0): void {
    for (let at = from; at < from + count; at += 1) this.world.deletePod(`default/${name}-${at}`, 0);
  }

  start(): void {
    this.#replica = this.world.startReplica();
  }

  /** Ends the replica like SIGKILL. */
  kill(): void {
    this.#replica?.kill();
    this.#replica = undefined;
  }

  restore(backup: Backup): void {
    this.world.restore(backup);
    this.#phases.clear();
    for (const object of this.world.kube.objects(PODENIS)) this.#count(undefined, phaseOf(object));
    this.#trunks = this.world.kube.objects(NODES).reduce((sum, object) => sum + trunksOf(object), 0);
  }

  /** Lets time pass until a condition holds, which is asked after each call of the clock. */
  async until(what: string, holds: () => boolean, withinMs = LONGEST_MS): Promise<void> {
    const { clock } = this.world;
    const untilMs = clock.monotonicMs() + withinMs;
    while (!holds()) {
      const startedMs = performance.now();
      const isMade = await clock.step(untilMs);
      this.#longestTurnMs = Math.max(this.#longestTurnMs, performance.now() - startedMs);
      if (!isMade) throw new Error(`after ${withinMs / 1000} s: not ${what}`);
    }
  }

  async run(ms: number): Promise<void> {
    const { clock } = this.world;
    const untilMs = clock.monotonicMs() + ms;
    clock.schedule(ms, () => undefined);
    await this.until('over', () => clock.monotonicMs() >= untilMs, ms);
  }

  /** Until a leader has nothing to do but what it does now and then. */
  async untilIdle(withinMs = LONGEST_MS): Promise<void> {
    const { clock } = this.world;
    const untilMs = clock.monotonicMs() + withinMs;
    while (!this.#isIdle()) {
      if (clock.monotonicMs() >= untilMs) throw new Error(`the leader is not idle after ${withinMs / 1000} s`);
      await this.run(LOOK_MS);
    }
  }

  /** Measures what happens in a phase. @param work.boundS what quota and cloud allow */
  async phase(phase: string, work: { items: number; boundS?: number }, happen: () => Promise<void>): Promise<Figures> {
    const before = await this.totals();
    this.#longestTurnMs = 0;
    await happen();
    const after = await this.totals();
    const since = (key: keyof typeof before) => after[key] - before[key];
    return {
      phase,
      virtualS: since('virtualMs') / 1000,
      ...work,
      calls: since('calls'),
      describes: since('describes'),
      writes: since('writes'),
      reconciles: since('reconciles'),
      watchedMillions: since('watchedLength') / 1e6,
      realS: since('realMs') / 1000,
      longestTurnMs: this.#longestTurnMs,
      peakMemoryMb: process.resourceUsage().maxRSS / 1024,
    };
  }

  end(): void {
    this.world.end();
  }

  /** Everything that is counted, since the beginning. */
  async totals() {
    const calls = Object.entries(this.world.cloud.counters().calls).map(([action, outcomes]) => ({
      isRead: action.startsWith('Describe'),
      count: sumOfAll(outcomes),
    }));
    const sumOf = (isRead: boolean) =>
      calls.filter((call) => call.isRead === isRead).reduce((sum, { count }) => sum + count, 0);
    const { replicas } = this.world;
    const reconciles = await Promise.all(replicas.map(reconcilesOf));
    return {
      virtualMs: this.world.clock.monotonicMs(),
      realMs: performance.now(),
      calls: sumOf(false),
      describes: sumOf(true),
      writes: this.#writes,
      requests: replicas.reduce((sum, { requests }) => sum + sumOfAll(requests), 0),
      reconciles: reconciles.reduce((sum, count) => sum + count, 0),
      watchedLength: replicas.reduce((sum, { transport }) => sum + transport.watchedLength, 0),
    };
  }

  #isIdle(): boolean {
    const held = this.#replica?.leaderState?.held;
    return held !== undefined && BUSY.every((holder) => held[holder] === 0);
  }

  #count(before: string | undefined, after: string | undefined): void {
    if (before !== undefined) this.#phases.set(before, (this.#phases.get(before) ?? 0) - 1);
    if (after !== undefined) this.#phases.set(after, (this.#phases.get(after) ?? 0) + 1);
  }
}

function sumOfAll(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

async function reconcilesOf(replica: WorldReplica): Promise<number> {
  const counts = await Promise.all(CONTROLLERS.map((controller) => replica.reconciles(controller)));
  return counts.reduce((sum, count) => sum + count, 0);
}

function phaseOf(object: KubeObject | undefined): string | undefined {
  if (object === undefined) return undefined;
  const phase = isRecord(object['status']) ? object['status']['phase'] : undefined;
  return typeof phase === 'string' ? phase : '';
}

/** Attached trunks that a Node CR records. */
function trunksOf(object: KubeObject | undefined): number {
  const status = object?.['status'];
  const interfaces = isRecord(status) && isRecord(status['networkInterfaces']) ? status['networkInterfaces'] : {};
  return Object.values(interfaces).filter((eni) => isRecord(eni) && eni['status'] === 'InUse').length;
}
