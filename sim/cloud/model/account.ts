import { EventQueue } from '../../../src/util/event-queue.ts';
import { Ipv4Pool, Ipv6Pool, type Taken } from './address-pool.ts';
import {
  AttachFaults,
  type Behaviour,
  type BehaviourChanges,
  CallMeter,
  Ghosts,
  QUIET,
  withBehaviour,
} from './behaviour.ts';
import type { Eni, EniAttachment, EniStatus, EniType, Instance, SecurityGroup, Vpc, VSwitch } from './entities.ts';
import { ApiError, ipInvalid, ipNotEnough, notFound } from './errors.ts';
import { IdGenerator } from './ids.ts';
import type { InstanceType } from './instance-types.ts';
import { Journal } from './journal.ts';
import { MultiIndex } from './multi-index.ts';

/** Durations of cloud operations, in milliseconds. They can be changed at run time. */
export interface Latencies {
  /** Delay of the response to CreateNetworkInterface. The ENI exists from the start of the call. */
  createMs: number;
  /** Attaching → InUse. */
  attachMs: number;
  /** Detaching → Available. */
  detachMs: number;
  /** Deleting → gone. */
  deleteMs: number;
  /** Delay of every other response. */
  answerMs: number;
}

/** Latencies to change. Absent or undefined ones stay. */
export type LatencyChanges = { [K in keyof Latencies]?: number | undefined };

/** `current` with the changes. */
export function withLatencies(current: Latencies, changes: LatencyChanges): Latencies {
  return {
    createMs: changes.createMs ?? current.createMs,
    attachMs: changes.attachMs ?? current.attachMs,
    detachMs: changes.detachMs ?? current.detachMs,
    deleteMs: changes.deleteMs ?? current.deleteMs,
    answerMs: changes.answerMs ?? current.answerMs,
  };
}

export interface AccountOptions {
  regionId: string;
  zoneIds: string[];
  ownerId: string;
  resourceGroupId: string;
  latencies: Latencies;
  behaviour: BehaviourChanges;
  instanceTypes: InstanceType[];
  /** Seed of ids, MAC and IP addresses. */
  seed: number;
  journalCapacity: number;
}

/** A pending completion. `epoch` tells whether it is stale. */
export interface Completion {
  kind: 'attach' | 'attach-fails' | 'detach' | 'delete';
  eniId: string;
  epoch: number;
}

/**
 * The objects of one account in one region, with indexes that keep reads proportional to their results. Status, attachment,
 * groups, tags and addresses of an ENI change only here, so the indexes cannot drift.
 */
export class Account {
  readonly regionId: string;
  readonly zoneIds: readonly string[];
  readonly ownerId: string;
  readonly resourceGroupId: string;
  latencies: Latencies;
  /** Set by the model, which advances the time. */
  nowMs = 0;
  readonly attachFaults = new AttachFaults();
  readonly callMeter = new CallMeter();
  #behaviour: Behaviour = QUIET;
  /** Kept only where lists lag behind them. */
  readonly #assignments: { eniId: string; ips: readonly string[]; atMs: number }[] = [];
  readonly #ghosts = new Ghosts();
  readonly ids: IdGenerator;
  readonly journal: Journal;
  readonly completions = new EventQueue<Completion>();
  readonly instanceTypes = new Map<string, InstanceType>();
  readonly vpcs = new Map<string, Vpc>();
  readonly vSwitches = new Map<string, VSwitch>();
  readonly securityGroups = new Map<string, SecurityGroup>();
  readonly instances = new Map<string, Instance>();
  /** In order of creation. */
  readonly enis = new Map<string, Eni>();
  readonly enisByInstance = new MultiIndex<Eni>();
  readonly enisByVSwitch = new MultiIndex<Eni>();
  readonly enisByTrunk = new MultiIndex<Eni>();
  readonly enisBySecurityGroup = new MultiIndex<Eni>();
  /** Keys are `tag key`, and `tag key`, line feed, `tag value`. */
  readonly enisByTag = new MultiIndex<Eni>();
  readonly #ipv4Pools = new Map<string, Ipv4Pool>();
  readonly #ipv6Pools = new Map<string, Ipv6Pool>();
  #nextSeq = 1;

  constructor(options: AccountOptions) {
    this.regionId = options.regionId;
    this.zoneIds = [...options.zoneIds];
    this.ownerId = options.ownerId;
    this.resourceGroupId = options.resourceGroupId;
    this.latencies = { ...options.latencies };
    this.changeBehaviour(options.behaviour);
    this.ids = new IdGenerator(options.seed, options.regionId);
    this.journal = new Journal(options.journalCapacity);
    for (const type of options.instanceTypes) this.instanceTypes.set(type.instanceTypeId, type);
  }

  get behaviour(): Behaviour {
    return this.#behaviour;
  }

