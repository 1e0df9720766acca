import type { Clock } from '../../../src/util/clock.ts';
import type { Random } from '../../../src/util/random.ts';
import type { FaultPlan } from '../../kube/faults.ts';
import type { KubeModel } from '../../kube/model/model.ts';
import { WorldAgent } from './agent.ts';
import { DiskModel } from './disk.ts';
import { KernelModel } from './kernel.ts';
import { NodeKubelet } from './kubelet.ts';
import { InjectedError, type MachineCall, type MachineFault } from './process.ts';
import { Runtime } from './runtime.ts';

export interface MachineOptions {
  nodeName: string;
  instanceId: string;
  kube: KubeModel;
  clock: Clock;
  random: Random;
  /** Whether the ENI with this MAC address is attached to the instance. */
  hasEni: (mac: string) => boolean;
  /** Whether the kubelet writes the addresses of pods into their status. */
  tellsAddresses?: boolean | undefined;
  kubeFaults?: FaultPlan | undefined;
  /** As in the configuration of its agents. */
  podIPsAnnotation?: boolean | undefined;
  onCall?: ((call: MachineCall) => MachineFault | undefined) | undefined;
  /** An agent ended by itself. */
  onFailure?: ((message: string) => void) | undefined;
  /** A line of the log of an agent, of an error. */
  onError?: ((line: string) => void) | undefined;
}

/** Until an agent that ended is followed by the next. */
const RESTART_MS = 1000;
/** Until the control plane of Kubernetes calls a node NotReady that is not heard of. */
const SILENCE_MS = 40_000;
const MERGE_PATCH = 'application/merge-patch+json';

/** A node with a node agent of ours: its disk and kernel, which outlive processes, its runtime, its kubelet, and the agent. */
export class Machine {
  readonly nodeName: string;
  readonly disk = new DiskModel();
  readonly kernel: KernelModel;
  readonly runtime: Runtime;
  readonly kubelet: NodeKubelet;
  readonly #options: MachineOptions;
  #agent: WorldAgent | undefined;
  /** All that were started. */
  readonly #agents: WorldAgent[] = [];
  /** How many of the next agents end by themselves, and how long after their start. */
  #shortLives = { times: 0, lifeMs: 0 };
  /** Whoever pauses the kubelet, or ends the machine, is the latest. */
  #kubeletDown = 0;
  #isUp = true;
  #isReady = true;
  #isOver = false;
  #unreadyUntilMs: number | undefined;

