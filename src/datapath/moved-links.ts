import { mayBeEni } from './eni-devices.ts';
import { DatapathError } from './errors.ts';
import { type Kernel, NODE } from './kernel/kernel.ts';
import { findLink, listLinks } from './links.ts';
import { changeLink, type Link } from './netlink/link.ts';

/** The kernel puts the first free number in. */
const FREE_NAME = 'eth%d';

async function findByMac(kernel: Kernel, netns: string, mac: string): Promise<Link | undefined> {
  return (await listLinks(kernel, netns)).find((link) => link.mac === mac && mayBeEni(link));
}

/**
 * Moves a device of the node into a namespace under a new name. One that an earlier attempt left there gets its name.
 *
 * @param onFound is told what it was on the node before anything is changed
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
  const inside = await findByMac(kernel, netns, mac);
  if (inside === undefined)
    throw new DatapathError('move ENI', `neither the node nor the pod has a link with MAC ${mac}`);
  await kernel.netlink(netns, changeLink(inside.index, { up: false, name }));
}

/**
 * Moves the device back to the node, under the name that it had or else a free one, and down unless it was up. Nothing happens when it is not there: the kernel gives
 * the devices of a namespace that ends back to the first namespace.
 */
export async function moveOut(kernel: Kernel, netns: string, mac: string, before?: Link): Promise<void> {
  const inside = await findByMac(kernel, netns, mac);
  if (inside === undefined) return;
  await kernel.netlink(netns, changeLink(inside.index, { up: false }));
  const isNameFree = before !== undefined && (await findLink(kernel, NODE, before.name)) === undefined;
  await kernel.netlink(netns, changeLink(inside.index, { netns: NODE, name: isNameFree ? before.name : FREE_NAME }));
  if (before?.up !== true) return;
  const back = await findByMac(kernel, NODE, mac);
  if (back !== undefined) await kernel.netlink(NODE, changeLink(back.index, { up: true }));
}
