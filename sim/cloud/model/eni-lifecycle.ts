import type { Account, Completion } from './account.ts';
import { checkInstanceSettled } from './checks.ts';
import type { Eni, Instance } from './entities.ts';
import {
  ApiError,
  eniPerInstanceLimit,
  invalidEniState,
  invalidEniType,
  notFound,
  vpcMismatch,
  zoneMismatch,
} from './errors.ts';
import { memberLimit } from './instance-types.ts';

/**
 * The life cycle of an ENI:
 *
 *   Available ──attach──▶ Attaching ──▶ InUse ──detach──▶ Detaching ──▶ Available ──delete──▶ Deleting ──▶ gone
 *
 * An attachment that fails goes from Attaching back to Available; one that hangs stays Attaching (behaviour.ts).
 * Each function makes one transition or refuses it. A Secondary ENI is a Member from the call that attaches it to a trunk until
 * its detachment has completed (assumed: from the call on, not from InUse).
 */

const MAX_VLAN_ID = 4094;

export interface AttachRequest {
  eniId: string;
  instanceId: string;
  /** ENI id of the trunk, for a member. */
  trunkEniId?: string | undefined;
  networkCardIndex?: number | undefined;
}

/** Available → Attaching. Throws as documented for AttachNetworkInterface. */
export function startAttach(account: Account, request: AttachRequest, nowMs: number): Eni {
  const eni = account.eni(request.eniId);
  const instance = account.instances.get(request.instanceId);
  if (instance === undefined) throw notFound.ecs(request.instanceId);
  if (eni.status !== 'Available') throw invalidEniState(eni.id, 'Available', eni.status);
  checkInstanceSettled(instance);
  if (eni.vpcId !== instance.vpcId) throw vpcMismatch(`"${eni.id}" and "${instance.id}" are in different VPCs`);
  if (eni.zoneId !== instance.zoneId) throw zoneMismatch(`"${eni.id}" and "${instance.id}" are in different zones`);
  checkAddressesFit(account, eni, instance);
  const networkCardIndex = request.networkCardIndex ?? 0;
  if (request.trunkEniId === undefined) {
    checkAdapterFits(account, eni, instance);
    account.setStatus(eni, 'Attaching');
    account.setAttachment(eni, { instanceId: instance.id, networkCardIndex });
  } else {
    const trunk = usableTrunk(account, eni, instance, request.trunkEniId);
    const limit = memberLimit(account.typeOf(instance));
    if (account.enisByTrunk.get(trunk.id).size >= limit) throw eniPerInstanceLimit(instance.id, 'member', limit);
    const vlanId = lowestFreeVlan(account, trunk.id);
    account.setStatus(eni, 'Attaching', 'Member');
    account.setAttachment(eni, { instanceId: instance.id, networkCardIndex, trunk: { eniId: trunk.id, vlanId } });
  }
  const end = account.attachFaults.next(eni.id, instance.id);
  const dueMs = nowMs + account.latencies.attachMs;
  if (end === 'succeeds') plan(account, 'attach', eni, dueMs);
  else if (end === 'fails') plan(account, 'attach-fails', eni, dueMs);
  return eni;
}

export interface DetachRequest {
  eniId: string;
  instanceId: string;
  /** ENI id of the trunk. Required for a member (assumed). */
  trunkEniId?: string | undefined;
}

/**
 * InUse → Detaching. A second call while Detaching is accepted and changes nothing, as documented. A trunk with members is refused
 * (assumed: InvalidOperation.EniLinked).
 */
export function startDetach(account: Account, request: DetachRequest, nowMs: number): Eni {
  const eni = account.eni(request.eniId);
  const instance = account.instances.get(request.instanceId);
  if (instance === undefined) throw notFound.ecs(request.instanceId);
  if (eni.type === 'Primary') {
    throw new ApiError(
      'InvalidOperation.DetachPrimaryEniNotAllowed',
      400,
      `The primary ENI "${eni.id}" cannot be detached.`,
    );
  }
  if (eni.status !== 'InUse' && eni.status !== 'Detaching') {
    throw invalidEniState(eni.id, 'InUse or Detaching', eni.status);
  }
  if (eni.attachment?.instanceId !== instance.id) {
    throw invalidEniState(eni.id, `InUse on ${instance.id}`, `${eni.status} on ${eni.attachment?.instanceId}`);
  }
  checkInstanceSettled(instance);
  const trunkEniId = eni.attachment.trunk?.eniId;
  if (trunkEniId !== request.trunkEniId) {
    throw invalidEniType(
      trunkEniId === undefined
        ? `"${eni.id}" is not a member of a trunk`
        : `"${eni.id}" is a member of the trunk "${trunkEniId}", which TrunkNetworkInstanceId must name`,
    );
  }
  if (eni.status === 'Detaching') return eni;
  if (account.enisByTrunk.get(eni.id).size > 0) {
    throw new ApiError('InvalidOperation.EniLinked', 403, `The trunk "${eni.id}" still has members.`);
  }
  account.setStatus(eni, 'Detaching');
  plan(account, 'detach', eni, nowMs + account.latencies.detachMs);
  return eni;
}

