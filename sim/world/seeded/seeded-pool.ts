import * as z from 'zod';
import { addressesOf } from '../../../src/allocation/pool/view.ts';
import type { NodeEni, TerwayNode } from '../../../src/crds/node.ts';
import type { KubeObject } from '../../kube/model/objects.ts';
import { nodeNameOf } from '../kubelets.ts';
import { addressOf } from '../node/kernel.ts';
import { NODES, type World } from '../world.ts';
import type { PoolAct, PoolKnobs } from './acts.ts';
import { isShared, NAMESPACE, SHARED_NUMBERS } from './pods.ts';
import { nodeName, type SeededUsers, USER } from './seeded-users.ts';

const MERGE_PATCH = 'application/merge-patch+json';
const configSchema = z.object({ eni_conf: z.string().transform((text) => z.looseObject({}).parse(JSON.parse(text))) });
const addressSchema = z.object({ podIP: z.string().default('') });

export interface SeededPoolOptions {
  world: World;
  users: SeededUsers;
  /** Security groups, by the numbers of a plan. */
  groups: readonly string[];
  /** What `eni_conf` says at first; undefined: no pod shares ENIs. */
  knobs: PoolKnobs | undefined;
}

/** Carries out what people do to the ENIs that the pods of a node share, and notes what they took from pods. */
export class SeededPool {
  readonly #options: SeededPoolOptions;
  readonly #world: World;
  /** Addresses that somebody took from an ENI, by ENI. The cloud may give them to others. */
  readonly #taken = new Map<string, Set<string>>();
  /** Nodes whose record somebody deleted, and is not gone yet. */
  readonly #deletedRecords = new Set<string>();
  #knobs: PoolKnobs | undefined;
  #mostReserve = 0;

  constructor(options: SeededPoolOptions) {
    this.#options = options;
    this.#world = options.world;
    this.#knobs = options.knobs;
    this.#noteReserve(options.knobs);
  }

  /** The most addresses that `eni_conf` has asked for besides those of pods. */
  get mostReserve(): number {
    return this.#mostReserve;
  }

  /** What `eni_conf` says. */
  get knobs(): PoolKnobs | undefined {
    return this.#knobs;
  }

