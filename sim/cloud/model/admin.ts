import { type Account, type Latencies, type LatencyChanges, withLatencies } from './account.ts';

import { assignableTags, checkSecurityGroups, checkTagCount } from './checks.ts';
import { ipv4BlockContains, ipv6BlockContains, ipv6BlockHas, parseIpv4Block, parseIpv6Block } from './cidr.ts';
import { createEni, NO_EXTRA_ADDRESSES } from './eni-factory.ts';
import { becomeAvailable, complete } from './eni-lifecycle.ts';
import type { Eni, Instance, InstanceStatus, SecurityGroup, SecurityGroupType, Vpc, VSwitch } from './entities.ts';
import { ApiError, invalidParameter, notFound } from './errors.ts';

/**
 * What an account owner does outside the simulated API: set up the network, run and release instances, and change things by hand
 * without the control plane. Nothing here needs a signature or a token, or takes time.
 */

export interface CreateVpc {
  vpcId?: string | undefined;
  name?: string | undefined;
  cidrBlock: string;
  /** A /56; empty or absent for a VPC without IPv6. */
  ipv6CidrBlock?: string | undefined;
}

export interface CreateVSwitch {
  vSwitchId?: string | undefined;
  name?: string | undefined;
  vpcId: string;
  zoneId: string;
  cidrBlock: string;
  /** A /64 of the VPC's IPv6 block. */
  ipv6CidrBlock?: string | undefined;
}

export interface CreateSecurityGroup {
  securityGroupId?: string | undefined;
  name?: string | undefined;
  vpcId: string;
  type?: SecurityGroupType | undefined;
  /** For a basic group only. Default: `Accept`. */
  innerAccessPolicy?: 'Accept' | 'Drop' | undefined;
}

export interface RunInstance {
  instanceId?: string | undefined;
  name?: string | undefined;
  instanceType: string;
  vSwitchId: string;
  securityGroupIds: string[];
  primaryIpAddress?: string | undefined;
  /** Number of IPv6 addresses of the primary ENI. Default: 0. */
  ipv6AddressCount?: number | undefined;
  /** Default: `optional`. */
  httpTokens?: Instance['httpTokens'] | undefined;
  tags?: Record<string, string> | undefined;
}

/** Throws InvalidParameter, or a conflict when the id exists. */
export function createVpc(account: Account, request: CreateVpc, nowMs: number): Vpc {
  if (parseIpv4Block(request.cidrBlock) === undefined) throw invalidParameter('cidrBlock', 'an IPv4 block');
  checkIpv6Block(request.ipv6CidrBlock);
  const vpc: Vpc = {
    seq: account.nextSeq(),
    id: freshId(account.vpcs, request.vpcId, () => account.ids.next('vpc'), 'vpcId'),
    name: request.name ?? '',
    cidrBlock: request.cidrBlock,
    ipv6CidrBlock: request.ipv6CidrBlock ?? '',
    vRouterId: account.ids.next('vrt'),
    routeTableId: account.ids.next('vtb'),
    tags: new Map(),
    creationTimeMs: nowMs,
  };
  account.vpcs.set(vpc.id, vpc);
  return vpc;
}

/** The block must be a /16 to /29 inside the VPC and must not overlap another vSwitch, as documented. */
export function createVSwitch(account: Account, request: CreateVSwitch, nowMs: number): VSwitch {
  const vpc = account.vpcs.get(request.vpcId);
  if (vpc === undefined) throw notFound.vpc(request.vpcId);
  if (!account.zoneIds.includes(request.zoneId)) {
    throw new ApiError('InvalidZoneId.NotFound', 404, `The specified ZoneId "${request.zoneId}" does not exist.`);
  }
  const block = parseIpv4Block(request.cidrBlock);
  const outer = parseIpv4Block(vpc.cidrBlock);
  if (block === undefined || block.prefixLength < 16 || block.prefixLength > 29) {
    throw invalidParameter('cidrBlock', 'an IPv4 block of /16 to /29');
  }
  if (outer === undefined || !ipv4BlockContains(outer, block)) {
    throw invalidParameter('cidrBlock', `it must lie in ${vpc.cidrBlock}`);
  }
  for (const other of account.vSwitches.values()) {
    const taken = other.vpcId === vpc.id ? parseIpv4Block(other.cidrBlock) : undefined;
    if (taken !== undefined && taken.base < block.base + block.size && block.base < taken.base + taken.size) {
      throw new ApiError('InvalidCidrBlock.Overlapped', 400, `"${request.cidrBlock}" overlaps with "${other.id}".`);
    }
  }
  checkIpv6Block(request.ipv6CidrBlock);
  const wanted6 = parseIpv6Block(request.ipv6CidrBlock ?? '');
  const outer6 = parseIpv6Block(vpc.ipv6CidrBlock);
  if (wanted6 !== undefined && (outer6 === undefined || !ipv6BlockContains(outer6, wanted6))) {
    throw invalidParameter('ipv6CidrBlock', `it must lie in the VPC's ${vpc.ipv6CidrBlock || '(none)'}`);
  }
  for (const other of account.vSwitches.values()) {
    const taken = parseIpv6Block(other.ipv6CidrBlock);
    if (wanted6 === undefined || taken === undefined) continue;
    if (ipv6BlockHas(taken, wanted6.base) || ipv6BlockHas(wanted6, taken.base)) {
      throw new ApiError('InvalidCidrBlock.Overlapped', 400, `"${request.ipv6CidrBlock}" overlaps with "${other.id}".`);
    }
  }
  const vSwitch: VSwitch = {
    seq: account.nextSeq(),
    id: freshId(account.vSwitches, request.vSwitchId, () => account.ids.next('vsw'), 'vSwitchId'),
    name: request.name ?? '',
    vpcId: vpc.id,
    zoneId: request.zoneId,
    cidrBlock: request.cidrBlock,
    ipv6CidrBlock: request.ipv6CidrBlock ?? '',
    tags: new Map(),
    creationTimeMs: nowMs,
  };
  account.addVSwitch(vSwitch);
  return vSwitch;
}

