import { DatapathError } from './errors.ts';
import { isErrno, isNetnsGone, type Kernel } from './kernel/kernel.ts';
import { decodeLink, dumpLinks, getLinkByIndex, getLinkByName, type Link } from './netlink/link.ts';

/** The link of this name; undefined when there is none, or no such namespace. */
export async function findLink(kernel: Kernel, netns: string, name: string): Promise<Link | undefined> {
  try {
    const [message] = await kernel.netlink(netns, getLinkByName(name));
    return message === undefined ? undefined : decodeLink(message.payload);
  } catch (error) {
    if (isErrno(error, 'ENODEV') || isNetnsGone(error)) return undefined;
    throw error;
  }
}

/** The link of this index; undefined when there is none. */
export async function linkAt(kernel: Kernel, netns: string, index: number): Promise<Link | undefined> {
  try {
    const [message] = await kernel.netlink(netns, getLinkByIndex(index));
    return message === undefined ? undefined : decodeLink(message.payload);
  } catch (error) {
    if (isErrno(error, 'ENODEV') || isNetnsGone(error)) return undefined;
    throw error;
  }
}

/** All links of a namespace; none when it is gone. */
export async function listLinks(kernel: Kernel, netns: string): Promise<Link[]> {
  try {
    return (await kernel.netlink(netns, dumpLinks())).map(({ payload }) => decodeLink(payload));
  } catch (error) {
    if (isNetnsGone(error)) return [];
    throw error;
  }
}

/** Names and indexes of links, looked up once each. For one piece of work, as links come and go. */
export class LinkTable {
  readonly #kernel: Kernel;
  readonly #known = new Map<string, Link>();

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  /** @throws DatapathError when there is no such link */
  async get(netns: string, name: string): Promise<Link> {
    const link = this.#known.get(`${netns} ${name}`) ?? (await findLink(this.#kernel, netns, name));
    if (link === undefined) throw new DatapathError(`find link ${name}`, 'there is no such link');
    this.#known.set(`${netns} ${name}`, link);
    return link;
  }

  async indexOf(netns: string, name: string): Promise<number> {
    return (await this.get(netns, name)).index;
  }

  forget(netns: string, name: string): void {
    this.#known.delete(`${netns} ${name}`);
  }
}
