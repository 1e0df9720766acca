import type { KubeObject } from '../../kube/model/objects.ts';
import type { CloudCall } from '../cloud-link.ts';
import type { WorldReplica } from '../replica.ts';
import { PODENIS, PODNETWORKINGS, type World } from '../world.ts';
import type { OutsideAct } from './acts.ts';
import { EXHAUSTED, type SeededFaults } from './faults.ts';

const UNAVAILABLE = { code: 'ServiceUnavailable', status: 503 };
const EXPIRED = { code: 'InvalidSecurityToken.Expired', status: 400 };

export interface OutsideOptions {
  world: World;
  faults: SeededFaults;
  vSwitches: readonly string[];
  networkings: readonly string[];
  /** By the numbers of a plan. */
  instanceOf: (node: number) => string | undefined;
  replicaAt: (replica: number) => WorldReplica | undefined;
  /** A user deletes the PodENI of this key. */
  deletePodEni: (key: string) => void;
}

/** Carries out what a plan does to the surroundings of the control plane. */
export class Outside {
  readonly #options: OutsideOptions;
  /** Instances whose status refuses changes. */
  readonly #stopped = new Set<string>();
  /** PodNetworkings that were deleted, as they were. A restored backup may lack them, too. */
  readonly #deleted = new Map<string, KubeObject>();

  constructor(options: OutsideOptions) {
    this.#options = options;
  }

  perform(act: OutsideAct): void {
    const { world, faults } = this.#options;
    const untilMs = 'forMs' in act ? world.clock.monotonicMs() + act.forMs : 0;
    switch (act.kind) {
      case 'stop-api-server':
        faults.stopApiServer(untilMs);
        for (const { transport } of world.replicas) transport.breakConnections();
        for (const { agent } of world.machines.values()) agent?.transport.breakConnections();
        return;
      case 'refuse-writes':
        faults.refuseWrites(untilMs);
        return;
      case 'stop-cloud':
        faults.refuse({ ...UNAVAILABLE, untilMs });
        return;
      case 'expire-credentials':
        faults.refuse({ ...EXPIRED, untilMs });
        return;
      case 'fill-vswitch': {
        const vSwitchId = this.#options.vSwitches[act.vSwitch];
        const matches = ({ action, params }: CloudCall) =>
          action === 'CreateNetworkInterface' && params['VSwitchId'] === vSwitchId;
        faults.refuse({ ...EXHAUSTED, untilMs, matches });
        return;
      }
      case 'stop-instance': {
        const instanceId = this.#options.instanceOf(act.node);
        if (instanceId === undefined) return;
        this.#stopped.add(instanceId);
        world.cloud.setInstanceStatus(instanceId, 'Stopping', world.clock.now());
        world.clock.schedule(act.forMs, () => this.#startInstance(instanceId));
        return;
      }
      case 'recreate-networking': {
        const name = this.#options.networkings[act.networking] ?? '';
        const target = { resource: PODNETWORKINGS, namespace: undefined, name, subresource: '' };
        const found = world.kube.peek(PODNETWORKINGS, target);
        if (found === undefined) return;
        this.#deleted.set(name, found);
        world.kube.delete(target, {}, { actor: 'user', nowMs: world.clock.now() });
        world.clock.schedule(act.forMs, () => this.#recreate(name));
        return;
      }
      case 'empty-namespace':
        for (const { metadata } of world.kube.objects('pods'))
          world.deletePod(`${metadata.namespace}/${metadata.name}`);
        for (const { metadata } of world.kube.objects(PODENIS))
          this.#options.deletePodEni(`${metadata.namespace}/${metadata.name}`);
        return;
      case 'shift-clock':
        this.#options.replicaAt(act.replica)?.shiftClock(act.ms);
        return;
      case 'suspend':
        world.clock.freeze(act.forMs);
    }
  }

  /** Everything is as it should be again. */
  quiet(): void {
    for (const instanceId of this.#stopped) this.#startInstance(instanceId);
    for (const name of this.#deleted.keys()) this.#recreate(name);
    for (const replica of this.#options.world.replicas) replica.setClock();
  }

  #startInstance(instanceId: string): void {
    const { world } = this.#options;
    if (!this.#stopped.delete(instanceId)) return;
    // It may have been released meanwhile.
    const isThere = world.cloud.snapshot(world.clock.now()).instances.some(({ id }) => id === instanceId);
    if (isThere) world.cloud.setInstanceStatus(instanceId, 'Running', world.clock.now());
  }

  /** With the same specification, unless it is there. */
  #recreate(name: string): void {
    const { world } = this.#options;
    const spec = this.#deleted.get(name)?.['spec'];
    if (spec === undefined || world.kube.peek(PODNETWORKINGS, { namespace: undefined, name }) !== undefined) return;
    world.create(PODNETWORKINGS, undefined, { metadata: { name }, spec });
  }
}
