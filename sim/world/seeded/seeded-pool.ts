import * as z from 'zod';
import { addressesOf } from '../../../src/allocation/pool/view.ts';
import type { DaemonField } from '../../../src/crds/field-owners.ts';
import { TAG_ATTEMPT } from '../../../src/crds/names.ts';
import type { NodeEni, TerwayNode } from '../../../src/crds/node.ts';
import { StatusError } from '../../kube/model/errors.ts';
import { type KubeObject, recordAt } from '../../kube/model/objects.ts';
import type { CloudCall } from '../cloud-link.ts';
import { recordedIn } from '../invariants.ts';
import { nodeNameOf } from '../kubelets.ts';
import { addressesIn } from '../node/kernel.ts';
import { NODES, type World } from '../world.ts';
import type { PoolAct, PoolKnobs, SpecAuthor } from './acts.ts';
import { EXHAUSTED, type SeededFaults } from './faults.ts';
import { isShared, NAMESPACE, SHARED_NUMBERS } from './pods.ts';
import { isDualStack } from './pool-places.ts';
import { nodeName, type SeededUsers, USER } from './seeded-users.ts';

const MERGE_PATCH = 'application/merge-patch+json';
const configSchema = z.object({ eni_conf: z.string().transform((text) => z.looseObject({}).parse(JSON.parse(text))) });
const knobsSchema = z.object({
  eni_conf: z.string().transform((text) =>
    z
      .object({
        max_pool_size: z.number(),
        min_pool_size: z.number(),
        ip_warm_up_size: z.number(),
        ip_pool_sync_period: z.string(),
        idle_ip_reclaim_after: z.string(),
      })
      .parse(JSON.parse(text)),
  ),
});
const addressesSchema = z.object({ podIPs: z.array(z.object({ ip: z.string() })).default([]) });

export interface SeededPoolOptions {
  world: World;
  faults: SeededFaults;
  users: SeededUsers;
  /** Security groups, by the numbers of a plan. */
  groups: readonly string[];
  /** What `eni_conf` says at first; undefined: no pod shares ENIs. */
  knobs: PoolKnobs | undefined;
  /** After a restored backup people delete Node CRs. */
  deletesRecords: boolean;
}

/** Carries out what people do to the ENIs that the pods of a node share, and notes what they took from pods. */
export class SeededPool {
  readonly #options: SeededPoolOptions;
  readonly #world: World;
  /** Addresses that somebody took from an ENI, by ENI. The cloud may give them to others. */
  readonly #taken = new Map<string, Set<string>>();
  /** Uids of pods from which somebody took an address, or that were given one which somebody had taken. */
  readonly #bereft = new Set<string>();
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

