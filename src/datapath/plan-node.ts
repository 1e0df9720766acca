import { type Family, familyOf, hostPrefix, IPV4, IPV6 } from './ip.ts';
import { NODE } from './kernel/kernel.ts';
import type { Marks } from './marks.ts';
import { POD_TABLE, RULE_PRIORITY, tableOf } from './names.ts';
import { REFUSE } from './netlink/network.ts';
import type { KernelObject } from './objects.ts';
import type { DatapathSettings, EniDevice } from './types.ts';

/**
 * The preferences of our filters among those of others. At the egress of a trunk ours is first, so that no other verdict can keep
 * a packet from its tag. Behind a chained Cilium, whose programs are at 25000 and do not know tags, it has Terway's preference.
 * `veth` comes before Cilium's filters but leaves preference 1 free, which Cilium takes without asking.
 */
export const PREFERENCE = { tag: 1, veth: 10, untag: 20_000, tag4: 50_001, tag6: 50_002, answers: 50_001 } as const;

/** An ENI that was found among the links of the node. */
export interface ResolvedEni {
  device: EniDevice;
  name: string;
  index: number;
}

/**
 * IPv6 is set up only for nodes or pods that have it: its sysctls stop a node from following router advertisements.
 */
const families = (settings: DatapathSettings, podsHaveIpv6: boolean): Family[] => [
  ...(settings.nodeAddress.ipv4 === undefined ? [] : [IPV4]),
  ...(settings.nodeAddress.ipv6 === undefined && !podsHaveIpv6 ? [] : [IPV6]),
];

/**
 * Turns off router advertisements on a link to a pod: any pod, even one without an IPv6 address, could otherwise make itself the
 * node's router.
 */
export function noRouterAdvertisements(link: string): KernelObject {
  return { kind: 'sysctl', netns: NODE, name: `net/ipv6/conf/${link}/accept_ra`, value: '0', ifThere: true };
}

/** What all pods of a node share (docs/design/node.md, "Layout in the kernel"). */
export function planNode(settings: DatapathSettings, marks: Marks, podsHaveIpv6: boolean): KernelObject[] {
  const objects: KernelObject[] = [];
  // The greater of `all` and the link's own counts, so `all` must not filter either.
  objects.push({ kind: 'sysctl', netns: NODE, name: 'net/ipv4/conf/all/rp_filter', value: '0' });
  if (families(settings, podsHaveIpv6).includes(IPV6)) {
    objects.push({ kind: 'sysctl', netns: NODE, name: 'net/ipv6/conf/all/forwarding', value: '1' });
  }
  if (settings.tagProgram === 'ebpf') objects.push({ kind: 'memberBit', bit: marks.memberBit });
  for (const family of families(settings, podsHaveIpv6)) {
    const node = { kind: 'rule', netns: NODE, family } as const;
    const isPerPod = settings.layout === 'perPod';
    const priority = isPerPod ? RULE_PRIORITY.podsFirst : RULE_PRIORITY.pods;
    objects.push({ ...node, priority, table: POD_TABLE.open });
    if (!isPerPod && settings.isolateMembers) {
      const mark = { value: 0, mask: marks.mask };
      objects.push({ ...node, priority: RULE_PRIORITY.isolatedPods, table: POD_TABLE.isolated, mark });
    }
    if (settings.tagProgram === 'tc') continue;
    // While a trunk is away, its table is empty: its pods' packets must not leave by the node's own ENI instead.
    const member = { value: marks.memberBit, mask: marks.memberBit };
    objects.push({ ...node, priority: RULE_PRIORITY.refused, table: REFUSE, mark: member });
  }
  return objects;
}

/** How the pods of an ENI, present and new, use it. */
export interface EniUse {
  isTrunk: boolean;
  mtu: number;
  /** The link already has the node's own address: the node booted with it. */
  hasNodeAddress: boolean;
  /** One of the pods has an IPv6 address. */
  ipv6: boolean;
}

/**
 * What all pods of one ENI share. The filters come first: nothing is routed to a trunk that does not tag.
 */
