import { decodeTag, decodeVeth, decodeVlan, linkKey } from './bpf/entries.ts';
import type { BpfPrograms } from './bpf/programs.ts';
import type { EniDevices } from './eni-devices.ts';
import { addressBytes, familyOf, hostPrefix, IPV4, IPV6 } from './ip.ts';
import { inStep, isErrno, isNetnsGone, type Kernel, NODE } from './kernel/kernel.ts';
import type { LinkRemover } from './link-remover.ts';
import { findLink } from './links.ts';
import { moveOut } from './moved-links.ts';
import { aliasOf, hasHostLink, hostLinkName, isOurGroup, ownerOf, RULE_PRIORITY, tableOf } from './names.ts';
import { deleteLink } from './netlink/link.ts';
import { decodeRoute, deleteRule, lookUpRoute, OUR_PROTOCOL, type RulePattern } from './netlink/network.ts';
import { addressesOf } from './pod-interfaces.ts';
import type { Session } from './session.ts';
import type { DatapathSettings, PodAttachment, PodInterface } from './types.ts';
import { deletePush } from './vlan-filters.ts';

/** What removal needs. */
export interface RemovalContext extends Session {
  settings: DatapathSettings;
  devices: EniDevices;
  links: LinkRemover;
}

/**
 * Removes everything that a pod can have, derived from the pod's data and the kernel's state, so it does not matter how far `add`
 * got. The veth goes before the tag. What another sandbox has taken over stays, recognised by a link's alias, a map entry's owner,
 * or a route that leads to the address.
 *
 * @throws DatapathError the first failure, after everything was tried
 */
export async function removePod(context: RemovalContext, pod: PodAttachment): Promise<void> {
  const failures: unknown[] = [];
  const attempt = async (step: string, work: () => Promise<void>) => {
    try {
      await inStep(step, work);
    } catch (error) {
      failures.push(error);
    }
  };
  const { kernel, programs } = context;
  for (const network of pod.interfaces) {
    const { attachment } = network;
    if (hasHostLink(network)) {
      const name = hostLinkName(pod, network.name);
      await attempt(`remove link ${name}`, () => removeHostLink(context, pod, name));
    }
    if (attachment.kind === 'exclusive') {
      const mac = attachment.eni.mac.toLowerCase();
      await attempt(`return ENI ${mac} to the node`, () =>
        moveOut(kernel, { netns: pod.netnsPath, name: network.name, mac }),
      );
    }
    if (attachment.kind === 'vlanDevice') {
      await attempt(`remove link ${network.name}`, () => removeVlanLink(kernel, programs, pod, network.name));
    }
  }
  if (pod.interfaces.length > 1) await attempt('remove rules of the pod', () => removePolicy(kernel, pod));
  for (const network of pod.interfaces) {
    for (const address of addressesOf(network)) {
      await attempt(`remove what is for ${address}`, () => removeAddress(context, pod, network, address));
    }
  }
  if (failures.length > 0) throw failures[0];
}

async function removeHostLink(
  { kernel, programs, links }: RemovalContext,
  pod: PodAttachment,
  name: string,
): Promise<void> {
  const link = await findLink(kernel, NODE, name);
  const isOurs =
    link !== undefined && (link.alias === aliasOf(pod.containerId) || (link.alias === '' && isOurGroup(link.group)));
  if (isOurs) {
    await links.remove(kernel, link.index);
    if (programs !== undefined) await kernel.deleteEntries(programs.map('veths'), [linkKey(link.index)]);
    return;
  }
  if (programs === undefined) return;
  // The link, and with it the index that is the entry's key, went with the pod's namespace.
  const owner = ownerOf(pod.containerId);
  const entries = (await kernel.dumpMap(programs.map('veths'))).filter((entry) => decodeVeth(entry).owner === owner);
  const keys = entries.map(({ key }) => key);
  if (keys.length > 0) await kernel.deleteEntries(programs.map('veths'), keys);
}

async function removeVlanLink(
  kernel: Kernel,
  programs: BpfPrograms | undefined,
  pod: PodAttachment,
  name: string,
): Promise<void> {
  const link = await findLink(kernel, pod.netnsPath, name);
  if (link?.kind === 'vlan' && isOurGroup(link.group)) {
    await ignoring(kernel.netlink(pod.netnsPath, deleteLink(link.index)), 'ENODEV');
  }
  if (programs === undefined) return;
  const owner = ownerOf(pod.containerId);
  const entries = (await kernel.dumpMap(programs.map('vlans'))).filter((entry) => decodeVlan(entry).owner === owner);
  const keys = entries.map(({ key }) => key);
  if (keys.length > 0) await kernel.deleteEntries(programs.map('vlans'), keys);
}

async function removePolicy(kernel: Kernel, pod: PodAttachment): Promise<void> {
  for (const position of pod.interfaces.keys()) {
    for (const family of [IPV4, IPV6] as const) {
      await removeRules(kernel, pod.netnsPath, { family, priority: RULE_PRIORITY.pod, table: tableOf(position + 1) });
    }
  }
}

/** More rules of one priority than an interface has. A pod that added more keeps them until its namespace ends. */
const MOST_RULES = 16;

/** Deletes all rules that match. */
async function removeRules(kernel: Kernel, netns: string, pattern: RulePattern): Promise<void> {
  for (let removed = 0; removed < MOST_RULES; removed++) {
    try {
      await kernel.netlink(netns, deleteRule(pattern));
    } catch (error) {
      if (isErrno(error, 'ENOENT') || isNetnsGone(error)) return;
      throw error;
    }
  }
}

async function removeAddress(
  context: RemovalContext,
  pod: PodAttachment,
  network: PodInterface,
  address: string,
): Promise<void> {
  const { kernel, programs, settings, devices } = context;
  const { attachment } = network;
  const family = familyOf(address);
  const single = `${address}/${hostPrefix(family)}`;
  const needsLookUp = settings.layout === 'perPod' || (settings.tagProgram === 'tc' && attachment.kind === 'member');
  const isAnothers = needsLookUp && (await isRouted(kernel, address));
  if (settings.layout === 'perPod' && !isAnothers && hasHostLink(network)) {
    await removeRules(kernel, NODE, { family, priority: RULE_PRIORITY.pods, to: single });
    await removeRules(kernel, NODE, { family, priority: RULE_PRIORITY.eni, from: single });
  }
  if (programs !== undefined) {
    const map = programs.map(family === IPV4 ? 'tag4' : 'tag6');
    const key = addressBytes(address);
    const value = await kernel.lookup(map, key);
    if (value !== undefined && decodeTag({ key, value }).owner === ownerOf(pod.containerId)) {
      await kernel.deleteEntries(map, [key]);
    }
  } else if (attachment.kind === 'member' && !isAnothers) {
    const trunk = await devices.find(attachment.trunk.mac);
    if (trunk !== undefined) await deletePush(kernel, trunk.index, address);
  }
}

/** Whether a route of ours leads to exactly this address. */
async function isRouted(kernel: Kernel, address: string): Promise<boolean> {
  try {
    const [message] = await kernel.netlink(NODE, lookUpRoute(address));
    const route = message === undefined ? undefined : decodeRoute(message.payload);
    return route?.protocol === OUR_PROTOCOL && route.destination === `${address}/${hostPrefix(familyOf(address))}`;
  } catch (error) {
    if (isErrno(error, 'ENETUNREACH', 'EHOSTUNREACH', 'ESRCH')) return false;
    throw error;
  }
}

async function ignoring(work: Promise<unknown>, ...names: Parameters<typeof isErrno>[1][]): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!isErrno(error, ...names)) throw error;
  }
}
