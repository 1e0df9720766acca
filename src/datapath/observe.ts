import type { TagEntry, VethEntry, VlanEntry } from './bpf/entries.ts';
import { decodeTag, decodeVeth, decodeVlan } from './bpf/entries.ts';
import type { BpfPrograms } from './bpf/programs.ts';
import { type Family, IPV4, IPV6 } from './ip.ts';
import { type Kernel, NODE } from './kernel/kernel.ts';
import { listLinks } from './links.ts';
import type { Link } from './netlink/link.ts';
import {
  type Address,
  decodeAddress,
  decodeRoute,
  decodeRule,
  dumpAddresses,
  dumpRoutes,
  dumpRules,
  OUR_PROTOCOL,
  type Route,
  type Rule,
} from './netlink/network.ts';
import { decodeQdisc, dumpQdiscs, type Filter, type Qdisc } from './netlink/traffic.ts';
import { listFilters } from './vlan-filters.ts';

/** The contents of the node's namespace, one dump per kind; of routes and rules only those with our protocol. */
export interface NodeView {
  links: Link[];
  addresses: Address[];
  routes: Route[];
  rules: Rule[];
  qdiscs: Qdisc[];
}

/** The entries of the maps. */
export interface MapView {
  tags: TagEntry[];
  veths: VethEntry[];
  vlans: VlanEntry[];
  memberBit: number;
}

/** Filters of a link of the node. */
export interface FilterView {
  ingress: Filter[];
  egress: Filter[];
}

/** Reads the node's namespace. */
export async function observeNode(kernel: Kernel): Promise<NodeView> {
  const both = async <T>(
    dump: (family: Family) => Parameters<Kernel['netlink']>[1],
    decode: (payload: Buffer) => T | undefined,
  ) => {
    const messages = [...(await kernel.netlink(NODE, dump(IPV4))), ...(await kernel.netlink(NODE, dump(IPV6)))];
    return messages.flatMap(({ payload }) => decode(payload) ?? []);
  };
  const rules = await both(dumpRules, decodeRule);
  return {
    links: await listLinks(kernel, NODE),
    addresses: (await kernel.netlink(NODE, dumpAddresses())).map(({ payload }) => decodeAddress(payload)),
    // Older kernels ignore the filter and list everything.
    routes: (await both(dumpRoutes, decodeRoute)).filter(({ protocol }) => protocol === OUR_PROTOCOL),
    rules: rules.filter(({ protocol }) => protocol === OUR_PROTOCOL),
    qdiscs: (await kernel.netlink(NODE, dumpQdiscs())).map(({ payload }) => decodeQdisc(payload)),
  };
}

/** Reads the maps. */
export async function observeMaps(kernel: Kernel, programs: BpfPrograms): Promise<MapView> {
  const tags = [...(await kernel.dumpMap(programs.map('tag4'))), ...(await kernel.dumpMap(programs.map('tag6')))];
  const [settings] = await kernel.dumpMap(programs.map('settings'));
  return {
    tags: tags.map(decodeTag),
    veths: (await kernel.dumpMap(programs.map('veths'))).map(decodeVeth),
    vlans: (await kernel.dumpMap(programs.map('vlans'))).map(decodeVlan),
    memberBit: settings?.value.readUInt32LE(0) ?? 0,
  };
}

/** Reads the filters of a link of the node that has clsact. */
export async function observeFilters(kernel: Kernel, linkIndex: number): Promise<FilterView> {
  return {
    ingress: await listFilters(kernel, linkIndex, 'ingress'),
    egress: await listFilters(kernel, linkIndex, 'egress'),
  };
}