  /** Replaced parts count from zero again. */
  changeBehaviour(changes: BehaviourChanges): Behaviour {
    this.#behaviour = withBehaviour(this.#behaviour, changes);
    if (changes.attachFaults !== undefined) this.attachFaults.set(changes.attachFaults);
    if (changes.rateWindows !== undefined) this.callMeter.reset();
    return this.#behaviour;
  }

  /** Whether lists show the ENI yet. */
  isListed(eni: Eni): boolean {
    return eni.creationTimeMs + this.#behaviour.listLag.createdMs <= this.nowMs;
  }

  /** An ENI has got addresses. */
  noteAssigned({ id }: Eni, ips: readonly string[]): void {
    if ((this.#behaviour.listLag.assignedMs ?? 0) > 0) this.#assignments.push({ eniId: id, ips, atMs: this.nowMs });
  }

  /** Those of the addresses of an ENI that lists show already. */
  listedAddresses({ id }: Eni, ips: readonly string[]): string[] {
    const { assignedMs = 0 } = this.#behaviour.listLag;
    const late = this.#assignments.filter(({ eniId, atMs }) => eniId === id && atMs + assignedMs > this.nowMs);
    return ips.filter((ip) => !late.some((assignment) => assignment.ips.includes(ip)));
  }

  /** Deleted ENIs that lists still show. */
  ghosts(): Eni[] {
    return this.#ghosts.visible(this.#behaviour.listLag, this.nowMs);
  }

  nextSeq(): number {
    return this.#nextSeq++;
  }

  /** Throws InvalidEniId.NotFound. */
  eni(id: string): Eni {
    const eni = this.enis.get(id);
    if (eni === undefined) throw notFound.eni(id);
    return eni;
  }

  /** Throws InvalidVSwitchId.NotFound. */
  vSwitch(id: string): VSwitch {
    const vSwitch = this.vSwitches.get(id);
    if (vSwitch === undefined) throw notFound.vSwitch(id);
    return vSwitch;
  }

  /** Throws InvalidInstanceId.NotFound. */
  instance(id: string): Instance {
    const instance = this.instances.get(id);
    if (instance === undefined) throw notFound.instance(id);
    return instance;
  }

  /** Throws InvalidSecurityGroupId.NotFound. */
  securityGroup(id: string): SecurityGroup {
    const group = this.securityGroups.get(id);
    if (group === undefined) throw notFound.securityGroup(id);
    return group;
  }

  /** The limits of an instance. Its type was checked when the instance was created. */
  typeOf(instance: Instance): InstanceType {
    const type = this.instanceTypes.get(instance.instanceType);
    if (type === undefined) throw new Error(`instance ${instance.id} has the unknown type ${instance.instanceType}`);
    return type;
  }

  addVSwitch(vSwitch: VSwitch): void {
    this.vSwitches.set(vSwitch.id, vSwitch);
    this.#ipv4Pools.set(vSwitch.id, new Ipv4Pool(vSwitch.cidrBlock));
    if (vSwitch.ipv6CidrBlock !== '') this.#ipv6Pools.set(vSwitch.id, new Ipv6Pool(vSwitch.ipv6CidrBlock));
  }

  removeVSwitch(id: string): void {
    this.vSwitches.delete(id);
    this.#ipv4Pools.delete(id);
    this.#ipv6Pools.delete(id);
  }

  ipv4Pool(vSwitchId: string): Ipv4Pool {
    const pool = this.#ipv4Pools.get(vSwitchId);
    if (pool === undefined) throw notFound.vSwitch(vSwitchId);
    return pool;
  }

  /** Throws InvalidVSwitch.Ipv6NotTurnOn for a vSwitch without an IPv6 block. */
  ipv6Pool(vSwitchId: string): Ipv6Pool {
    const pool = this.#ipv6Pools.get(vSwitchId);
    if (pool === undefined) {
      throw new ApiError('InvalidVSwitch.Ipv6NotTurnOn', 403, `IPv6 is not enabled for the VSwitch "${vSwitchId}".`);
    }
    return pool;
  }

  addEni(eni: Eni): void {
    this.enis.set(eni.id, eni);
    this.enisByVSwitch.add(eni.vSwitchId, eni);
    for (const groupId of eni.securityGroupIds) this.enisBySecurityGroup.add(groupId, eni);
    for (const [key, value] of eni.tags) this.#indexTag(eni, key, value);
    if (eni.attachment !== undefined) this.#indexAttachment(eni, eni.attachment);
    this.journal.totals.eniCreated += 1;
  }

  /** Removes the ENI and returns its addresses to the vSwitch. */
  removeEni(eni: Eni): void {
    this.#ghosts.add(eni, this.#behaviour.listLag, this.nowMs);
    this.setAttachment(eni, undefined);
    for (const [key, value] of eni.tags) this.#unindexTag(eni, key, value);
    for (const groupId of eni.securityGroupIds) this.enisBySecurityGroup.delete(groupId, eni);
    this.enisByVSwitch.delete(eni.vSwitchId, eni);
    this.enis.delete(eni.id);
    const ipv4 = this.#ipv4Pools.get(eni.vSwitchId);
    for (const address of eni.ipv4) ipv4?.release(address);
    for (const prefix of eni.ipv4Prefixes) ipv4?.releasePrefix(prefix);
    const ipv6 = this.#ipv6Pools.get(eni.vSwitchId);
    for (const address of eni.ipv6) ipv6?.release(address);
    for (const prefix of eni.ipv6Prefixes) ipv6?.releasePrefix(prefix);
    this.journal.totals.eniDeleted += 1;
  }

  /** The only place that changes a status. Makes all planned completions of the ENI stale. */
  setStatus(eni: Eni, status: EniStatus, type: EniType = eni.type): void {
    eni.status = status;
    eni.type = type;
    eni.epoch += 1;
  }

  setAttachment(eni: Eni, attachment: EniAttachment | undefined): void {
    if (eni.attachment !== undefined) {
      this.enisByInstance.delete(eni.attachment.instanceId, eni);
      if (eni.attachment.trunk !== undefined) this.enisByTrunk.delete(eni.attachment.trunk.eniId, eni);
      delete eni.attachment;
    }
    if (attachment !== undefined) {
      eni.attachment = attachment;
      this.#indexAttachment(eni, attachment);
    }
  }

  setSecurityGroups(eni: Eni, groupIds: string[]): void {
    for (const groupId of eni.securityGroupIds) this.enisBySecurityGroup.delete(groupId, eni);
    eni.securityGroupIds = [...groupIds];
    for (const groupId of groupIds) this.enisBySecurityGroup.add(groupId, eni);
  }

  setEniTag(eni: Eni, key: string, value: string): void {
    const old = eni.tags.get(key);
    if (old !== undefined) this.#unindexTag(eni, key, old);
    eni.tags.set(key, value);
    this.#indexTag(eni, key, value);
  }

  removeEniTag(eni: Eni, key: string): void {
    const old = eni.tags.get(key);
    if (old === undefined) return;
    this.#unindexTag(eni, key, old);
    eni.tags.delete(key);
  }

  /** Takes an address of the vSwitch. Throws IpNotEnough, IpInvalid or the error of `taken`. */
  takeIpv4(vSwitch: VSwitch, wanted: string | undefined, taken: (address: string) => ApiError): string {
    const pool = this.ipv4Pool(vSwitch.id);
    return settle(
      vSwitch,
      vSwitch.cidrBlock,
      wanted,
      taken,
      wanted === undefined ? pool.allocate() : pool.claim(wanted),
    );
  }

  takeIpv4Prefix(vSwitch: VSwitch, wanted: string | undefined, taken: (address: string) => ApiError): string {
    const pool = this.ipv4Pool(vSwitch.id);
    const result = wanted === undefined ? pool.allocatePrefix() : pool.claimPrefix(wanted);
    return settle(vSwitch, vSwitch.cidrBlock, wanted, taken, result);
  }

  takeIpv6(vSwitch: VSwitch, wanted: string | undefined, taken: (address: string) => ApiError): string {
    const pool = this.ipv6Pool(vSwitch.id);
    const result = wanted === undefined ? pool.allocate() : pool.claim(wanted);
    return settle(vSwitch, vSwitch.ipv6CidrBlock, wanted, taken, result);
  }

  takeIpv6Prefix(vSwitch: VSwitch, wanted: string | undefined, taken: (address: string) => ApiError): string {
    const pool = this.ipv6Pool(vSwitch.id);
    const result = wanted === undefined ? pool.allocatePrefix() : pool.claimPrefix(wanted);
    return settle(vSwitch, vSwitch.ipv6CidrBlock, wanted, taken, result);
  }

  #indexAttachment(eni: Eni, attachment: EniAttachment): void {
    this.enisByInstance.add(attachment.instanceId, eni);
    if (attachment.trunk !== undefined) this.enisByTrunk.add(attachment.trunk.eniId, eni);
  }

  #indexTag(eni: Eni, key: string, value: string): void {
    this.enisByTag.add(key, eni);
    this.enisByTag.add(`${key}\n${value}`, eni);
  }

  #unindexTag(eni: Eni, key: string, value: string): void {
    this.enisByTag.delete(key, eni);
    this.enisByTag.delete(`${key}\n${value}`, eni);
  }
}

function settle(
  vSwitch: VSwitch,
  cidrBlock: string,
  wanted: string | undefined,
  taken: (address: string) => ApiError,
  result: Taken,
): string {
  if (result.ok) return result.text;
  switch (result.refusal) {
    case 'exhausted':
      throw ipNotEnough(vSwitch.id);
    case 'invalid':
      throw ipInvalid(wanted ?? '', cidrBlock);
    case 'taken':
      throw taken(wanted ?? '');
  }
}
