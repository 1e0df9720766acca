import { ANNOTATION_POD_UID } from '../../../src/crds/names.ts';
import { addressOf } from '../node/kernel.ts';
import type { Machine, MachineOptions } from '../node/machine.ts';
import type { MachineCall, MachineFault } from '../node/process.ts';
import { type Sandbox, sandboxOf } from '../node/runtime.ts';
import type { World } from '../world.ts';
import type { NodeAct } from './acts.ts';
import type { SeededFaults } from './faults.ts';

/** Longer than an operation of the kernel takes. */
const ADD_MS = 100;

/** Names of nodes and keys of pods, by the numbers of a plan. */
export interface Numbering {
  nodeName(node: number): string;
  keyOfPod(pod: number): string;
}

/** The nodes of a seeded world that have a node agent: carries out what a plan does to them, and notes what users did by hand. */
export class SeededNodes {
  /** Sandboxes whose record a user removed. */
  readonly lostRecords = new Set<string>();
  /** Sandboxes whose record a user damaged. */
  readonly damagedRecords = new Set<string>();
  /** Pods, by uid, whose PodENI a user deleted, or a restored backup lacks. They get another one, and a running sandbox keeps the old address. */
  readonly renounced = new Set<string>();
  /** Pods, by uid, that a restored backup brought back, until each has a sandbox again: their node knows them as gone. */
  readonly revived = new Set<string>();
  readonly #world: World;
  readonly #faults: SeededFaults;
  readonly #numbering: Numbering;
  /** Machines whose runtime and agent end in the middle of the next ADD. */
  readonly #resetMidAdd = new Set<Machine>();
  /** How much longer listings of a kernel take, and until when. */
  readonly #slowDumps = new Map<Machine, { byMs: number; untilMs: number }>();
  readonly #listeners: ((machine: Machine) => void)[] = [];

  constructor(world: World, faults: SeededFaults, numbering: Numbering) {
    this.#world = world;
    this.#faults = faults;
    this.#numbering = numbering;
  }

