import { errorMessage } from '../util/errors.ts';
import type { BpfPrograms, ProgramName } from './bpf/programs.ts';
import { mayBeEni } from './eni-devices.ts';
import { isTcx, programsBefore, refusal } from './foreign-programs.ts';
import { inStep, type Kernel, NODE } from './kernel/kernel.ts';
import { mayBeMoved } from './moved-links.ts';
import { isOurGroup } from './names.ts';
import type { Link } from './netlink/link.ts';
import type { Route, Rule } from './netlink/network.ts';
import { type Filter, type FilterPlace, type Qdisc, tokenBucket } from './netlink/traffic.ts';
import { type KernelObject, placeOf, ruleOf } from './objects.ts';
import { type FilterView, type MapView, type NodeView, observeFilters, observeMaps, observeNode } from './observe.ts';
import { PREFERENCE } from './plan-node.ts';
import { hasNeighbour, PodNamespace } from './pod-namespace.ts';
import { isTagPreference } from './vlan-filters.ts';

/** A namespace as objects are compared with it. */
type Namespace = Pick<
  PodNamespace,
  'link' | 'hasAddress' | 'hasNeighbour' | 'route' | 'hasRule' | 'tokenBucket' | 'linkAt' | 'hasClsact' | 'filter'
>;

/** The node's namespace with what is looked for by name. */
class NodeNamespace implements Namespace {
  readonly view: NodeView;
  readonly #kernel: Kernel;
  readonly #byName: ReadonlyMap<string, Link>;
  readonly #byIndex: ReadonlyMap<number, Link>;
  readonly #addresses: ReadonlySet<string>;
  readonly #routes: ReadonlyMap<string, Route>;
  readonly #rules: ReadonlySet<string>;
  readonly #filters = new Map<number, FilterView>();

  constructor(kernel: Kernel, view: NodeView) {
    this.#kernel = kernel;
    this.view = view;
    this.#byName = new Map(view.links.map((link) => [link.name, link]));
    this.#byIndex = new Map(view.links.map((link) => [link.index, link]));
    this.#addresses = new Set(view.addresses.map((a) => `${a.linkIndex} ${a.address}/${a.prefixLength}`));
    this.#routes = new Map(view.routes.map((route) => [`${route.table} ${route.destination}`, route]));
    this.#rules = new Set(view.rules.map((rule) => JSON.stringify(ruleOf(rule))));
  }

  byName(name: string): Link | undefined {
    return this.#byName.get(name);
  }

  name(index: number): string | undefined {
    return this.#byIndex.get(index)?.name;
  }

  async link(name: string): Promise<Link | undefined> {
    return this.#byName.get(name);
  }

  async linkAt(index: number): Promise<Link | undefined> {
    return this.#byIndex.get(index);
  }

  async hasAddress(link: Link, address: string, prefixLength: number): Promise<boolean> {
    return this.#addresses.has(`${link.index} ${address}/${prefixLength}`);
  }