  /** Pods that are to have an address of an ENI of their node: they exist, are not being deleted, and the node has an agent. */
  livePods(): KubeObject[] {
    return this.#world.kube
      .objects('pods')
      .filter((pod) => isShared(pod) && pod.metadata.deletionTimestamp === undefined)
      .filter((pod) => this.#world.machines.has(nodeNameOf(pod)));
  }

  /** Whether somebody took this address from the ENI, and a pod may still have it. */
  isTaken(eniId: string, ip: string): boolean {
    return this.#taken.get(eniId)?.has(ip) === true;
  }

  /** Somebody takes the ENI away, with its addresses. */
  noteTaken(eniId: string): void {
    for (const ip of this.#world.cloud.eni(eniId)?.ipv4 ?? []) this.#take(eniId, ip);
  }

  /** A record was written: what it does not name any more, and no sandbox has, nobody has. */
  noteRecord({ metadata, status }: TerwayNode): void {
    for (const [id, eni] of Object.entries(status?.networkInterfaces ?? {})) {
      for (const ip of this.#taken.get(id) ?? []) {
        const isNamed = eni.ipv4?.[ip] !== undefined || this.#hasSandboxWith(metadata.name, ip);
        if (!isNamed) this.#taken.get(id)?.delete(ip);
      }
    }
  }

  #hasSandboxWith(node: string, ip: string): boolean {
    const wirings = this.#world.machines.get(node)?.kernel.wirings.values() ?? [];
    return [...wirings].some(({ attachment }) => addressOf(attachment) === ip);
  }

  /** A record is gone. Until the next one has taken in what the instance has, no object names its ENIs if somebody deleted it. */
  noteGone({ metadata, status }: TerwayNode): void {
    if (!this.#deletedRecords.delete(metadata.name)) return;
    for (const id of Object.keys(status?.networkInterfaces ?? {})) this.#options.users.touched.add(id);
  }

  perform(act: PoolAct): void {
    if (this.#knobs === undefined) return;
    const { users } = this.#options;
    switch (act.kind) {
      case 'crowd-pool':
        for (const pod of SHARED_NUMBERS) users.perform({ kind: 'create-pod', pod, node: act.node });
        return;
      case 'empty-pool':
        for (const pod of this.livePods()) {
          if (nodeNameOf(pod) !== nodeName(act.node)) continue;
          this.#world.deletePod(`${NAMESPACE}/${pod.metadata.name}`, act.isForced ? 0 : undefined);
        }
        return;
      case 'edit-pool':
        this.#edit(act.knobs, this.#options.groups[act.group] ?? '');
        return;
      case 'unassign-address':
        this.#unassign(nodeName(act.node), act.address, act.isBound);
        return;
      case 'assign-address': {
        const eniId = this.#eniOf(nodeName(act.node), act.eni);
        const params = { NetworkInterfaceId: eniId ?? '', SecondaryPrivateIpAddressCount: 1 };
        if (eniId !== undefined) users.inConsole('AssignPrivateIpAddresses', params);
        return;
      }
      case 'detach-shared-eni':
      case 'delete-shared-eni':
        this.#takeAway(this.#eniOf(nodeName(act.node), act.eni), act.kind);
        return;
      case 'delete-node-record':
        this.#deleteRecord(nodeName(act.node));
    }
  }

  /** A pod whose address is gone is deleted (docs/troubleshooting.md). */
  attend(): void {
    for (const pod of this.livePods()) {
      const { uid, name } = pod.metadata;
      const { podIP } = addressSchema.parse(pod['status'] ?? {});
      const enis = this.#enisOf(nodeNameOf(pod));
      const own = enis.flatMap((eni) => addressesOf(eni).filter(({ podUID }) => podUID === uid));
      const isLost = own.some(({ status }) => status === 'Invalid');
      // Its event says so, also where a leader whose store was late gave it another one besides.
      const isThere = enis.some(({ id }) => this.#world.cloud.eni(id)?.ipv4.includes(podIP) === true);
      const isRecorded = own.some(({ ip }) => ip === podIP);
      const isAstray = podIP !== '' && !isRecorded && enis.length > 0 && !isThere;
      if (isLost || isAstray) this.#world.deletePod(`${NAMESPACE}/${name}`, 0);
    }
  }

  #edit(knobs: PoolKnobs, group: string): void {
    const target = { resource: 'configmaps', namespace: 'kube-system', name: 'eni-config', subresource: '' };
    const { eni_conf: before } = configSchema.parse(this.#world.kube.peek('configmaps', target)?.['data']);
    const data = { eni_conf: JSON.stringify({ ...before, ...knobs, security_group: group }) };
    this.#world.kube.patch(target, MERGE_PATCH, { data }, this.#user());
    this.#knobs = knobs;
    this.#noteReserve(knobs);
  }

  #noteReserve({ min_pool_size: least = 0, ip_warm_up_size: warmUp = 0 }: Partial<PoolKnobs> = {}): void {
    this.#mostReserve = Math.max(this.#mostReserve, least, warmUp);
  }

  #unassign(node: string, address: number, isBound: boolean): void {
    const found = this.#enisOf(node).flatMap((eni) =>
      addressesOf(eni, 'ipv4')
        .filter(({ primary, podUID = '' }) => !primary && (podUID !== '') === isBound)
        .map(({ ip }) => ({ eniId: eni.id, ip })),
    );
    const { eniId, ip } = found[address % found.length] ?? {};
    if (eniId === undefined || ip === undefined) return;
    if (this.#world.cloud.eni(eniId)?.ipv4.includes(ip) !== true) return;
    this.#take(eniId, ip);
    this.#options.users.inConsole('UnassignPrivateIpAddresses', { NetworkInterfaceId: eniId, PrivateIpAddress: [ip] });
  }

  #takeAway(eniId: string | undefined, how: 'detach-shared-eni' | 'delete-shared-eni'): void {
    const { cloud, clock } = this.#world;
    if (eniId === undefined || cloud.eni(eniId) === undefined) return;
    if (how === 'detach-shared-eni') {
      cloud.detachEniByHand(eniId, clock.now());
      return;
    }
    this.noteTaken(eniId);
    cloud.deleteEniByHand(eniId, clock.now());
  }

  #deleteRecord(name: string): void {
    const target = { resource: NODES, namespace: undefined, name, subresource: '' };
    if (this.#world.kube.peek(NODES, target) === undefined) return;
    this.#deletedRecords.add(name);
    this.#world.kube.delete(target, {}, this.#user());
  }

  /** An ENI of the pool that is not the trunk. */
  #eniOf(node: string, at: number): string | undefined {
    const ids = this.#enisOf(node).flatMap(({ id, networkInterfaceType }) =>
      networkInterfaceType === 'Secondary' ? [id] : [],
    );
    return ids[at % ids.length];
  }

  #enisOf(node: string): NodeEni[] {
    return Object.values(this.#world.nodeRecord(node)?.status?.networkInterfaces ?? {});
  }

  #take(eniId: string, ip: string): void {
    const known = this.#taken.get(eniId) ?? new Set();
    known.add(ip);
    this.#taken.set(eniId, known);
  }

  #user(): { actor: string; nowMs: number } {
    return { actor: USER, nowMs: this.#world.clock.now() };
  }
}
