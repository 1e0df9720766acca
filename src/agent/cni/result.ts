import type { AttachedInterface, PodAttachment } from '../../datapath/types.ts';
import { gatewayOf } from '../../util/ip.ts';
import type { CniError } from './errors.ts';
import type { CniVersion } from './request.ts';

/**
 * The result of ADD (specification 1.1, "ADD success"): every interface with its MAC address and sandbox, the host's ends
 * among them, the addresses with the interface that has them, and the routes inside the pod.
 *
 * Versions before 1.0 name the family of each address; MTU came with 1.1.
 */
export function addResult(
  version: CniVersion,
  pod: PodAttachment,
  attached: readonly AttachedInterface[],
): Record<string, unknown> {
  const interfaces: Record<string, unknown>[] = [];
  const ips: Record<string, unknown>[] = [];
  const routes: Record<string, unknown>[] = [];
  const mtu = (value: number) => (version === '1.1.0' ? { mtu: value } : {});
  for (const [at, wanted] of pod.interfaces.entries()) {
    const links = attached[at];
    if (links === undefined) continue;
    const index = interfaces.length;
    interfaces.push({ name: links.pod.name, mac: links.pod.mac, ...mtu(links.pod.mtu), sandbox: pod.netnsPath });
    if (links.host !== undefined)
      interfaces.push({ name: links.host.name, mac: links.host.mac, ...mtu(links.host.mtu) });
    for (const [family, address] of [
      ['4', wanted.ipv4],
      ['6', wanted.ipv6],
    ] as const) {
      if (address === undefined) continue;
      const gateway = gatewayOf(address.subnet);
      ips.push({
        ...(version.startsWith('0.') ? { version: family } : {}),
        address: `${address.address}/${address.subnet.split('/')[1]}`,
        ...(gateway === undefined ? {} : { gateway }),
        interface: index,
      });
    }
    for (const { destination, gateway } of links.routes) {
      routes.push({ dst: destination, ...(gateway === undefined ? {} : { gw: gateway }) });
    }
  }
  return { cniVersion: version, interfaces, ips, routes, dns: {} };
}

/** The error object that the runtime reads from standard output. */
export function errorResult(version: CniVersion, error: CniError): Record<string, unknown> {
  return {
    cniVersion: version,
    code: error.code,
    msg: error.message,
    ...(error.details === '' ? {} : { details: error.details }),
  };
}
