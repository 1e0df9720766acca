import { familyOf, IPV4 } from './ip.ts';
import { isErrno, type Kernel, NODE } from './kernel/kernel.ts';
import {
  type Direction,
  decodeFilter,
  deleteFilter,
  dumpFilters,
  ETH_P,
  type Filter,
  type FilterPlace,
  setPopFilter,
  setPushFilter,
} from './netlink/traffic.ts';
import { PREFERENCE } from './plan-node.ts';

/*
 * The classic way to tag: one u32 filter per address. The kernel chooses its handle, so finding one means listing all of them,
 * as many as there are pods.
 */

type Undo = () => Promise<void>;

/** All filters at one hook of a link of the node; none without clsact. */
export async function listFilters(kernel: Kernel, linkIndex: number, direction: Direction): Promise<Filter[]> {
  try {
    const messages = await kernel.netlink(NODE, dumpFilters(linkIndex, direction));
    return messages.flatMap(({ payload }) => decodeFilter(payload) ?? []);
  } catch (error) {
    if (isErrno(error, 'EINVAL', 'ENOENT', 'ENODEV', 'EOPNOTSUPP')) return [];
    throw error;
  }
}

/** Whether push filters at this preference are ours. */
export function isTagPreference(preference: number): boolean {
  return preference === PREFERENCE.tag4 || preference === PREFERENCE.tag6;
}

/** Of a new one. */
function pushPlace(linkIndex: number, source: string): FilterPlace {
  const isIpv4 = familyOf(source) === IPV4;
  const protocol = isIpv4 ? ETH_P.ipv4 : ETH_P.ipv6;
  return {
    linkIndex,
    direction: 'egress',
    preference: isIpv4 ? PREFERENCE.tag4 : PREFERENCE.tag6,
    protocol,
    handle: 0,
  };
}

/** Old agents had IPv6 filters at the preference of IPv4, where they stay as long as their pods. */
function placeOf({ linkIndex, preference, protocol, handle }: Filter): FilterPlace {
  return { linkIndex, direction: 'egress', preference, protocol, handle };
}

function popPlace(linkIndex: number, handle: number): FilterPlace {
  return { linkIndex, direction: 'ingress', preference: PREFERENCE.untag, protocol: ETH_P.vlan, handle };
}

async function findPush(
  kernel: Kernel,
  linkIndex: number,
  source: string,
): Promise<(Filter & { vlanId: number }) | undefined> {
  for (const filter of await listFilters(kernel, linkIndex, 'egress')) {
    const { action, preference } = filter;
    if (action.kind === 'push' && action.source === source && isTagPreference(preference)) {
      return { ...filter, vlanId: action.vlanId };
    }
  }
  return undefined;
}

/** @returns how to undo it; undefined when nothing was changed */
export async function ensurePush(
  kernel: Kernel,
  linkIndex: number,
  source: string,
  vlanId: number,
): Promise<Undo | undefined> {
  const before = await findPush(kernel, linkIndex, source);
  if (before?.vlanId === vlanId) return undefined;
  const place = before === undefined ? pushPlace(linkIndex, source) : placeOf(before);
  await kernel.netlink(NODE, setPushFilter(place, source, vlanId, before === undefined ? 'exclusive' : 'replace'));
  if (before === undefined) return () => deletePush(kernel, linkIndex, source);
  return async () => {
    await kernel.netlink(NODE, setPushFilter(place, source, before.vlanId, 'replace'));
  };
}

/** Deletes the filter of an address, if there is one. */
export async function deletePush(kernel: Kernel, linkIndex: number, source: string): Promise<void> {
  const found = await findPush(kernel, linkIndex, source);
  if (found !== undefined) await kernel.netlink(NODE, deleteFilter(placeOf(found), 'u32'));
}

async function findPop(kernel: Kernel, linkIndex: number): Promise<Filter | undefined> {
  return (await listFilters(kernel, linkIndex, 'ingress')).find(
    ({ action, preference }) => action.kind === 'pop' && preference === PREFERENCE.untag,
  );
}

/** @returns how to undo it; undefined when it was there already */
export async function ensurePop(kernel: Kernel, linkIndex: number): Promise<Undo | undefined> {
  if ((await findPop(kernel, linkIndex)) !== undefined) return undefined;
  await kernel.netlink(NODE, setPopFilter(popPlace(linkIndex, 0), 'exclusive'));
  return () => deletePop(kernel, linkIndex);
}

/** Deletes the filter that takes tags off, if there is one. */
export async function deletePop(kernel: Kernel, linkIndex: number): Promise<void> {
  const found = await findPop(kernel, linkIndex);
  if (found !== undefined) await kernel.netlink(NODE, deleteFilter(popPlace(linkIndex, found.handle), 'u32'));
}
