import type { NodeEni, PoolIntent } from '../../crds/node.ts';
import {
  addressesOf,
  type Counts,
  FAMILIES,
  type Families,
  type Family,
  idleOf,
  intentFor,
  isIdle,
  isOpen,
  type PoolDraft,
} from './view.ts';

/** What instance type and configuration allow. */
export interface PoolLimits {
  /** ENIs of the pool; the trunk counts. */
  enis: number;
  /** ENIs that may stay although no more would be made: the place of a trunk that the node does not get. Absent: `enis`. */
  places?: number;
  /** Addresses of one ENI; the primary one counts. */
  perEni: Counts;
  /** ENIs of the pool that are attached at a time. */
  attachments: number;
}

/** Addresses to ask for: for an ENI, or with a new one. */
export interface Growth {
  eniId?: string;
  counts: Counts;
}

export interface GrowthPlan {
  growth: Growth[];
  /** Addresses that are wanted, and that neither an ENI nor a new one has room for. */
  beyond: number;
}

/**
 * The most that one call gives. The cloud documents 49 secondary addresses for a creation and 10 IPv6 addresses for any call; an ENI in
 * use takes as many IPv4 addresses as its type allows.
 */
const PER_CREATION: Counts = { ipv4: 50, ipv6: 10 };
const PER_ASSIGNMENT: Counts = { ipv4: 49, ipv6: 10 };

/**
 * The calls that bring `wanted` more addresses: existing ENIs are filled first, the trunk before the others and full ones before
 * empty ones, then new ones are made. What an ENI with a call in progress has room for is asked for after that call, also of one
 * that is being made: it comes sooner than another ENI, and pods that come one after another do not get an ENI each.
 *
 * @param wanted pods' worth of addresses, beyond those that are idle or on their way
 * @param may.grow whether the vSwitch of an ENI has addresses
 * @param may.make whether ENIs may be made
 * @param may.wait whether the ENI of this intent is still to be expected soon
 */
export function grow(
  draft: PoolDraft,
  wanted: number,
  families: Families,
  limits: PoolLimits,
  may: { grow: (eni: NodeEni) => boolean; make: boolean; wait: (intent: PoolIntent) => boolean },
): GrowthPlan {
  let rest = wanted;
  const growth: Growth[] = [];
  for (const eni of Object.values(draft.enis).sort(byUse)) {
    if (rest <= 0) break;
    if (!isOpen(draft, eni) || !may.grow(eni)) continue;
    const intent = intentFor(draft, eni.id);
    if (intent !== undefined) {
      rest -= Math.max(0, Math.min(rest, roomBeside(intent, eni, families, limits)));
      continue;
    }
    const lacking = fill(eni, rest, families, limits);
    const brings = Math.min(...families.map((family) => idle(eni, family) + lacking[family])) - idleOf(eni, families);
    if (brings <= 0) continue;
    growth.push({ eniId: eni.id, counts: atMost(lacking, PER_ASSIGNMENT) });
    rest -= brings;
  }
  rest -= Math.max(0, Math.min(rest, roomToCome(draft, families, limits, may)));
  const unborn = draft.intents.filter(({ eniID }) => draft.enis[eniID] === undefined).length;
  const attaching = Object.values(draft.enis).filter((eni) => eni.status === 'Attaching' && !hasFailed(eni)).length;
  const known = Object.keys(draft.enis).length + unborn;
  // More would only wait for their attachment.
  let room = Math.min(limits.enis - known, limits.attachments - attaching - unborn);
  for (; may.make && rest > 0 && room > 0; room -= 1) {
    const lacking = Math.min(rest, ...families.map((family) => limits.perEni[family]), PER_CREATION.ipv4);
    if (lacking <= 0) break;
    const count = (family: Family) => (families.includes(family) ? lacking : 0);
    // Every ENI has a primary IPv4 address.
    growth.push({ counts: atMost({ ipv4: Math.max(1, count('ipv4')), ipv6: count('ipv6') }, PER_CREATION) });
    rest -= lacking;
  }
  return { growth, beyond: Math.max(0, rest) };
}

/** The last call for it has failed, and may never succeed: it waits for its turn behind others. */
function hasFailed({ conditions }: NodeEni): boolean {
  return conditions?.['OperationErr'] !== undefined;
}

