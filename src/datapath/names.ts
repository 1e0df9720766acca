import { createHash } from 'node:crypto';
import type { PodAttachment, PodInterface } from './types.ts';

/** Links that we make are in it from the start, before they have an alias. */
export const OUR_GROUP = 84_084;
/** Links that are about to be deleted together. */
export const LEAVING_GROUP = 84_085;

/** Whether a link of this group is ours, although it has no alias that says so. */
export function isOurGroup(group: number): boolean {
  return group === OUR_GROUP || group === LEAVING_GROUP;
}

/** Next hops of pods: the host's end of their veth answers for them. */
export const LINK_LOCAL_GATEWAY = { ipv4: '169.254.1.1', ipv6: 'fe80::1' } as const;

/** The pod's end of the veth beside an exclusive ENI, named as upstream does. */
export const HOST_PEER_NAME = 'veth1';

/** Routing table of an ENI of the node, numbered as upstream does, or of an interface in a pod that has several. */
export function tableOf(linkIndex: number): number {
  return 1000 + linkIndex;
}

/** Routing tables of layout `marks`: pods that any packet may reach, and those that only unmarked packets may. */
export const POD_TABLE = { open: 910, isolated: 911 } as const;

export const RULE_PRIORITY = {
  isolated: 510,
  /** Layout `perPod`: decides before the rules of each pod, which exist only for programs that look for them. */
  podsFirst: 510,
  eniFirst: 511,
  pods: 512,
  isolatedPods: 513,
  pod: 512,
  eni: 2048,
  refused: 2049,
} as const;

export const TABLE_MAIN = 254;

/** The key under which calls for a pod wait for each other. */
export function podKey({ namespace, name }: Pick<PodAttachment, 'namespace' | 'name'>): string {
  return `${namespace}/${name}`;
}

/** Name of the host's end of a pod's veth: Calico's formula, by which felix and Cilium recognise it. */
export function hostLinkName(pod: Pick<PodAttachment, 'namespace' | 'name'>, interfaceName: string): string {
  const suffix = interfaceName === 'eth0' ? '' : interfaceName;
  const hash = createHash('sha1').update(`${pod.namespace}.${pod.name}${suffix}`).digest('hex');
  return `cali${hash.slice(0, 11)}`;
}

const ALIAS = 'terway:';

/** The alias that names the owner of a link. */
export function aliasOf(containerId: string): string {
  return `${ALIAS}${containerId}`;
}

/** The sandbox of an alias; undefined for one that is not ours. */
export function containerOf(alias: string): string | undefined {
  return alias.startsWith(ALIAS) ? alias.slice(ALIAS.length) : undefined;
}

/** The hash that names the owner of a map entry. */
export function ownerOf(containerId: string): bigint {
  return createHash('sha1').update(containerId).digest().readBigUInt64LE(0);
}

/**
 * MAC address of a veth's end. Chosen here, not by the kernel, so that everything about a pod is known before anything
 * is made. It is not flagged as random either, so udev does not replace it.
 */
export function linkMac(containerId: string, interfaceName: string, end: 'host' | 'pod'): string {
  const bytes = createHash('sha1').update(`${containerId}/${interfaceName}/${end}`).digest().subarray(0, 6);
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return bytes.toString('hex').replace(/..(?=.)/g, '$&:');
}

/** Whether an interface has a veth, and so a name on the node. */
export function hasHostLink({ attachment }: PodInterface): boolean {
  switch (attachment.kind) {
    case 'member':
    case 'shared':
      return true;
    case 'exclusive':
      return attachment.hostPeer;
    case 'vlanDevice':
      return false;
  }
}
