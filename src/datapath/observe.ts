import type { TagEntry, VethEntry, VlanEntry } from './bpf/entries.ts';
import { decodeTag, decodeVeth, decodeVlan } from './bpf/entries.ts';
import type { BpfPrograms } from './bpf/programs.ts';
import { type Family, IPV4, IPV6 } from './ip.ts';
import { isNetnsGone, type Kernel } from './kernel/kernel.ts';
import { listLinks } from './links.ts';
import type { Link } from './netlink/link.ts';
import {
  type Address,
  decodeAddress,
  decodeNeighbour,
  decodeRoute,
  decodeRule,
  dumpAddresses,
  dumpNeighbours,
  dumpRoutes,
  dumpRules,
  type Neighbour,
  OUR_PROTOCOL,
  type Route,
  type Rule,
} from './netlink/network.ts';
import { decodeQdisc, dumpQdiscs, type Filter, type Qdisc } from './netlink/traffic.ts';
import { listFilters } from './vlan-filters.ts';

/** What one namespace has, one dump per kind; routes and rules only those with our protocol. */
export interface NamespaceView {
  netns: string;
  /** False when the namespace does not exist. */
  exists: boolean;
  links: Link[];
  addresses: Address[];
  routes: Route[];
  rules: Rule[];
  neighbours: Neighbour[];
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

const EMPTY = { links: [], addresses: [], routes: [], rules: [], neighbours: [], qdiscs: [] };

/** Looks at one namespace. */
export async function observeNamespace(kernel: Kernel, netns: string): Promise<NamespaceView> {
  try {
    const both = async <T>(
      dump: (family: Family) => Parameters<Kernel['netlink']>[1],
      decode: (payload: Buffer) => T | undefined,
    ) => {
      const messages = [...(await kernel.netlink(netns, dump(IPV4))), ...(await kernel.netlink(netns, dump(IPV6)))];
      return messages.flatMap(({ payload }) => decode(payload) ?? []);
    };
    const rules = await both(dumpRules, decodeRule);
    return {
      netns,
      exists: true,
      links: await listLinks(kernel, netns),
      addresses: (await kernel.netlink(netns, dumpAddresses())).map(({ payload }) => decodeAddress(payload)),
      // A kernel that does not filter lists all.
      routes: (await both(dumpRoutes, decodeRoute)).filter(({ protocol }) => protocol === OUR_PROTOCOL),
      rules: rules.filter(({ protocol }) => protocol === OUR_PROTOCOL),
      neighbours: await both(dumpNeighbours, decodeNeighbour),
      qdiscs: (await kernel.netlink(netns, dumpQdiscs())).map(({ payload }) => decodeQdisc(payload)),
    };
  } catch (error) {
    if (isNetnsGone(error)) return { netns, exists: false, ...EMPTY };
    throw error;
  }
}

/** Looks at the maps. */
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

/** Looks at the filters of a link of the node that has clsact. */
export async function observeFilters(kernel: Kernel, linkIndex: number): Promise<FilterView> {
  return {
    ingress: await listFilters(kernel, linkIndex, 'ingress'),
    egress: await listFilters(kernel, linkIndex, 'egress'),
  };
}