  hasNeighbour(link: Link, address: string, mac: string): Promise<boolean> {
    return hasNeighbour(this.#kernel, NODE, { linkIndex: link.index, address, mac });
  }

  async route(table: number, destination: string): Promise<Route | undefined> {
    return this.#routes.get(`${table} ${destination}`);
  }

  async hasRule(rule: Rule): Promise<boolean> {
    return this.#rules.has(JSON.stringify(rule));
  }

  async tokenBucket(link: Link): Promise<Qdisc['tbf']> {
    return this.view.qdiscs.find(({ linkIndex, kind }) => linkIndex === link.index && kind === 'tbf')?.tbf;
  }

  eni(mac: string): Link | undefined {
    return this.view.links.find((link) => link.mac === mac && mayBeEni(link));
  }

  async hasClsact({ index }: Pick<Link, 'index'>): Promise<boolean> {
    return this.view.qdiscs.some(({ linkIndex, kind }) => linkIndex === index && kind === 'clsact');
  }

  async filter({ linkIndex, direction, preference, handle }: FilterPlace): Promise<Filter | undefined> {
    const found = (await this.filters(linkIndex))[direction];
    return found.find((filter) => filter.preference === preference && filter.handle === handle);
  }

  /** Filters of a link; without clsact there are none. */
  async filters(linkIndex: number): Promise<FilterView> {
    const known = this.#filters.get(linkIndex);
    if (known !== undefined) return known;
    const has = await this.hasClsact({ index: linkIndex });
    const view = has ? await observeFilters(this.#kernel, linkIndex) : { ingress: [], egress: [] };
    this.#filters.set(linkIndex, view);
    return view;
  }
}

/** How an object differs from what should be. */
export interface Difference {
  /** After the name of the object, such as `is missing`. */
  text: string;
  /**
   * `none`: it is in a pod's namespace, which after ADD is up to the pod and later plugins, so it is only reported. `link`: the link is
   * created again, with everything on it.
   */
  mending: 'object' | 'link' | 'none';
}

/**
 * What is in the kernel, read once. Sysctls are read one by one where they are asked for, as there are hundreds of
 * others.
 */
export class Snapshot {
  readonly #kernel: Kernel;
  readonly #programs: BpfPrograms | undefined;
  readonly #node: NodeNamespace;
  readonly #pods = new Map<string, PodNamespace>();
  readonly maps: MapView;

  private constructor(kernel: Kernel, programs: BpfPrograms | undefined, node: NodeNamespace, maps: MapView) {
    this.#kernel = kernel;
    this.#programs = programs;
    this.#node = node;
    this.maps = maps;
  }

  /** Looks at the node; pods and filters follow when they are asked for. */
  static async take(kernel: Kernel, programs: BpfPrograms | undefined): Promise<Snapshot> {
    return inStep('look at the node', async () => {
      const none = { tags: [], veths: [], vlans: [], memberBit: 0 };
      const maps = programs === undefined ? none : await observeMaps(kernel, programs);
      return new Snapshot(kernel, programs, new NodeNamespace(kernel, await observeNode(kernel)), maps);
    });
  }

  node(): NodeView {
    return this.#node.view;
  }

  /** Whether there is a namespace with this path. */
  exists(netns: string): Promise<boolean> {
    return this.#pod(netns).exists();
  }

  #pod(netns: string): PodNamespace {
    const pod = this.#pods.get(netns) ?? new PodNamespace(this.#kernel, netns);
    this.#pods.set(netns, pod);
    return pod;
  }

  /** Name of a link of the node. */
  linkName(index: number): string | undefined {
    return this.#node.name(index);
  }

  /** Whether the node has a link of this name that is up. */
  isUp(name: string): boolean {
    return this.#node.byName(name)?.up === true;
  }

  /** Filters of a link of the node; without clsact there are none. */
  filters(linkIndex: number): Promise<FilterView> {
    return this.#node.filters(linkIndex);
  }

  /** How the object differs from what should be; undefined when it does not. */
  async difference(object: KernelObject): Promise<Difference | undefined> {
    if (object.kind === 'veth') return this.#vethDifference(object);
    const netns = 'netns' in object ? object.netns : NODE;
    if (netns === NODE) return onNode(await this.#text(object, this.#node));
    const pod = this.#pod(netns);
    if (!(await pod.exists())) return onNode('cannot be, as the namespace is gone');
    try {
      const text = await this.#text(object, pod);
      return text === undefined ? undefined : { text, mending: (await this.#isGone(object, pod)) ? 'link' : 'none' };
    } catch (error) {
      // Anyone with rights in the namespace can make every request to it fail.
      return inPod(`cannot be compared: ${errorMessage(error)}`);
    }
  }

  /** Whether it is a link whose loss the pod did not cause: it went with its trunk, or the cloud detached it. */
  async #isGone(object: KernelObject, pod: PodNamespace): Promise<boolean> {
    if (object.kind === 'movedLink') {
      return (await pod.link(object.name)) === undefined && this.#node.eni(object.mac) !== undefined;
    }
    if (object.kind !== 'vlanLink') return false;
    const link = await pod.link(object.name);
    // A device of ours with another VLAN id belongs to an earlier assignment.
    return link === undefined || (link.kind === 'vlan' && isOurGroup(link.group));
  }

  async #text(object: Exclude<KernelObject, { kind: 'veth' }>, namespace: Namespace): Promise<string | undefined> {
    const missing = 'is missing';
    switch (object.kind) {
      case 'vlanLink':
      case 'movedLink': {
        const link = await namespace.link(object.name);
        if (link === undefined) return missing;
        if (object.kind === 'movedLink')
          return mayBeMoved(link, object.mac) ? undefined : `is another link, ${link.mac}`;
        const isThis = link.kind === 'vlan' && link.vlanId === object.vlanId;
        return isThis ? undefined : `is ${link.kind} ${link.vlanId ?? ''}`.trimEnd();
      }
      case 'rule':
        return (await namespace.hasRule(ruleOf(object))) ? undefined : missing;
      case 'sysctl': {
        const value = await this.#sysctl(object.netns, object.name);
        if (value === undefined && object.ifThere === true && !(await this.#knowsSysctl(object.netns, object.name)))
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
        const link = await namespace.link(object.link);
        return link === undefined ? missing : this.#onLink(object, link, namespace);
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

  async #vethDifference(object: Extract<KernelObject, { kind: 'veth' }>): Promise<Difference | undefined> {
    const host = await this.#node.link(object.name);
    if (host === undefined) return { text: 'is missing', mending: 'link' };
    if (host.alias === '') return onNode('belongs to nobody');
    if (host.alias !== object.alias) return { text: `belongs to ${host.alias}`, mending: 'link' };
    const pod = this.#pod(object.peer.netns);
    if (!(await pod.exists())) return onNode('has no other end, as the namespace is gone');
    if (host.mac !== object.mac) return { text: `has MAC ${host.mac}`, mending: 'link' };
    try {
      const text = await this.#peerDifference(object, host, pod);
      return text === undefined ? undefined : inPod(text);
    } catch (error) {
      return inPod(`cannot be compared: ${errorMessage(error)}`);
    }
  }

  /** Only the host's end matters: the pair lives as long as it does, and the pod may change its own end. */
  async #peerDifference(
    { peer }: Extract<KernelObject, { kind: 'veth' }>,
    host: Link,
    pod: PodNamespace,
  ): Promise<string | undefined> {
    const named = await pod.link(peer.name);
    const isThis = (link: Link | undefined) => link?.kind === 'veth' && link.peerIndex === host.index;
    if (isThis(named)) return named?.mac === peer.mac ? undefined : `has MAC ${named?.mac} in the pod, not ${peer.mac}`;
    const other = host.peerIndex === undefined ? undefined : await pod.linkAt(host.peerIndex);
    return isThis(other) ? `is called ${other?.name} in the pod` : 'has its other end in another namespace';
  }

  async #onLink(
    object: Extract<KernelObject, { link: string }>,
    link: Link,
    namespace: Namespace,
  ): Promise<string | undefined> {
    const missing = 'is missing';
    switch (object.kind) {
      case 'linkState': {
        const mtuFits = object.mtuIs === 'exact' ? link.mtu === object.mtu : link.mtu >= object.mtu;
        return link.up && mtuFits ? undefined : `is ${link.up ? 'up' : 'down'} with mtu ${link.mtu}`;
      }
      case 'address':
        return (await namespace.hasAddress(link, object.address, object.prefixLength)) ? undefined : missing;
      case 'neighbour':
        return (await namespace.hasNeighbour(link, object.address, object.mac)) ? undefined : missing;
      case 'route': {
        const found = await namespace.route(object.table, object.destination);
        if (found === undefined) return missing;
        if (found.linkIndex !== link.index) return `is over link ${found.linkIndex}`;
        return found.gateway === object.gateway ? undefined : `is via ${found.gateway ?? 'none'}`;
      }
      case 'clsact':
        return (await namespace.hasClsact(link)) ? undefined : missing;
      case 'bandwidth': {
        const found = await namespace.tokenBucket(link);
        const wanted = object.bytesPerSecond === undefined ? undefined : tokenBucket(object.bytesPerSecond, object.mtu);
        const same = found?.bytesPerSecond === wanted?.bytesPerSecond && found?.limit === wanted?.limit;
        return same ? undefined : `is ${found?.bytesPerSecond ?? 'no limit'}`;
      }
      case 'program': {
        const found = await this.#programAt(object, link, namespace);
        if (found === undefined) return missing;
        if (found !== this.programId(object.program)) return 'is another program';
        if (object.netns !== NODE) return undefined;
        const filters = (await this.filters(link.index))[object.direction];
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

  /** The id of the program that is at the place of ours, 0 for a filter without; undefined when nothing is there. */
  async #programAt(
    object: Extract<KernelObject, { kind: 'program' }>,
    link: Link,
    namespace: Namespace,
  ): Promise<number | undefined> {
    if (object.beforeFilters !== undefined) {
      const programs = await this.#kernel.tcxPrograms(link.index, object.direction);
      const own = programs?.find(({ name }) => name === object.program);
      if (programs !== undefined && isTcx(object, own)) return own?.id;
    }
    const found = await namespace.filter(placeOf(object, link.index));
    if (found === undefined) return undefined;
    return found.action.kind === 'bpf' ? found.action.programId : 0;
  }

  programId(name: ProgramName): number {
    return this.#programs?.program(name).id ?? -1;
  }
}

function onNode(text: string): Difference;
function onNode(text: string | undefined): Difference | undefined;
function onNode(text: string | undefined): Difference | undefined {
  return text === undefined ? undefined : { text, mending: 'object' };
}

function inPod(text: string): Difference {
  return { text, mending: 'none' };
}