/** Available → Deleting. A second call while Deleting is accepted and changes nothing, as documented. */
export function startDelete(account: Account, eniId: string, nowMs: number): Eni {
  const eni = account.eni(eniId);
  if (eni.status === 'Deleting') return eni;
  if (eni.status !== 'Available') throw invalidEniState(eni.id, 'Available', eni.status);
  account.setStatus(eni, 'Deleting');
  plan(account, 'delete', eni, nowMs + account.latencies.deleteMs);
  return eni;
}

/** Completes an asynchronous change when it is due. A stale completion has no effect. Returns whether it had one. */
export function complete(account: Account, completion: Completion): boolean {
  const eni = account.enis.get(completion.eniId);
  if (eni === undefined || eni.epoch !== completion.epoch) return false;
  switch (completion.kind) {
    case 'attach':
      account.setStatus(eni, 'InUse');
      account.journal.totals.eniAttached += 1;
      return true;
    case 'attach-fails':
    case 'detach':
      becomeAvailable(account, eni);
      return true;
    case 'delete':
      account.removeEni(eni);
      return true;
  }
}

/** Detaches at once, whatever the status. For manual changes and released instances. */
export function becomeAvailable(account: Account, eni: Eni): void {
  if (eni.status === 'InUse' || eni.status === 'Detaching') account.journal.totals.eniDetached += 1;
  account.setAttachment(eni, undefined);
  account.setStatus(eni, 'Available', eni.type === 'Member' ? 'Secondary' : eni.type);
}

/** Number of adapters in use: everything attached to the instance except members. */
function adapterCount(account: Account, instanceId: string): number {
  let count = 0;
  for (const eni of account.enisByInstance.get(instanceId)) if (eni.type !== 'Member') count += 1;
  return count;
}

function plan(account: Account, kind: Completion['kind'], eni: Eni, dueMs: number): void {
  account.completions.plan(dueMs, { kind, eniId: eni.id, epoch: eni.epoch });
}

/** Assumed codes: for a second trunk, and for a trunk on a type without trunk support. */
function checkAdapterFits(account: Account, eni: Eni, instance: Instance): void {
  const type = account.typeOf(instance);
  if (eni.type === 'Trunk') {
    if (memberLimit(type) === 0) throw invalidEniType(`the instance type ${type.instanceTypeId} has no trunk support`);
    for (const other of account.enisByInstance.get(instance.id)) {
      if (other.type === 'Trunk') throw eniPerInstanceLimit(instance.id, 'trunk', 1);
    }
  }
  if (eni.trafficMode === 'HighPerformance') checkRdmaFits(account, instance, type.eriQuantity);
  if (adapterCount(account, instance.id) >= type.eniQuantity) {
    throw eniPerInstanceLimit(instance.id, 'attached', type.eniQuantity);
  }
}

function checkRdmaFits(account: Account, instance: Instance, limit: number): void {
  if (limit === 0) throw invalidEniType(`the instance type ${instance.instanceType} has no RDMA support`);
  let count = 0;
  for (const other of account.enisByInstance.get(instance.id)) if (other.trafficMode === 'HighPerformance') count += 1;
  if (count >= limit) throw eniPerInstanceLimit(instance.id, 'RDMA', limit);
}

function usableTrunk(account: Account, eni: Eni, instance: Instance, trunkEniId: string): Eni {
  if (eni.type !== 'Secondary') throw invalidEniType(`"${eni.id}" is of type ${eni.type}, a member must be Secondary`);
  const trunk = account.eni(trunkEniId);
  if (trunk.type !== 'Trunk') throw invalidEniType(`"${trunk.id}" is of type ${trunk.type}, not Trunk`);
  if (trunk.status !== 'InUse' || trunk.attachment?.instanceId !== instance.id) {
    throw invalidEniState(
      trunk.id,
      `InUse on ${instance.id}`,
      `${trunk.status} on ${trunk.attachment?.instanceId ?? '-'}`,
    );
  }
  return trunk;
}

function checkAddressesFit(account: Account, eni: Eni, instance: Instance): void {
  const type = account.typeOf(instance);
  if (eni.ipv4.length + eni.ipv4Prefixes.length > type.eniPrivateIpAddressQuantity) {
    throw new ApiError(
      'InvalidOperation.Ipv4CountExceeded',
      403,
      `"${eni.id}" has more IPv4 addresses than ${type.instanceTypeId} allows.`,
    );
  }
  if (eni.ipv6.length + eni.ipv6Prefixes.length > type.eniIpv6AddressQuantity) {
    throw new ApiError(
      'InvalidOperation.Ipv6CountExceeded',
      403,
      `"${eni.id}" has more IPv6 addresses than ${type.instanceTypeId} allows.`,
    );
  }
}

/** Lowest first, so a VLAN id is reused soon after a detachment (assumed; the hardest case for a client). */
function lowestFreeVlan(account: Account, trunkEniId: string): number {
  const taken = new Set<number>();
  for (const member of account.enisByTrunk.get(trunkEniId)) taken.add(member.attachment?.trunk?.vlanId ?? 0);
  for (let vlanId = 1; vlanId <= MAX_VLAN_ID; vlanId++) if (!taken.has(vlanId)) return vlanId;
  throw new ApiError('EniPerInstanceLimitExceeded', 403, `The trunk "${trunkEniId}" has no VLAN id left.`);
}
