import { parseCidr } from './ip.ts';
import { isErrno, isNetnsGone, type Kernel } from './kernel/kernel.ts';
import { findLink, linkAt } from './links.ts';
import { getLinkByIndex, type Link } from './netlink/link.ts';
import type { NetlinkMessage, NetlinkRequest } from './netlink/message.ts';
import {
  type Address,
  decodeAddress,
  decodeNeighbour,
  decodeRoute,
  decodeRule,
  dumpAddresses,
  dumpRoutes,
  dumpRules,
  getNeighbour,
  type Neighbour,
  OUR_PROTOCOL,
  type Route,
  type Rule,
} from './netlink/network.ts';
import {
  decodeFilter,
  decodeQdisc,
  type Filter,
  type FilterPlace,
  getClsact,
  getFilter,
  getRootQdisc,
  type Qdisc,
} from './netlink/traffic.ts';

/** The loopback of every namespace, whatever its name. */
const LOOPBACK = 1;

/** Caches answers. */
class Memo<T> {
  readonly #answers = new Map<string, Promise<T>>();

  get(question: string, ask: () => Promise<T>): Promise<T> {
    const answer = this.#answers.get(question) ?? ask();
    this.#answers.set(question, answer);
    return answer;
  }
}

/**
 * The namespace of a pod, read on demand. Anyone with NET_ADMIN there can fill it, so objects are requested one by one where
 * possible, and the kernel filters where a list is needed.
 */
export class PodNamespace {
  readonly #kernel: Kernel;
  readonly #netns: string;
  readonly #exists = new Memo<boolean>();
  readonly #links = new Memo<Link | undefined>();
  readonly #addresses = new Memo<ReadonlySet<string>>();
  readonly #routes = new Memo<ReadonlyMap<string, Route>>();
  readonly #rules = new Memo<ReadonlySet<string>>();

  constructor(kernel: Kernel, netns: string) {
    this.#kernel = kernel;
    this.#netns = netns;
  }

  /** False only when it is known to be gone. Other errors show up in the next request. */
  exists(): Promise<boolean> {
    return this.#exists.get('', async () => {
      try {
        await this.#kernel.netlink(this.#netns, getLinkByIndex(LOOPBACK));
      } catch (error) {
        return !isNetnsGone(error);
      }
      return true;
    });
  }

  link(name: string): Promise<Link | undefined> {
    return this.#links.get(name, () => findLink(this.#kernel, this.#netns, name));
  }

  linkAt(index: number): Promise<Link | undefined> {
    return this.#links.get(`${index}`, () => linkAt(this.#kernel, this.#netns, index));
  }

  async hasAddress(link: Link, address: string, prefixLength: number): Promise<boolean> {
    const addresses = await this.#addresses.get(`${link.index}`, async () => {
      const messages = await this.#kernel.netlink(this.#netns, dumpAddresses(link.index));
      return new Set(messages.map(({ payload }) => textOfAddress(decodeAddress(payload))));
    });
    return addresses.has(`${address}/${prefixLength}`);
  }

  async hasNeighbour(link: Link, address: string, mac: string): Promise<boolean> {
    return hasNeighbour(this.#kernel, this.#netns, { linkIndex: link.index, address, mac });
  }

  async route(table: number, destination: string): Promise<Route | undefined> {
    const { family } = parseCidr(destination);
    const routes = await this.#routes.get(`${family} ${table}`, async () => {
      const messages = await this.#listTable(dumpRoutes(family, OUR_PROTOCOL, table));
      const found = messages.flatMap(({ payload }) => decodeRoute(payload) ?? []);
      return new Map(found.map((route) => [route.destination, route]));
    });
    return routes.get(destination);
  }

  async #listTable(request: NetlinkRequest): Promise<NetlinkMessage[]> {
    try {
      return await this.#kernel.netlink(this.#netns, request);
    } catch (error) {
      // A table without routes does not exist.
      if (isErrno(error, 'ENOENT')) return [];
      throw error;
    }
  }

  async hasRule(rule: Rule): Promise<boolean> {
    const { family } = rule;
    const rules = await this.#rules.get(`${family}`, async () => {
      const messages = await this.#kernel.netlink(this.#netns, dumpRules(family));
      const found = messages.flatMap(({ payload }) => decodeRule(payload) ?? []);
      return new Set(found.map((known) => JSON.stringify(known)));
    });
    return rules.has(JSON.stringify(rule));
  }

  /** The token bucket at the root of a link. */
  async tokenBucket(link: Link): Promise<Qdisc['tbf']> {
    const message = await this.#find(getRootQdisc(link.index));
    return message && decodeQdisc(message.payload).tbf;
  }

  async hasClsact(link: Link): Promise<boolean> {
    return (await this.#find(getClsact(link.index))) !== undefined;
  }

  /** The eBPF filter at this place. */
  async filter(place: FilterPlace): Promise<Filter | undefined> {
    const message = await this.#find(getFilter(place, 'bpf'));
    return message && decodeFilter(message.payload);
  }

  async #find(request: NetlinkRequest): Promise<NetlinkMessage | undefined> {
    try {
      const [message] = await this.#kernel.netlink(this.#netns, request);
      return message;
    } catch (error) {
      // Without clsact there are no places for filters.
      if (isErrno(error, 'ENOENT') || isErrno(error, 'EINVAL')) return undefined;
      throw error;
    }
  }
}

function textOfAddress({ address, prefixLength }: Address): string {
  return `${address}/${prefixLength}`;
}

/** Whether this permanent entry exists. Requested by itself: anyone on the wire can fill a neighbour table. */
export async function hasNeighbour(kernel: Kernel, netns: string, wanted: Neighbour): Promise<boolean> {
  try {
    const [message] = await kernel.netlink(netns, getNeighbour(wanted));
    return message !== undefined && decodeNeighbour(message.payload)?.mac === wanted.mac;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return false;
    throw error;
  }
}
