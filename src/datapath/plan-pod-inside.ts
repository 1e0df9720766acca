import { canonicalAddress, familyOf, hostPrefix, IPV4, parseCidr } from './ip.ts';
import { LINK_LOCAL_GATEWAY, linkMac, RULE_PRIORITY, TABLE_MAIN, tableOf } from './names.ts';
import type { KernelObject } from './objects.ts';
import { hostPeerDestinations, nextHops, podRoutes } from './pod-interfaces.ts';
import type { DatapathSettings, PodAttachment, PodInterface } from './types.ts';

/** The pod's side: addresses, neighbours, routes and, with several interfaces, rules. */
export function planInside(
  pod: PodAttachment,
  network: PodInterface,
  position: number,
  settings: DatapathSettings,
): KernelObject[] {
  const netns = pod.netnsPath;
  const link = network.name;
  const objects: KernelObject[] = network.ipv6 === undefined ? [] : ipv6Sysctls(netns, link);
  for (const ip of [network.ipv4, network.ipv6]) {
    if (ip === undefined) continue;
    const single = hostPrefix(familyOf(ip.address));
    const prefixLength = network.attachment.kind === 'vlanDevice' ? parseCidr(ip.subnet).prefixLength : single;
    objects.push({ kind: 'address', netns, link, address: canonicalAddress(ip.address), prefixLength });
  }
  objects.push(
    { kind: 'bandwidth', netns, link, bytesPerSecond: network.egressBytesPerSecond, mtu: network.mtu },
    { kind: 'linkState', netns, link, mtu: network.mtu, mtuIs: 'exact' },
  );
  const hops = nextHops(network);
  if (hops.isHost) objects.push(...planNextHop(pod, network, link));
  const byHost = hostPeerDestinations(network, settings);
  for (const { destination, gateway } of podRoutes(network)) {
    if (byHost.includes(destination)) continue;
    objects.push({ kind: 'route', netns, link, table: TABLE_MAIN, destination, ...(gateway && { gateway }) });
  }
  if (pod.interfaces.length > 1) objects.push(...planPolicy(netns, network, position));
  return objects;
}

export function ipv6Sysctls(netns: string, link: string): KernelObject[] {
  const names = ['lo', 'all', 'default', link].map((name) => `net/ipv6/conf/${name}/disable_ipv6`);
  return [
    ...names.map((name) => ({ kind: 'sysctl', netns, name, value: '0' }) as const),
    { kind: 'sysctl', netns, name: `net/ipv6/conf/${link}/accept_ra`, value: '0' },
  ];
}

/** Permanent neighbours: the MAC address of the host's end for the link-local next hops. */
export function planNextHop(pod: PodAttachment, network: PodInterface, link: string): KernelObject[] {
  const mac = linkMac(pod.containerId, network.name, 'host');
  const neighbour = { kind: 'neighbour', netns: pod.netnsPath, link, mac } as const;
  return [
    ...(network.ipv4 === undefined ? [] : [{ ...neighbour, address: LINK_LOCAL_GATEWAY.ipv4 }]),
    ...(network.ipv6 === undefined ? [] : [{ ...neighbour, address: LINK_LOCAL_GATEWAY.ipv6 }]),
  ];
}

/** With several interfaces, packets leave by the one that they are bound to or whose address they carry. */
function planPolicy(netns: string, network: PodInterface, position: number): KernelObject[] {
  const hops = nextHops(network);
  const table = tableOf(position + 1);
  return [network.ipv4, network.ipv6].flatMap((ip) => {
    if (ip === undefined) return [];
    const family = familyOf(ip.address);
    const gateway = family === IPV4 ? hops.ipv4 : hops.ipv6;
    const destination = family === IPV4 ? '0.0.0.0/0' : '::/0';
    const from = `${canonicalAddress(ip.address)}/${hostPrefix(family)}`;
    const rule = { kind: 'rule', netns, family, priority: RULE_PRIORITY.pod, table } as const;
    const route = { kind: 'route', netns, link: network.name, table, destination } as const;
    return [
      ...(gateway === undefined ? [] : [{ ...route, gateway }]),
      { ...rule, from },
      { ...rule, outLink: network.name },
    ];
  });
}
