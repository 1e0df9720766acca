import type { NodeAddress, NodeEni, TerwayNode } from '../../crds/node.ts';
import { canonicalIp } from '../../util/ip.ts';
import { isBound } from './view.ts';

/**
 * The node with one text for each IPv6 address of its record, in keys and values: Terway's control plane records that of the cloud,
 * whichever that is, and everything else compares texts. Of an address that is recorded in two, the one that a pod has stays. Pure.
 *
 * @returns the node itself when every text is the one by which addresses are compared
 */
export function withCanonicalTexts(node: TerwayNode): TerwayNode {
  const { networkInterfaces = {} } = node.status ?? {};
  if (Object.values(networkInterfaces).every(isCanonical)) return node;
  const enis = Object.entries(networkInterfaces).map(([id, eni]): [string, NodeEni] => [id, canonical(eni)]);
  return { ...node, status: { ...node.status, networkInterfaces: Object.fromEntries(enis) } };
}

function isCanonical({ ipv6 = {} }: NodeEni): boolean {
  return Object.entries(ipv6).every(([key, { ip }]) => key === ip && canonicalIp(ip) === ip);
}

function canonical(eni: NodeEni): NodeEni {
  if (isCanonical(eni)) return eni;
  const merged: Record<string, NodeAddress> = {};
  for (const address of Object.values(eni.ipv6 ?? {})) {
    const ip = canonicalIp(address.ip);
    const other = merged[ip];
    if (other === undefined || isBound(address)) merged[ip] = { ...address, ip };
  }
  return { ...eni, ipv6: merged };
}