/** Members of a basic (`normal`) group can reach each other. Members of an enterprise group cannot. */
export function createSecurityGroup(account: Account, request: CreateSecurityGroup, nowMs: number): SecurityGroup {
  if (!account.vpcs.has(request.vpcId)) throw notFound.vpc(request.vpcId);
  const type = request.type ?? 'normal';
  const group: SecurityGroup = {
    seq: account.nextSeq(),
    id: freshId(account.securityGroups, request.securityGroupId, () => account.ids.next('sg'), 'securityGroupId'),
    name: request.name ?? '',
    vpcId: request.vpcId,
    type,
    innerAccessPolicy: type === 'normal' ? (request.innerAccessPolicy ?? 'Accept') : 'Drop',
    description: '',
    rules: [],
    tags: new Map(),
    creationTimeMs: nowMs,
  };
  account.securityGroups.set(group.id, group);
  return group;
}

/** Starts a Running instance with its primary ENI, which is InUse from the start. */
export function runInstance(account: Account, request: RunInstance, nowMs: number): Instance {
  const vSwitch = account.vSwitch(request.vSwitchId);
  if (!account.instanceTypes.has(request.instanceType)) {
    throw new ApiError('InvalidInstanceType.NotFound', 404, `"${request.instanceType}" is not an instance type.`);
  }
  if (request.securityGroupIds.length === 0) throw invalidParameter('securityGroupIds', 'at least one is needed');
  const securityGroupIds = checkSecurityGroups(account, request.securityGroupIds, vSwitch.vpcId);
  const tags = assignableTags(Object.entries(request.tags ?? {}).map(([Key, Value]) => ({ Key, Value })));
  checkTagCount(tags.size);
  const id = freshId(account.instances, request.instanceId, () => account.ids.next('i'), 'instanceId');
  const eni = createEni(
    account,
    vSwitch,
    {
      type: 'Primary',
      name: '',
      description: '',
      securityGroupIds,
      tags: new Map(),
      resourceGroupId: account.resourceGroupId,
      deleteOnRelease: true,
      sourceDestCheck: false,
      trafficMode: 'Standard',
      addresses: {
        ...NO_EXTRA_ADDRESSES,
        primaryIp: request.primaryIpAddress,
        ipv6Count: request.ipv6AddressCount ?? 0,
      },
    },
    nowMs,
  );
  const instance: Instance = {
    seq: account.nextSeq(),
    id,
    name: request.name ?? id,
    hostName: request.name ?? id,
    instanceType: request.instanceType,
    zoneId: vSwitch.zoneId,
    vpcId: vSwitch.vpcId,
    vSwitchId: vSwitch.id,
    status: 'Running',
    primaryEniId: eni.id,
    httpTokens: request.httpTokens ?? 'optional',
    tags,
    creationTimeMs: nowMs,
  };
  account.instances.set(id, instance);
  account.setStatus(eni, 'InUse');
  account.setAttachment(eni, { instanceId: id, networkCardIndex: 0 });
  account.journal.totals.eniAttached += 1;
  return instance;
}

/**
 * Ends an instance. Its primary ENI is deleted. Other ENIs are deleted or become Available again, depending on DeleteOnRelease.
 * Immediate (assumed; the real release takes a while).
 */
