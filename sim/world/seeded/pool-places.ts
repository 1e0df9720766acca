import { addressesOf, FAMILIES, type Families } from '../../../src/allocation/pool/view.ts';
import type { NodeAddress, TerwayNode } from '../../../src/crds/node.ts';

/** An address of an ENI that pods share. */
export interface Place {
  eniId: string;
  address: NodeAddress;
}

/** Those in the record of a node. */
export function placesIn(node: TerwayNode | undefined): Place[] {
  return Object.values(node?.status?.networkInterfaces ?? {}).flatMap((eni) =>
    addressesOf(eni).map((address) => ({ eniId: eni.id, address })),
  );
}

export function isIpv6(ip: string): boolean {
  return ip.includes(':');
}

/** Whether pods of the node get addresses of both families. */
export function isDualStack(record: TerwayNode | undefined): boolean {
  return record !== undefined && familiesOf(record).length > 1;
}

/** Those that pods of the node get. */
export function familiesOf({ spec }: TerwayNode): Families {
  return spec.eni?.enableIPv6 === true ? FAMILIES : ['ipv4'];
}