  add(
    node: { name: string; instanceId: string },
    options: Pick<MachineOptions, 'onCall' | 'onFailure' | 'onError' | 'tellsAddresses'>,
  ): void {
    const machine = this.#world.addMachine(node, options);
    for (const listener of this.#listeners) listener(machine);
  }

  /** Calls `listener` with each machine, those to come included. */
  onMachine(listener: (machine: Machine) => void): void {
    for (const machine of this.#world.machines.values()) listener(machine);
    this.#listeners.push(listener);
  }

  /** The machine whose agent has this name, as long as that runs. */
  machineOfAgent(name: string): Machine | undefined {
    return [...this.#world.machines.values()].find(({ agent }) => agent?.name === name);
  }

  /** What an act does to this operation of an agent. */
  faultOf({ process, operation }: MachineCall): MachineFault | undefined {
    const machine = this.machineOfAgent(process);
    if (machine === undefined) return undefined;
    const { byMs, untilMs } = this.#slowDumps.get(machine) ?? { byMs: 0, untilMs: 0 };
    if (operation === 'kernel dump' && this.#world.clock.monotonicMs() < untilMs) return { kind: 'slow', ms: byMs };
    if (operation !== 'kernel add' || !this.#resetMidAdd.delete(machine)) return undefined;
    // The agent dies first, so that it does not hear of it.
    this.#world.clock.schedule(ADD_MS, () => this.#resetMidway(machine));
    return { kind: 'killed', side: 'after' };
  }

  /** Pods whose sandbox does not run are deleted then, so that nobody comes back to it. */
  #resetMidway({ runtime, kubelet }: Machine): void {
    const pods = runtime.sandboxes.flatMap(({ pod, state }) => (state === 'running' ? [] : [pod]));
    kubelet.resetRuntime();
    for (const { namespace, name, uid } of pods) {
      if (this.#world.kube.peek('pods', { namespace, name })?.metadata.uid === uid)
        this.#world.deletePod(`${namespace}/${name}`, 0);
    }
  }

  /** Whether the records that say what a sandbox has were changed by hand. */
  isTouched(containerId: string): boolean {
    return this.lostRecords.has(containerId) || this.damagedRecords.has(containerId);
  }

  perform(act: NodeAct): void {
    const { clock } = this.#world;
    switch (act.kind) {
      case 'abandon-pod':
      case 'fail-sandbox': {
        const pod = this.#podOf(act.pod);
        if (pod === undefined) return;
        const { machine, key, uid } = pod;
        if (act.kind === 'fail-sandbox') machine.kubelet.failSandbox(uid, act.isLate);
        else {
          machine.kubelet.linger(uid, clock.monotonicMs() + act.forMs);
          this.#world.deletePod(key, 0);
        }
        return;
      }
      default: {
        const machine = this.#world.machines.get(this.#numbering.nodeName(act.node));
        if (machine !== undefined) this.#performOn(machine, act);
      }
    }
  }

  #performOn(machine: Machine, act: Exclude<NodeAct, { pod: number }>): void {
    const { clock } = this.#world;
    switch (act.kind) {
      case 'kill-agent':
        machine.killAgent(act.forMs);
        return;
      case 'replace-agent':
        machine.replaceAgent();
        return;
      case 'stall-agent': {
        const untilMs = clock.monotonicMs() + act.forMs;
        if (machine.agent === undefined) return;
        machine.agent.stall(untilMs);
        this.#faults.stall(machine.agent.name, untilMs);
        return;
      }
      case 'freeze-agent-watches':
        for (const watch of machine.agent?.transport.watches ?? []) watch.freeze();
        return;
      case 'break-agent-watches':
        for (const watch of machine.agent?.transport.watches ?? []) watch.break();
        return;
      case 'cut-off-agent':
        if (machine.agent === undefined) return;
        this.#faults.cutOff(machine.agent.name, clock.monotonicMs() + act.forMs);
        machine.agent.transport.breakConnections();
        return;
      case 'lose-records':
        for (const name of machine.disk.names()) this.lostRecords.add(sandboxOf(name));
        machine.killAgent(act.forMs);
        machine.disk.clear();
        return;
      case 'damage-record': {
        const names = machine.disk.names().filter((name) => name.endsWith('.json') && !name.includes('/'));
        const name = names[act.record % names.length];
        if (name === undefined) return;
        this.damagedRecords.add(sandboxOf(name));
        machine.killAgent(act.forMs);
        machine.disk.damage(name);
        return;
      }
      case 'reboot-node':
        machine.reboot(act.forMs);
        return;
      case 'stop-kubelet':
        machine.stopKubelet(act.forMs);
        return;
      case 'crash-loop':
        machine.crashLoop(act.times, act.lifeMs);
        return;
      case 'reset-runtime':
        if (act.isMidAdd) this.#resetMidAdd.add(machine);
        else machine.kubelet.resetRuntime();
        return;
      case 'slow-dumps':
        this.#slowDumps.set(machine, { byMs: act.byMs, untilMs: clock.monotonicMs() + act.forMs });
        return;
      case 'collect-sandboxes':
        void machine.runtime.collect();
    }
  }

  /** Whatever stands still or is down goes on. */
  quiet(): void {
    this.#resetMidAdd.clear();
    this.#slowDumps.clear();
    for (const machine of this.#world.machines.values()) machine.resume();
  }

  /**
   * What the documentation tells people to do: a pod whose sandbox lost its network by hand, or has the address of a PodENI that
   * was deleted, is restarted.
   */
  attend(): void {
    for (const machine of this.#world.machines.values()) {
      for (const sandbox of machine.runtime.sandboxes) {
        if (sandbox.state === 'running' && this.#isCutOff(machine, sandbox))
          machine.kubelet.failSandbox(sandbox.pod.uid, false);
      }
    }
  }

  #isCutOff(machine: Machine, { id, pod }: Sandbox): boolean {
    const wiring = machine.kernel.wirings.get(id);
    if (wiring === undefined) return this.lostRecords.has(id);
    const podEni = this.#world.podEni(`${pod.namespace}/${pod.name}`);
    if (!this.renounced.has(pod.uid)) return false;
    // Its record cannot be rebuilt without one, and until it ends the node reports no sandbox as gone.
    if (podEni?.metadata.annotations?.[ANNOTATION_POD_UID] !== pod.uid) return this.damagedRecords.has(id);
    const address = podEni.spec.allocations?.[0]?.ipv4 ?? '';
    return podEni.status?.phase === 'Bind' && address !== addressOf(wiring.attachment);
  }

  #podOf(pod: number): { machine: Machine; key: string; uid: string } | undefined {
    const key = this.#numbering.keyOfPod(pod);
    const [namespace, name = ''] = key.split('/');
    const uid = this.#world.kube.peek('pods', { namespace, name })?.metadata.uid;
    for (const machine of this.#world.machines.values()) {
      if (uid !== undefined && machine.kubelet.has(uid)) return { machine, key, uid };
    }
    return undefined;
  }
}
