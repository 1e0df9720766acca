import { canonicalAddress, cidrText, familyOf, IPV4, parseCidr } from './ip.ts';
import { hasHostLink, hostLinkName, LINK_LOCAL_GATEWAY, linkMac } from './names.ts';
import type { AttachedInterface, DatapathSettings, EniDevice, PodAttachment, PodInterface } from './types.ts';

/** The ENI that must be a link of the node for this interface; an exclusive one moves into the pod instead. */
export function eniOf({ attachment }: PodInterface): EniDevice | undefined {
  switch (attachment.kind) {
    case 'member':
    case 'vlanDevice':
      return attachment.trunk;
    case 'shared':
      return attachment.eni;
    case 'exclusive':
      return undefined;
  }
}

/** Addresses of an interface in canonical form. */
export function addressesOf(network: PodInterface): string[] {
  return [network.ipv4, network.ipv6].flatMap((ip) => (ip === undefined ? [] : [canonicalAddress(ip.address)]));
}

/** The addresses that its packets may come from, in canonical form. */
export function sourcesOf({ ipv4, ipv6 }: PodInterface): { ipv4: string | undefined; ipv6: string | undefined } {
  return { ipv4: ipv4 && canonicalAddress(ipv4.address), ipv6: ipv6 && canonicalAddress(ipv6.address) };
}

/** Next hops of an interface and whether the host's end of the veth answers for them. */
export function nextHops(network: PodInterface): { ipv4?: string; ipv6?: string; isHost: boolean } {
  const { attachment } = network;
  switch (attachment.kind) {
    case 'member':
    case 'shared':
      return { ...LINK_LOCAL_GATEWAY, isHost: true };
    case 'vlanDevice':
      return { ...attachment.trunk.gateway, isHost: false };
    case 'exclusive':
      return { ...attachment.eni.gateway, isHost: false };
  }
}

/** Routes of an interface, in the form of the CNI result. */
export function podRoutes(network: PodInterface): { destination: string; gateway?: string }[] {
  const hops = nextHops(network);
  const routes: { destination: string; gateway?: string }[] = [];
  for (const ip of [network.ipv4, network.ipv6]) {
    if (ip === undefined) continue;
    const family = familyOf(ip.address);
    const gateway = family === IPV4 ? hops.ipv4 : hops.ipv6;
    const destinations = network.extraRoutes.filter((cidr) => familyOf(cidr) === family);
    if (network.defaultRoute) destinations.unshift(family === IPV4 ? '0.0.0.0/0' : '::/0');
    for (const destination of destinations) {
      if (gateway === undefined) continue;
      routes.push({ destination: cidrText(parseCidr(destination)), gateway });
    }
  }
  return routes;
}

/** What a pod with an exclusive ENI reaches through the node; `0.0.0.0/0` is possible. */
export function hostPeerDestinations(network: PodInterface, settings: DatapathSettings): string[] {
  const { attachment } = network;
  if (attachment.kind !== 'exclusive' || !attachment.hostPeer) return [];
  const { nodeAddress, serviceCidrs, hostStackCidrs } = settings;
  const own = [nodeAddress.ipv4, nodeAddress.ipv6].filter((address) => address !== undefined);
  const all = new Set([...serviceCidrs, ...own, ...hostStackCidrs].map((cidr) => cidrText(parseCidr(cidr))));
  return [...all].filter((cidr) => (familyOf(cidr) === IPV4 ? network.ipv4 : network.ipv6) !== undefined);
}

/** The links and routes of a pod's interfaces once they are made. */
export function attachedInterfaces(pod: PodAttachment): AttachedInterface[] {
  return pod.interfaces.map((network) => {
    const own = {
      pod: { name: network.name, mac: podMac(pod, network), mtu: network.mtu },
      routes: podRoutes(network),
    };
    if (!hasHostLink(network)) return own;
    const mac = linkMac(pod.containerId, network.name, 'host');
    return { ...own, host: { name: hostLinkName(pod, network.name), mac, mtu: network.mtu } };
  });
}

export function vethMac(pod: PodAttachment, network: PodInterface): string {
  return linkMac(pod.containerId, network.name, 'pod');
}

function podMac(pod: PodAttachment, network: PodInterface): string {
  const { attachment } = network;
  switch (attachment.kind) {
    case 'member':
    case 'shared':
      return vethMac(pod, network);
    case 'vlanDevice':
      return attachment.trunk.mac.toLowerCase();
    case 'exclusive':
      return attachment.eni.mac.toLowerCase();
  }
}