function atMost({ ipv4, ipv6 }: Counts, most: Counts): Counts {
  return { ipv4: Math.min(ipv4, most.ipv4), ipv6: Math.min(ipv6, most.ipv6) };
}

/**
 * Pods' worth of addresses that intents will bring. One that asks for all the IPv6 addresses of a call is followed by another, up to as
 * many as there are IPv4 addresses.
 */
export function onTheWay({ intents, enis }: PoolDraft, families: Families, limits: PoolLimits): number {
  const brings = intents.map((intent) => {
    const known = enis[intent.eniID];
    const eni = known?.status === 'InUse' ? known : undefined;
    const will = (family: Family) =>
      (eni === undefined ? 0 : idle(eni, family)) + broughtBy(intent, family, families, eni, limits);
    return Math.min(...families.map(will)) - (eni === undefined ? 0 : idleOf(eni, families));
  });
  return brings.reduce((sum, count) => sum + count, 0);
}

/** Addresses that an intent and those that follow it bring to an ENI, which is undefined until it is in use. */
function broughtBy(
  intent: PoolIntent,
  family: Family,
  families: Families,
  eni: NodeEni | undefined,
  limits: PoolLimits,
): number {
  const isFollowed = family === 'ipv6' && families.length > 1 && intent.ipv6 >= PER_ASSIGNMENT.ipv6;
  if (!isFollowed) return intent[family];
  return Math.max(eni === undefined ? limits.perEni.ipv6 : roomOf(eni, 'ipv6', limits), intent.ipv6);
}

/** Pods' worth of addresses that ENIs which are not in use yet have room for beyond what they were asked for with. */
function roomToCome(
  { intents, enis }: PoolDraft,
  families: Families,
  limits: PoolLimits,
  may: Pick<Parameters<typeof grow>[4], 'grow' | 'wait'>,
): number {
  let sum = 0;
  for (const intent of intents) {
    const { eniID, vSwitchID } = intent;
    const eni = enis[eniID] ?? { id: eniID, status: 'Attaching', vSwitchID };
    if (eni.status !== 'Attaching' || !may.grow(eni) || !may.wait(intent)) continue;
    sum += Math.max(0, roomBeside(intent, undefined, families, limits));
  }
  return sum;
}

/**
 * Pods' worth of addresses that an ENI has room for beyond those that it has and those that its intent brings. What the intent brings of one
 * family alone takes no room, because the other family's is asked for with the next one.
 *
 * @param eni undefined until it is in use
 */
function roomBeside(intent: PoolIntent, eni: NodeEni | undefined, families: Families, limits: PoolLimits): number {
  const has = (family: Family) => (eni === undefined ? 0 : idle(eni, family));
  const room = (family: Family) => (eni === undefined ? limits.perEni[family] : roomOf(eni, family, limits));
  const most = Math.min(...families.map((family) => has(family) + room(family)));
  return most - Math.min(...families.map((family) => has(family) + broughtBy(intent, family, families, eni, limits)));
}

function roomOf(eni: NodeEni, family: Family, { perEni }: PoolLimits): number {
  const prefixes = (family === 'ipv4' ? eni.ipv4Prefix : eni.ipv6Prefix)?.length ?? 0;
  return perEni[family] - addressesOf(eni, family).length - prefixes;
}

/** What the ENI lacks to serve `more` pods more, as far as it has room. */
function fill(eni: NodeEni, more: number, families: Families, limits: PoolLimits): Counts {
  const target = idleOf(eni, families) + more;
  const count = (family: Family) =>
    families.includes(family) ? Math.max(0, Math.min(target - idle(eni, family), roomOf(eni, family, limits))) : 0;
  return { ipv4: count('ipv4'), ipv6: count('ipv6') };
}

function idle(eni: NodeEni, family: Family): number {
  return addressesOf(eni, family).filter(isIdle).length;
}

/** The trunk first, because it stays in any case; then those with the most addresses. */
export function byUse(one: NodeEni, other: NodeEni): number {
  const isTrunk = ({ networkInterfaceType }: NodeEni) => (networkInterfaceType === 'Trunk' ? 1 : 0);
  const size = (eni: NodeEni) => FAMILIES.reduce((sum, family) => sum + addressesOf(eni, family).length, 0);
  return isTrunk(other) - isTrunk(one) || size(other) - size(one) || (one.id < other.id ? -1 : 1);
}