  /** How many idle addresses a node is to have, and may have: as the owner of `spec.pool` says, or `eni_conf`. */
  idleFor({ metadata, spec }: TerwayNode): { least: number; most: number } {
    const { minPoolSize = 0, maxPoolSize = 0 } = spec.pool ?? {};
    const isOwned = metadata.managedFields?.all.includes('pool') === true;
    const least = isOwned ? minPoolSize : (this.#knobs?.min_pool_size ?? 0);
    return { least, most: Math.max(least, isOwned ? maxPoolSize : (this.#knobs?.max_pool_size ?? 0)) };
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
    const { ipv4 = [], ipv6 = [] } = this.#world.cloud.eni(eniId) ?? {};
    for (const ip of [...ipv4, ...ipv6]) this.#take(eniId, ip);
  }

  /** A record was written: what it does not name any more, and no sandbox has, nobody has. */
  noteRecord({ metadata, status }: TerwayNode): void {
    for (const [id, eni] of Object.entries(status?.networkInterfaces ?? {})) {
      for (const { ip, podUID = '' } of addressesOf(eni)) if (this.isTaken(id, ip)) this.#bereft.add(podUID);
      for (const ip of this.#taken.get(id) ?? []) {
        const isRecorded = (eni.ipv4?.[ip] ?? eni.ipv6?.[ip]) !== undefined;
        const isNamed = isRecorded || this.#hasSandboxWith(metadata.name, ip);
        if (!isNamed) this.#taken.get(id)?.delete(ip);
      }
    }
  }

  #hasSandboxWith(node: string, ip: string): boolean {
    const wirings = this.#world.machines.get(node)?.kernel.wirings.values() ?? [];
    return [...wirings].some(({ attachment }) => addressesIn(attachment).includes(ip));
  }

  /** A record is gone. Until the next one has taken in what the instance has, no object names its ENIs if somebody deleted it. */
  noteGone(node: TerwayNode): void {
    if (!this.#deletedRecords.delete(node.metadata.name)) return;
    const { ids, tokens } = recordedIn({ podEnis: [], nodes: [node], networkInterfaces: [] });
    // The intent of a trunk goes with the record that has it.
    const named = this.#world.cloud.enis().filter(({ id, tags }) => ids.has(id) || tokens.has(tags[TAG_ATTEMPT] ?? ''));
    for (const { id } of named) this.#options.users.touched.add(id);
  }

  /** A backup was restored: records name addresses that the cloud has taken back, and may have given to others. */
  noteRestored(): void {
    if (this.#knobs === undefined) return;
    this.#deletedRecords.clear();
    const target = { resource: 'configmaps', namespace: 'kube-system', name: 'eni-config', subresource: '' };
    this.#knobs = knobsSchema.parse(this.#world.kube.peek('configmaps', target)?.['data']).eni_conf;
    for (const { metadata, status } of this.#world.state().nodes) {
      for (const eni of Object.values(status?.networkInterfaces ?? {})) {
        const shown = this.#world.cloud.eni(eni.id);
        const has = new Set([...(shown?.ipv4 ?? []), ...(shown?.ipv6 ?? [])]);
        for (const { ip } of addressesOf(eni)) if (!has.has(ip)) this.#take(eni.id, ip);
      }
      if (!this.#world.machines.has(metadata.name)) continue;
      // Somebody had deleted it before the backup.
      if (metadata.deletionTimestamp !== undefined) this.#deletedRecords.add(metadata.name);
      if (this.#options.deletesRecords) this.#deleteRecord(metadata.name);
    }
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
        this.#unassign(act);
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
        return;
      case 'own-pool':
        this.#own(nodeName(act.node), 'pool', poolSpecOf(act.knobs), act.by);
        this.#noteReserve(act.knobs);
        return;
      case 'own-eni': {
        const { spec } = this.#world.nodeRecord(nodeName(act.node)) ?? {};
        const eni = { ...spec?.eni, securityGroupIDs: [this.#options.groups[act.group] ?? ''] };
        if (spec?.eni !== undefined) this.#own(nodeName(act.node), 'eni', eni, act.by);
        return;
      }
      case 'own-flavor': {
        const { flavor } = this.#world.nodeRecord(nodeName(act.node))?.spec ?? {};
        const fewer = flavor?.map(({ count = 0, ...kind }) => ({
          ...kind,
          count: Math.max(Math.min(count, 2), count - 1),
        }));
        if (fewer !== undefined) this.#own(nodeName(act.node), 'flavor', fewer, act.by);
        return;
      }
      case 'fill-shared-vswitch':
        this.#fillVSwitch(act.what, act.forMs);
    }
  }

  /** A pod whose address is gone is deleted (docs/troubleshooting.md). */
  attend(): void {
    this.#takeBackAssigned();
    for (const pod of this.livePods()) {
      const { uid, name } = pod.metadata;
      const { podIPs } = addressesSchema.parse(pod['status'] ?? {});
      const enis = this.#enisOf(nodeNameOf(pod));
      const own = enis.flatMap((eni) => addressesOf(eni).filter(({ podUID }) => podUID === uid));
      const isLost = own.some(({ status }) => status === 'Invalid');
      // Its event says so, also when a leader with late stores has given it another one.
      const shown = enis.flatMap(({ id }) => this.#world.cloud.eni(id) ?? []);
      const isThere = ({ ip }: { ip: string }) =>
        shown.some(({ ipv4, ipv6 }) => ipv4.includes(ip) || ipv6.includes(ip));
      const isAstray = enis.length > 0 && !podIPs.every(isThere);
      // Its record was lost as well, and its node restarted: its event said so before that.
      const isHalf =
        this.#bereft.has(uid) && podIPs.length === 1 && isDualStack(this.#world.nodeRecord(nodeNameOf(pod)));
      if (isLost || isAstray || isHalf) this.#world.deletePod(`${NAMESPACE}/${name}`, 0);
    }
  }

  /** Who has assigned more addresses to a detached ENI than its instance lets it have takes them back: its attach says so. */
  #takeBackAssigned(): void {
    for (const { metadata } of this.#world.state().nodes) {
      for (const { id, status, ipv4: known } of this.#enisOf(metadata.name)) {
        const ips = this.#world.cloud.eni(id)?.ipv4.filter((ip) => known?.[ip] === undefined) ?? [];
        if (status !== 'Attaching' || known === undefined || ips.length === 0) continue;
        this.#options.users.inConsole('UnassignPrivateIpAddresses', { NetworkInterfaceId: id, PrivateIpAddress: ips });
      }
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

  /** Writes a field of `spec`, as the one who it is from then on, unless the API server refuses what would be left of an earlier apply. */
  #own(name: string, field: DaemonField, value: unknown, by: SpecAuthor): void {
    try {
      this.#write(name, field, value, by);
    } catch (error) {
      if (!(error instanceof StatusError) || error.code !== 422) throw error;
    }
  }

  #write(name: string, field: DaemonField, value: unknown, by: SpecAuthor): void {
    const { kube, clock } = this.#world;
    const target = { resource: NODES, namespace: undefined, name, subresource: '' };
    const found = kube.peek(NODES, target);
    if (found === undefined) return;
    const caller = (manager: string) => ({ actor: USER, manager, nowMs: clock.now() });
    const spec = { [field]: value };
    switch (by) {
      case 'daemon':
        kube.update(target, { ...found, spec: { ...recordAt(found, 'spec'), ...spec } }, caller('terwayd'));
        return;
      case 'edit':
        kube.patch(target, MERGE_PATCH, { spec }, caller('kubectl-edit'));
        return;
      case 'apply': {
        const { apiVersion, kind } = found;
        kube.apply(target, { apiVersion, kind, metadata: { name }, spec }, true, caller('kubectl'));
      }
    }
  }

  /** The vSwitch of the ENIs that pods share has no addresses left, or none of IPv6. */
  #fillVSwitch(what: 'all' | 'ipv6', forMs: number): void {
    const { clock, nodeVSwitchId } = this.#world;
    const takes = ({ action, params }: CloudCall) => {
      if (action.startsWith('Assign')) return what === 'all' || action === 'AssignIpv6Addresses';
      if (action !== 'CreateNetworkInterface' || params['VSwitchId'] !== nodeVSwitchId) return false;
      return what === 'all' || params['Ipv6AddressCount'] !== undefined;
    };
    this.#options.faults.refuse({ ...EXHAUSTED, untilMs: clock.monotonicMs() + forMs, matches: takes });
  }

  #noteReserve({ min_pool_size: least = 0, ip_warm_up_size: warmUp = 0 }: Partial<PoolKnobs> = {}): void {
    this.#mostReserve = Math.max(this.#mostReserve, least, warmUp);
  }

  #unassign({ node, family, address, isBound }: Extract<PoolAct, { kind: 'unassign-address' }>): void {
    const found = this.#enisOf(nodeName(node)).flatMap((eni) =>
      addressesOf(eni, family)
        .filter(({ primary, podUID = '' }) => !primary && (podUID !== '') === isBound)
        .map(({ ip, podUID = '' }) => ({ eniId: eni.id, ip, podUID })),
    );
    const { eniId, ip, podUID = '' } = found[address % found.length] ?? {};
    if (eniId === undefined || ip === undefined) return;
    if (this.#world.cloud.eni(eniId)?.[family].includes(ip) !== true) return;
    this.#take(eniId, ip);
    this.#bereft.add(podUID);
    const [action, parameter] =
      family === 'ipv4' ? ['UnassignPrivateIpAddresses', 'PrivateIpAddress'] : ['UnassignIpv6Addresses', 'Ipv6Address'];
    this.#options.users.inConsole(action, { NetworkInterfaceId: eniId, [parameter]: [ip] });
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

/** As Terway's daemon writes it. */
function poolSpecOf(knobs: PoolKnobs): NonNullable<TerwayNode['spec']['pool']> {
  const { min_pool_size, max_pool_size, ip_warm_up_size, ip_pool_sync_period, idle_ip_reclaim_after } = knobs;
  return {
    minPoolSize: min_pool_size,
    maxPoolSize: max_pool_size,
    warmUpSize: ip_warm_up_size,
    ...(ip_pool_sync_period === '' ? {} : { poolSyncPeriod: ip_pool_sync_period }),
    ...(idle_ip_reclaim_after === ''
      ? {}
      : { reclaim: { after: idle_ip_reclaim_after, interval: '10m', batchSize: 5 } }),
  };
}