  constructor(options: MachineOptions) {
    const { nodeName, instanceId, kube, clock, hasEni, tellsAddresses = false } = options;
    this.#options = options;
    this.nodeName = nodeName;
    this.kernel = new KernelModel(hasEni);
    this.runtime = new Runtime({ prefix: instanceId, kernel: this.kernel, clock, agent: () => this.#agent });
    this.kubelet = new NodeKubelet({ nodeName, kube, clock, runtime: this.runtime, tellsAddresses });
    this.startAgent();
  }

  get agent(): WorldAgent | undefined {
    return this.#agent;
  }

  /** When the node was NotReady for the last time, in time of the clock; undefined if it never was. */
  get unreadyMs(): number | undefined {
    return this.#isReady ? this.#unreadyUntilMs : this.#options.clock.monotonicMs();
  }

  /** Starts the agent, unless one runs or the machine is down. */
  startAgent(): void {
    if (this.#agent !== undefined || !this.#isUp || this.#isOver) return;
    const { nodeName, kube, clock, random, kubeFaults, podIPsAnnotation, onCall, onError } = this.#options;
    const agent = new WorldAgent({
      name: `agent-${nodeName}${'abcdefghijklmnopqrstuvwxyz'.charAt(this.#agents.length % 26)}`,
      nodeName,
      disk: this.disk,
      kernel: this.kernel,
      kube,
      clock,
      random,
      kubeFaults,
      podIPsAnnotation,
      onCall: (call) => onCall?.(call),
      onKilled: () => this.killAgent(RESTART_MS),
      onServing: () => this.runtime.noteServing(),
      onError: (line) => onError?.(line),
    });
    this.#agent = agent;
    this.#agents.push(agent);
    this.#endSoon(agent);
    agent.ended.then(
      () => this.#ended(agent, 'without an error'),
      (error: unknown) => this.#ended(agent, error instanceof InjectedError ? undefined : String(error)),
    );
  }

  /** @param forMs until the next one starts */
  killAgent(forMs: number): void {
    const agent = this.#agent;
    if (agent === undefined) return;
    this.#agent = undefined;
    agent.kill();
    this.#options.clock.schedule(forMs, () => this.startAgent());
  }

  /** Kills the agent now, and the next ones so long after their start. */
  crashLoop(times: number, lifeMs: number): void {
    this.#shortLives = { times, lifeMs };
    this.killAgent(RESTART_MS);
  }

  /** Ends the agent as an upgrade does, and starts the next one. */
  replaceAgent(): void {
    this.#agent?.stop();
  }

  /** The machine loses power, and is back after a time. */
  reboot(forMs: number): void {
    if (!this.#isUp) return;
    const { clock, random } = this.#options;
    this.#isUp = false;
    this.#agent?.kill();
    this.#agent = undefined;
    this.runtime.reboot();
    this.kernel.reboot();
    this.disk.crash(random);
    this.stopKubelet(forMs);
    clock.schedule(forMs, () => this.#boot());
  }

  /** The kubelet stands still for a time; after a while its node is NotReady. */
  stopKubelet(forMs: number): void {
    const { clock } = this.#options;
    this.#kubeletDown += 1;
    const down = this.#kubeletDown;
    this.kubelet.pause();
    clock.schedule(SILENCE_MS, () => {
      if (this.#kubeletDown === down) this.#setReady(false);
    });
    clock.schedule(forMs, () => {
      if (this.#kubeletDown === down) this.resume();
    });
  }

  /** Whatever stands still or is down goes on. */
  resume(): void {
    this.#shortLives = { times: 0, lifeMs: 0 };
    this.#boot();
    this.#kubeletDown += 1;
    this.kubelet.resume();
    this.#setReady(true);
  }

  /** The API server was restored from a backup: connections break, and the kubelet starts anew. */
  serverRestored(): void {
    for (const { transport } of this.#agents) transport.breakConnections();
    this.kubelet.restart();
    this.#tellReady();
  }

  /** The machine is gone for good. */
  end(): void {
    this.#isOver = true;
    this.#kubeletDown += 1;
    this.#agent?.kill();
    this.#agent = undefined;
    this.kubelet.end();
  }

  #endSoon(agent: WorldAgent): void {
    const { times, lifeMs } = this.#shortLives;
    if (times === 0) return;
    this.#shortLives = { times: times - 1, lifeMs };
    this.#options.clock.schedule(lifeMs, () => {
      if (this.#agent === agent) this.killAgent(RESTART_MS);
    });
  }

  #boot(): void {
    this.#isUp = true;
    this.startAgent();
  }

  #ended(agent: WorldAgent, failure: string | undefined): void {
    if (this.#agent !== agent) return;
    this.#agent = undefined;
    if (failure !== undefined && !agent.isStopping) {
      this.#options.onFailure?.(`${agent.name} ended by itself: ${failure}`);
    }
    this.#options.clock.schedule(RESTART_MS, () => this.startAgent());
  }

  #setReady(isReady: boolean): void {
    if (this.#isOver || this.#isReady === isReady) return;
    this.#isReady = isReady;
    if (isReady) this.#unreadyUntilMs = this.#options.clock.monotonicMs();
    this.#tellReady();
  }

  #tellReady(): void {
    const { kube, clock } = this.#options;
    if (this.#isOver || kube.peek('nodes', { namespace: undefined, name: this.nodeName }) === undefined) return;
    const target = { resource: 'nodes', namespace: undefined, name: this.nodeName, subresource: 'status' };
    const conditions = [{ type: 'Ready', status: this.#isReady ? 'True' : 'Unknown' }];
    kube.patch(target, MERGE_PATCH, { status: { conditions } }, { actor: 'kubelet', nowMs: clock.now() });
  }
}
