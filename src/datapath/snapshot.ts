import type { BpfPrograms, ProgramName } from './bpf/programs.ts';
import { programsBefore, refusal } from './foreign-programs.ts';
import { inStep, type Kernel, NODE } from './kernel/kernel.ts';
import type { Link } from './netlink/link.ts';
import type { Route } from './netlink/network.ts';
import { tokenBucket } from './netlink/traffic.ts';
import { type KernelObject, ruleOf } from './objects.ts';
import {
  type FilterView,
  type MapView,
  type NamespaceView,
  observeFilters,
  observeMaps,
  observeNamespace,
} from './observe.ts';
import { PREFERENCE } from './plan-node.ts';
import { isTagPreference } from './vlan-filters.ts';

/** One namespace with what is looked for by name. */
class NamespaceIndex {
  readonly view: NamespaceView;
  readonly #byName: ReadonlyMap<string, Link>;
  readonly #byIndex: ReadonlyMap<number, string>;
  readonly #addresses: ReadonlySet<string>;
  readonly #neighbours: ReadonlySet<string>;
  readonly #routes: ReadonlyMap<string, Route>;
  readonly #rules: ReadonlySet<string>;

  constructor(view: NamespaceView) {
    this.view = view;
    this.#byName = new Map(view.links.map((link) => [link.name, link]));
    this.#byIndex = new Map(view.links.map(({ index, name }) => [index, name]));
    this.#addresses = new Set(view.addresses.map((a) => `${a.linkIndex} ${a.address}/${a.prefixLength}`));
    this.#neighbours = new Set(view.neighbours.map((n) => `${n.linkIndex} ${n.address} ${n.mac}`));
    this.#routes = new Map(view.routes.map((route) => [`${route.table} ${route.destination}`, route]));
    this.#rules = new Set(view.rules.map((rule) => JSON.stringify(ruleOf(rule))));
  }

  link(name: string): Link | undefined {
    return this.#byName.get(name);
  }

  name(index: number): string | undefined {
    return this.#byIndex.get(index);
  }

  hasAddress(link: Link, address: string, prefixLength: number): boolean {
    return this.#addresses.has(`${link.index} ${address}/${prefixLength}`);
  }

  hasNeighbour(link: Link, address: string, mac: string): boolean {
    return this.#neighbours.has(`${link.index} ${address} ${mac}`);
  }

  route(table: number, destination: string): Route | undefined {
    return this.#routes.get(`${table} ${destination}`);
  }

  hasRule(rule: Parameters<typeof ruleOf>[0]): boolean {
    return this.#rules.has(JSON.stringify(ruleOf(rule)));
  }
}

/**
 * What is in the kernel, read once. Sysctls are read one by one where they are asked for, as there are hundreds of
 * others.
 */
export class Snapshot {
  readonly #kernel: Kernel;
  readonly #programs: BpfPrograms | undefined;
  readonly #namespaces = new Map<string, NamespaceIndex>();
  readonly #filters = new Map<number, FilterView>();
  readonly maps: MapView;

  private constructor(kernel: Kernel, programs: BpfPrograms | undefined, maps: MapView) {
    this.#kernel = kernel;
    this.#programs = programs;
    this.maps = maps;
  }

  /** Looks at the node; pods and filters follow when they are asked for. */
  static async take(kernel: Kernel, programs: BpfPrograms | undefined): Promise<Snapshot> {
    return inStep('look at the node', async () => {
      const none = { tags: [], veths: [], vlans: [], memberBit: 0 };
      const snapshot = new Snapshot(
        kernel,
        programs,
        programs === undefined ? none : await observeMaps(kernel, programs),
      );
      await snapshot.#namespace(NODE);
      return snapshot;
    });
  }