export function releaseInstance(account: Account, instanceId: string): string[] {
  const instance = account.instance(instanceId);
  const changed: string[] = [instance.id];
  for (const eni of [...account.enisByInstance.get(instance.id)]) {
    changed.push(eni.id);
    if (eni.type === 'Primary' || eni.deleteOnRelease) account.removeEni(eni);
    else becomeAvailable(account, eni);
  }
  account.instances.delete(instance.id);
  return changed;
}

export function setInstanceStatus(account: Account, instanceId: string, status: InstanceStatus): Instance {
  const instance = account.instance(instanceId);
  instance.status = status;
  return instance;
}

/** Deletes an ENI at once, whatever its status. In the console this would take several steps. */
export function deleteEniByHand(account: Account, eniId: string): string[] {
  const eni = account.eni(eniId);
  if (eni.type === 'Primary')
    throw new ApiError('InvalidOperation.InvalidEniType', 403, 'A primary ENI cannot be deleted.');
  const changed = detachMembers(account, eni);
  account.removeEni(eni);
  return [eni.id, ...changed];
}

/** Detaches an ENI at once. The members of a trunk are detached first. */
export function detachEniByHand(account: Account, eniId: string): string[] {
  const eni = account.eni(eniId);
  if (eni.type === 'Primary')
    throw new ApiError('InvalidOperation.DetachPrimaryEniNotAllowed', 400, 'A primary ENI cannot be detached.');
  if (eni.attachment === undefined) return [];
  const changed = detachMembers(account, eni);
  becomeAvailable(account, eni);
  return [eni.id, ...changed];
}

function detachMembers(account: Account, trunk: Eni): string[] {
  const members = [...account.enisByTrunk.get(trunk.id)];
  for (const member of members) becomeAvailable(account, member);
  return members.map((member) => member.id);
}

/** Throws DependencyViolation while an ENI uses the group or a rule of another group names it. */
export function deleteSecurityGroup(account: Account, securityGroupId: string): void {
  const group = account.securityGroup(securityGroupId);
  if (account.enisBySecurityGroup.get(group.id).size > 0) throw inUse(group.id);
  for (const other of account.securityGroups.values()) {
    const named = other.rules.some((rule) => rule.sourceGroupId === group.id || rule.destGroupId === group.id);
    if (other.id !== group.id && named) throw inUse(group.id);
  }
  account.securityGroups.delete(group.id);
}

/** Throws DependencyViolation while an ENI is in the vSwitch. */
export function deleteVSwitch(account: Account, vSwitchId: string): void {
  const vSwitch = account.vSwitch(vSwitchId);
  if (account.enisByVSwitch.get(vSwitch.id).size > 0) throw inUse(vSwitch.id);
  account.removeVSwitch(vSwitch.id);
}

/** Throws DependencyViolation while a vSwitch or security group is in the VPC. */
export function deleteVpc(account: Account, vpcId: string): void {
  if (!account.vpcs.has(vpcId)) throw notFound.vpc(vpcId);
  const children = [...account.vSwitches.values(), ...account.securityGroups.values()];
  if (children.some((child) => child.vpcId === vpcId)) throw inUse(vpcId);
  account.vpcs.delete(vpcId);
}

/** Applies to changes that begin afterwards. */
export function setLatencies(account: Account, changes: LatencyChanges): Latencies {
  const latencies = withLatencies(account.latencies, changes);
  for (const [name, value] of Object.entries(latencies)) {
    if (!Number.isFinite(value) || value < 0) throw invalidParameter(name, 'milliseconds, 0 or more');
  }
  account.latencies = latencies;
  return latencies;
}

/** Completes all pending changes at once, for tests that do not want to wait. */
export function completeAll(account: Account): string[] {
  const changed: string[] = [];
  for (let event = account.completions.takeDue(Number.POSITIVE_INFINITY); event !== undefined; ) {
    if (complete(account, event.payload)) changed.push(event.payload.eniId);
    event = account.completions.takeDue(Number.POSITIVE_INFINITY);
  }
  return changed;
}

function inUse(id: string): ApiError {
  return new ApiError('DependencyViolation', 400, `"${id}" is still in use.`);
}

function freshId(
  existing: ReadonlyMap<string, unknown>,
  wanted: string | undefined,
  next: () => string,
  parameter: string,
): string {
  if (wanted === undefined) return next();
  if (!/^[a-z]{1,4}-[0-9a-zA-Z-]{1,40}$/.test(wanted)) throw invalidParameter(parameter, 'like vpc-bp1example');
  if (existing.has(wanted)) throw invalidParameter(parameter, `"${wanted}" exists already`);
  return wanted;
}

function checkIpv6Block(text: string | undefined): void {
  if (text === undefined || text === '') return;
  const block = parseIpv6Block(text);
  if (block === undefined || block.prefixLength > 64)
    throw invalidParameter('ipv6CidrBlock', 'an IPv6 block up to /64');
}
