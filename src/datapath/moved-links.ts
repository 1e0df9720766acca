import { mayBeEni } from './eni-devices.ts';
import { DatapathError } from './errors.ts';
import { AnswerTooLargeError, type Kernel, NODE } from './kernel/kernel.ts';
import { findLink, listLinks } from './links.ts';
import { changeLink, type Link } from './netlink/link.ts';

/** The kernel puts the first free number in. */
const FREE_NAME = 'eth%d';

/** A link of the node, whose addresses are the node's own business. */
async function findByMac(kernel: Kernel, netns: string, mac: string): Promise<Link | undefined> {
  return (await listLinks(kernel, netns)).find((link) => link.mac === mac && mayBeEni(link));
}

/**
 * Moves a device of the node into a namespace under a new name. If an earlier attempt left it there, only renames it.
 *
 * @param onFound called with its state on the node before anything is changed
 * @throws DatapathError when neither has it
 */
export async function moveIn(
  kernel: Kernel,
  wanted: { netns: string; name: string; mac: string },
  onFound: (link: Link) => void,
): Promise<void> {
  const { netns, name, mac } = wanted;
  const onNode = await findByMac(kernel, NODE, mac);
  if (onNode !== undefined) {
    onFound(onNode);
    await kernel.netlink(NODE, changeLink(onNode.index, { up: false }));
    await kernel.netlink(NODE, changeLink(onNode.index, { netns, name }));
    return;
  }
  const inside = await findMoved(kernel, wanted);
  if (inside === undefined || !mayBeMoved(inside, mac))
    throw new DatapathError('move ENI', `neither the node nor the pod has a link with MAC ${mac}`);
  await kernel.netlink(netns, changeLink(inside.index, { up: false, name }));
}

/**
 * Moves the device back to the node, under its former name or else a free one, and down unless it was up. Does nothing when the
 * device is not found: when a namespace ends, the kernel returns its devices to the first namespace.
 *
 * @param name what it was called in the pod
 */
export async function moveOut(
  kernel: Kernel,
  wanted: { netns: string; name: string; mac: string },
  before?: Link,
): Promise<void> {
  const { netns, mac } = wanted;
  const inside = await findMoved(kernel, wanted);
  if (inside === undefined) return;
  await kernel.netlink(netns, changeLink(inside.index, { up: false }));
  const isNameFree = before !== undefined && (await findLink(kernel, NODE, before.name)) === undefined;
  // The pod may have changed its address; the node would not find it by that.
  if (inside.mac !== mac) await kernel.netlink(netns, changeLink(inside.index, { mac }));
  await kernel.netlink(netns, changeLink(inside.index, { netns: NODE, name: isNameFree ? before.name : FREE_NAME }));
  if (before?.up !== true) return;
  const back = await findByMac(kernel, NODE, mac);
  if (back !== undefined) await kernel.netlink(NODE, changeLink(back.index, { up: true }));
}

/**
 * The device in the pod, found by its hardware address, as a pod can change the other one. A virtual device has no hardware
 * address and is found by MAC address or name; it must not be a link that the pod made, since it moves to the node.
 */
async function findMoved(
  kernel: Kernel,
  { netns, name, mac }: { netns: string; name: string; mac: string },
): Promise<Link | undefined> {
  const named = await findLink(kernel, netns, name);
  if (named?.permanentMac === mac) return named;
  const links = await listLinks(kernel, netns).catch((error: unknown) => {
    // A pod with that many links keeps its ENI until its namespace ends, which follows soon.
    if (error instanceof AnswerTooLargeError) return [];
    throw error;
  });
  const devices = [...(named === undefined ? [] : [named]), ...links].filter(isNotOfPod);
  const without = devices.filter(({ permanentMac }) => permanentMac === undefined);
  return (
    devices.find(({ permanentMac }) => permanentMac === mac) ??
    without.find((link) => link.mac === mac) ??
    without.find((link) => link.name === name)
  );
}

/** Only real devices have no kind, and a pod cannot make a pair with one end in a foreign namespace. */
function isNotOfPod(link: Link): boolean {
  return mayBeEni(link) && (link.kind === '' || link.peerNetnsId !== undefined);
}

/** Whether a link in a pod may be the device. */
export function mayBeMoved(link: Link, mac: string): boolean {
  return (link.permanentMac ?? link.mac) === mac;
}