  async node(): Promise<NamespaceView> {
    return (await this.#namespace(NODE)).view;
  }

  /** Whether there is a namespace with this path. */
  async exists(netns: string): Promise<boolean> {
    return (await this.#namespace(netns)).view.exists;
  }

  async #namespace(netns: string): Promise<NamespaceIndex> {
    const known = this.#namespaces.get(netns);
    if (known !== undefined) return known;
    const index = new NamespaceIndex(await observeNamespace(this.#kernel, netns));
    this.#namespaces.set(netns, index);
    return index;
  }

  /** Name of a link of the node. */
  linkName(index: number): string | undefined {
    return this.#namespaces.get(NODE)?.name(index);
  }

  /** Filters of a link of the node; without clsact there are none. */
  async filters(linkIndex: number): Promise<FilterView> {
    const known = this.#filters.get(linkIndex);
    if (known !== undefined) return known;
    const { qdiscs } = await this.node();
    const has = qdiscs.some((qdisc) => qdisc.linkIndex === linkIndex && qdisc.kind === 'clsact');
    const view = has ? await observeFilters(this.#kernel, linkIndex) : { ingress: [], egress: [] };
    this.#filters.set(linkIndex, view);
    return view;
  }

  /** How the object differs from what should be, such as `is missing`; undefined when it does not. */
  async difference(object: KernelObject): Promise<string | undefined> {
    const missing = 'is missing';
    const netns = 'netns' in object ? object.netns : NODE;
    const index = await this.#namespace(netns);
    if (!index.view.exists) return 'cannot be, as the namespace is gone';
    switch (object.kind) {
      case 'veth':
        return this.#vethDifference(object, index);
      case 'vlanLink':
      case 'movedLink': {
        const link = index.link(object.name);
        if (link === undefined) return missing;
        if (object.kind === 'movedLink') return link.mac === object.mac ? undefined : `is another link, ${link.mac}`;
        const isThis = link.kind === 'vlan' && link.vlanId === object.vlanId;
        return isThis ? undefined : `is ${link.kind} ${link.vlanId ?? ''}`.trimEnd();
      }
      case 'rule':
        return index.hasRule(object) ? undefined : missing;
      case 'sysctl': {
        const value = await this.#sysctl(netns, object.name);
        if (value === undefined && object.ifThere === true && !(await this.#knowsSysctl(netns, object.name)))
          return undefined;
        return value === object.value ? undefined : `is ${value ?? 'missing'}`;
      }
      case 'tag': {
        const found = this.#tags().get(object.address);
        if (object.tag === undefined) return found === undefined ? undefined : `there is one: VLAN ${found.vlanId}`;
        if (found === undefined) return missing;
        const { vlanId, trunkIndex, priority } = object.tag;
        if (found.priority !== priority) return `has priority ${found.priority ?? 'of the packet'}`;
        const same = found.vlanId === vlanId && found.trunkIndex === trunkIndex;
        return same && found.owner === object.owner ? undefined : `is VLAN ${found.vlanId} on link ${found.trunkIndex}`;
      }
      case 'vlanEntry': {
        const { trunkIndex, vlanId, owner, ipv4, ipv6 } = object;
        const found = this.maps.vlans.find((entry) => entry.trunkIndex === trunkIndex && entry.vlanId === vlanId);
        if (found?.owner !== owner) return missing;
        return found.ipv4 === ipv4 && found.ipv6 === ipv6 ? undefined : 'is for other addresses';
      }
      case 'memberBit':
        return this.maps.memberBit === object.bit ? undefined : `is 0x${this.maps.memberBit.toString(16)}`;
      default: {
        const link = index.link(object.link);
        return link === undefined ? missing : this.#onLink(object, link, index);
      }
    }
  }

  #tagIndex: ReadonlyMap<string, MapView['tags'][number]> | undefined;
  #tags() {
    this.#tagIndex ??= new Map(this.maps.tags.map((tag) => [tag.address, tag]));
    return this.#tagIndex;
  }

  /** Whether the kernel has such a sysctl for links; that of one link goes with the link. */
  async #knowsSysctl(netns: string, name: string): Promise<boolean> {
    return (await this.#sysctl(netns, name.replace(/\/conf\/[^/]+\//, '/conf/all/'))) !== undefined;
  }

  async #sysctl(netns: string, name: string): Promise<string | undefined> {
    try {
      return await this.#kernel.readSysctl(netns, name);
    } catch {
      return undefined;
    }
  }

  async #vethDifference(
    object: Extract<KernelObject, { kind: 'veth' }>,
    node: NamespaceIndex,
  ): Promise<string | undefined> {
    const host = node.link(object.name);
    if (host === undefined) return 'is missing';
    if (host.alias !== object.alias) return `belongs to ${host.alias === '' ? 'nobody' : host.alias}`;
    const inside = await this.#namespace(object.peer.netns);
    if (!inside.view.exists) return 'has no other end, as the namespace is gone';
    const pod = inside.link(object.peer.name);
    if (pod === undefined || pod.mac !== object.peer.mac || host.mac !== object.mac || pod.peerIndex !== host.index) {
      return 'has another other end';
    }
    return undefined;
  }

  async #onLink(
    object: Extract<KernelObject, { link: string }>,
    link: Link,
    index: NamespaceIndex,
  ): Promise<string | undefined> {
    const missing = 'is missing';
    switch (object.kind) {
      case 'linkState': {
        const mtuFits = object.mtuIs === 'exact' ? link.mtu === object.mtu : link.mtu >= object.mtu;
        return link.up && mtuFits ? undefined : `is ${link.up ? 'up' : 'down'} with mtu ${link.mtu}`;
      }
      case 'address':
        return index.hasAddress(link, object.address, object.prefixLength) ? undefined : missing;
      case 'neighbour':
        return index.hasNeighbour(link, object.address, object.mac) ? undefined : missing;
      case 'route': {
        const found = index.route(object.table, object.destination);
        if (found === undefined) return missing;
        if (found.linkIndex !== link.index) return `is over link ${found.linkIndex}`;
        return found.gateway === object.gateway ? undefined : `is via ${found.gateway ?? 'none'}`;
      }
      case 'clsact':
        return index.view.qdiscs.some((q) => q.linkIndex === link.index && q.kind === 'clsact') ? undefined : missing;
      case 'bandwidth': {
        const found = index.view.qdiscs.find((q) => q.linkIndex === link.index && q.kind === 'tbf')?.tbf;
        const wanted = object.bytesPerSecond === undefined ? undefined : tokenBucket(object.bytesPerSecond, object.mtu);
        const same = found?.bytesPerSecond === wanted?.bytesPerSecond && found?.limit === wanted?.limit;
        return same ? undefined : `is ${found?.bytesPerSecond ?? 'no limit'}`;
      }
      case 'program': {
        const filters = (await this.filters(link.index))[object.direction];
        const found = filters.find(({ preference, handle }) => preference === object.preference && handle === 1);
        if (found === undefined) return missing;
        const isThis = found.action.kind === 'bpf' && found.action.programId === this.programId(object.program);
        if (!isThis) return 'is another program';
        const before = await programsBefore(this.#kernel, object, link.index, filters);
        return before.length === 0 ? undefined : refusal(before);
      }
      case 'pushFilter': {
        const { egress } = await this.filters(link.index);
        const own = egress.filter(({ preference }) => isTagPreference(preference)).map(({ action }) => action);
        const action = own.find((a) => a.kind === 'push' && a.source === object.source);
        if (action?.kind !== 'push') return missing;
        return action.vlanId === object.vlanId ? undefined : `gives VLAN ${action.vlanId}`;
      }
      case 'popFilter': {
        const { ingress } = await this.filters(link.index);
        return ingress.some((f) => f.action.kind === 'pop' && f.preference === PREFERENCE.untag) ? undefined : missing;
      }
      case 'vethEntry': {
        const found = this.maps.veths.find(({ linkIndex }) => linkIndex === link.index);
        if (found === undefined) return missing;
        const same = found.mark === object.mark && found.markMask === object.markMask && found.owner === object.owner;
        const sameLink = found.ipv4 === object.ipv4 && found.ipv6 === object.ipv6;
        return same && sameLink ? undefined : 'is for another pod';
      }
    }
  }

  programId(name: ProgramName): number {
    return this.#programs?.program(name).id ?? -1;
  }
}
