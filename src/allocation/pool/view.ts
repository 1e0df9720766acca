import type { NodeAddress, NodeEni, PoolIntent } from '../../crds/node.ts';

/** A pod of the node in its own network. */
export interface PoolPod {
  /** `namespace/name` */
  key: string;
  uid: string;
  /** Addresses that its status shows; it may only get these. */
  reported: readonly string[];
  /** It is to have an address of the pool. Others, such as one that is being deleted, only keep what they use. */
  mayGet: boolean;
}

/** Address families that a pod gets, all from one ENI; at least one. */
export type Families = readonly Family[];
export type Family = 'ipv4' | 'ipv6';
export const FAMILIES: Families = ['ipv4', 'ipv6'];

/** How many addresses of each family. */
export type Counts = Readonly<Record<Family, number>>;

/** ENIs and intents of one node, as its Node CR records them; the steps of a plan change it. */
export interface PoolDraft {
  enis: Record<string, NodeEni>;
  intents: PoolIntent[];
  /** Id of an ENI whose place is needed: it gets and gives nothing as long as others can serve. */
  draining?: string | undefined;
  /** ENIs that are perhaps to be left alone, as the configuration was edited: they give nothing until their tags are known. */
  unread?: ReadonlySet<string> | undefined;
}

/** Pods get addresses only of an ENI that is in use, and whose MAC address and subnet the node knows. */
function isServing({ status, unschedulable, networkInterfaceTrafficMode, macAddress, ipv4CIDR }: NodeEni): boolean {
  // One for RDMA belongs to another device.
  if (status !== 'InUse' || unschedulable === true || networkInterfaceTrafficMode === 'HighPerformance') return false;
  return (macAddress ?? '') !== '' && (ipv4CIDR ?? '') !== '';
}

/** ENIs of the pool that it has made or taken over. The trunk is the node controller's, and others are left alone. */
export function isReleasable({ networkInterfaceType, networkInterfaceTrafficMode, unschedulable }: NodeEni): boolean {
  return (
    networkInterfaceType === 'Secondary' && networkInterfaceTrafficMode !== 'HighPerformance' && unschedulable !== true
  );
}

/** Whether the ENI takes part in what is handed out, asked for and given up. */
export function isOpen({ draining, unread }: Pick<PoolDraft, 'draining' | 'unread'>, eni: NodeEni): boolean {
  return isServing(eni) && eni.id !== draining && unread?.has(eni.id) !== true;
}

/** ENIs that can give pods addresses of these families. */
export function servingEnis(draft: Pick<PoolDraft, 'enis' | 'draining' | 'unread'>, families: Families): NodeEni[] {
  const hasSubnet = ({ ipv6CIDR = '' }: NodeEni) => !families.includes('ipv6') || ipv6CIDR !== '';
  return Object.values(draft.enis).filter((eni) => isOpen(draft, eni) && hasSubnet(eni));
}

/** The same with an ENI whose place is needed, for pods that others cannot serve. */
export function withDraining(draft: PoolDraft): PoolDraft {
  return { ...draft, draining: undefined };
}

export function addressesOf(eni: NodeEni, family?: Family): NodeAddress[] {
  const { ipv4 = {}, ipv6 = {} } = eni;
  const chosen = family === undefined ? { ...ipv4, ...ipv6 } : family === 'ipv4' ? ipv4 : ipv6;
  return Object.values(chosen);
}

export function isBound({ podID = '' }: NodeAddress): boolean {
  return podID !== '';
}

/** Whether a sandbox can get this address, now or once its ENI is attached again. */
export function isUsable(eni: NodeEni, { status }: NodeAddress): boolean {
  return status === 'Valid' && eni.status !== 'Deleting';
}

export function isIdle(address: NodeAddress): boolean {
  return address.status === 'Valid' && !isBound(address);
}

/** How many more pods the ENI can serve as it is: each needs an idle address of every family. */
export function idleOf(eni: NodeEni, families: Families): number {
  return Math.min(...families.map((family) => addressesOf(eni, family).filter(isIdle).length));
}

/** Idle addresses of one family that no address of the other family pairs with; the primary one has to stay. */
export function unpairedOf(eni: NodeEni, families: Families): number {
  const pairs = idleOf(eni, families);
  const spare = families.map((family) => {
    const idle = addressesOf(eni, family).filter(isIdle);
    return Math.min(idle.length - pairs, idle.filter(({ primary }) => !primary).length);
  });
  return Math.max(...spare);
}

/** Idle addresses of a family that pods do not get any more. */
export function unwantedOf(eni: NodeEni, families: Families): NodeAddress[] {
  const others = FAMILIES.filter((family) => !families.includes(family));
  return others.flatMap((family) => addressesOf(eni, family).filter((one) => isIdle(one) && !one.primary));
}

export function idleCount(draft: Pick<PoolDraft, 'enis' | 'draining' | 'unread'>, families: Families): number {
  return servingEnis(draft, families).reduce((sum, eni) => sum + idleOf(eni, families), 0);
}

/** ENIs that can give addresses up: nothing is being asked for them. */
export function givingEnis(draft: PoolDraft): NodeEni[] {
  return Object.values(draft.enis).filter((eni) => isOpen(draft, eni) && intentFor(draft, eni.id) === undefined);
}

/** Idle addresses of one family that pair with none, of all ENIs that can give them up. */
export function unpairedCount(draft: PoolDraft, families: Families): number {
  return givingEnis(draft).reduce((sum, eni) => sum + unpairedOf(eni, families), 0);
}

/** The intent of a call for this ENI whose result is not recorded yet. */
export function intentFor({ intents }: Pick<PoolDraft, 'intents'>, eniId: string): PoolIntent | undefined {
  return intents.find(({ eniID }) => eniID === eniId);
}