export function planEni(eni: ResolvedEni, use: EniUse, settings: DatapathSettings, marks: Marks): KernelObject[] {
  const { name: link, index, device } = eni;
  const objects: KernelObject[] = planFilters(link, use.isTrunk, settings);
  objects.push(
    { kind: 'sysctl', netns: NODE, name: `net/ipv4/conf/${link}/rp_filter`, value: '0' },
    { kind: 'sysctl', netns: NODE, name: `net/ipv4/conf/${link}/forwarding`, value: '1' },
  );
  // Otherwise the kernel looks up the way back to the source of each incoming packet, through all the rules of the pods. That could
  // only detect the node's own address as a source, which the VPC lets nobody else use.
  if (settings.layout === 'perPod') {
    objects.push({ kind: 'sysctl', netns: NODE, name: `net/ipv4/conf/${link}/accept_local`, value: '1' });
  }
  if (families(settings, use.ipv6).includes(IPV6)) {
    objects.push(
      { kind: 'sysctl', netns: NODE, name: `net/ipv6/conf/${link}/disable_ipv6`, value: '0' },
      { kind: 'sysctl', netns: NODE, name: `net/ipv6/conf/${link}/forwarding`, value: '1' },
    );
  }
  // The node's own link may get its routes from advertisements; links that are up only for pods must not add any.
  if (!use.hasNodeAddress) objects.push(noRouterAdvertisements(link));
  objects.push({ kind: 'linkState', netns: NODE, link, mtu: use.mtu, mtuIs: 'minimum' });
  for (const address of [settings.nodeAddress.ipv4, settings.nodeAddress.ipv6]) {
    if (address === undefined || use.hasNodeAddress) continue;
    const prefixLength = hostPrefix(familyOf(address));
    objects.push({ kind: 'address', netns: NODE, link, address, prefixLength });
  }
  for (const gateway of [device.gateway.ipv4, device.gateway.ipv6]) {
    if (gateway === undefined || !families(settings, use.ipv6).includes(familyOf(gateway))) continue;
    const route = { kind: 'route', netns: NODE, link, table: tableOf(index) } as const;
    if (familyOf(gateway) === IPV4) {
      objects.push({ ...route, destination: '0.0.0.0/0', gateway });
      continue;
    }
    // Not by the gateway's global address: where the node's own ENI is in the same vSwitch with an on-link prefix, the kernel
    // refuses a next hop that it would reach by that other device, `onlink` or not. Link-local ones it does not look up.
    const { linkLocal, mac } = VPC_ROUTER;
    objects.push(
      { kind: 'neighbour', netns: NODE, link, address: linkLocal, mac },
      { ...route, destination: '::/0', gateway: linkLocal },
    );
  }
  // Marks are set by programs.
  return settings.tagProgram === 'tc' ? objects : [...objects, ...planEniRules(index, use, settings, marks)];
}

/** Every address of a VPC resolves to this MAC address; the link-local address is derived from it (RFC 4291). */
const VPC_ROUTER = { mac: 'ee:ff:ff:ff:ff:ff', linkLocal: 'fe80::ecff:ffff:feff:ffff' };

function planEniRules(index: number, use: EniUse, settings: DatapathSettings, marks: Marks): KernelObject[] {
  const table = tableOf(index);
  const mark = marks.of(index);
  return families(settings, use.ipv6).flatMap((family) => {
    const node = { kind: 'rule', netns: NODE, family, table } as const;
    const isPerPod = settings.layout === 'perPod';
    const priority = isPerPod ? RULE_PRIORITY.eniFirst : RULE_PRIORITY.eni;
    const rules: KernelObject[] = [{ ...node, priority, mark: { value: mark, mask: marks.numberMask } }];
    if (use.isTrunk && settings.isolateMembers && !isPerPod) {
      const member = (mark | marks.memberBit) >>> 0;
      rules.unshift({ ...node, priority: RULE_PRIORITY.isolated, mark: { value: member, mask: marks.mask } });
    }
    return rules;
  });
}

/**
 * The filters of an ENI. The egress program also returns packets to the node whose source was replaced after their pod's mark had
 * routed them.
 */
export function planFilters(link: string, isTrunk: boolean, settings: DatapathSettings): KernelObject[] {
  const clsact: KernelObject = { kind: 'clsact', netns: NODE, link };
  if (settings.tagProgram === 'tc') return isTrunk ? [clsact, { kind: 'popFilter', link }] : [];
  const isChained = settings.layout === 'perPod';
  const egress = {
    ...({ kind: 'program', netns: NODE, link, direction: 'egress', program: 'trunk_egress' } as const),
    ...(isChained ? { preference: PREFERENCE.tag4, afterCilium: true } : { preference: PREFERENCE.tag }),
  };
  // Not on a device that may move into a pod: a TCX program would move with it.
  const first = isChained ? egress : { ...egress, beforeFilters: isTrunk ? ('make' as const) : ('keep' as const) };
  if (!isTrunk) return [clsact, first];
  const ingress = { preference: PREFERENCE.untag, program: 'trunk_ingress' } as const;
  return [clsact, first, { ...egress, direction: 'ingress', ...ingress }];
}
