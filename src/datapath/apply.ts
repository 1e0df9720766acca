import { encodeTag, encodeVeth, encodeVlan, linkKey, type RawEntry } from './bpf/entries.ts';
import { type BpfPrograms, type MapName, PROGRAM_NAMES } from './bpf/programs.ts';
import { assertFirst, isTcx } from './foreign-programs.ts';
import { familyOf, IPV4, IPV6 } from './ip.ts';
import { inStep, isErrno, isNetnsGone, type Kernel, NODE, type TcxProgram } from './kernel/kernel.ts';
import { findLink, LinkTable, linkAt } from './links.ts';
import { mayBeMoved, moveIn, moveOut } from './moved-links.ts';
import { OUR_GROUP } from './names.ts';
import { changeLink, createVeth, createVlanLink, deleteLink, type Link } from './netlink/link.ts';
import type { NetlinkRequest } from './netlink/message.ts';
import {
  type Address,
  addAddress,
  addNeighbour,
  addRoute,
  addRule,
  decodeRoute,
  deleteAddress,
  deleteNeighbour,
  deleteRoute,
  deleteRule,
  dumpRoutes,
  OUR_PROTOCOL,
  RA_PROTOCOL,
  type Route,
} from './netlink/network.ts';
import {
  addClsact,
  decodeQdisc,
  deleteClsact,
  deleteFilter,
  deleteTokenBucket,
  type FilterAction,
  type FilterPlace,
  getRootQdisc,
  setProgramFilter,
  setTokenBucket,
  tokenBucket,
} from './netlink/traffic.ts';
import { describe, type KernelObject, type LinkState, placeOf, type RouteObject, ruleOf } from './objects.ts';
import { ensurePop, ensurePush, listFilters } from './vlan-filters.ts';

type ObjectOf<K extends KernelObject['kind']> = Extract<KernelObject, { kind: K }>;

/** Undoes one step. */
type Undo = () => Promise<void>;

const isOurProgram = (action: FilterAction) =>
  action.kind === 'bpf' && PROGRAM_NAMES.some((name) => name === action.name);
const IPV6_FORWARDING = /^net\/ipv6\/conf\/[^/]+\/forwarding$/;
const isLearnt = ({ protocol }: Route) => protocol === RA_PROTOCOL;
const LONGEST_LINK_NAME = 15;
const ALREADY_GONE = ['ENOENT', 'ENODEV', 'ESRCH', 'EADDRNOTAVAIL', 'EINVAL'] as const;

/**
 * Makes objects one after another and can undo all of it. Undoing a link that was made here also removes what is on it.
 * Use one per piece of work: it remembers link indexes.
 */
export class Applier {
  readonly #kernel: Kernel;
  readonly #programs: BpfPrograms | undefined;
  readonly #links: LinkTable;
  readonly #undo: Undo[] = [];
  readonly #made = new Set<string>();

  /** @param programs absent with the classic tag filters */
  constructor(kernel: Kernel, programs: BpfPrograms | undefined) {
    this.#kernel = kernel;
    this.#programs = programs;
    this.#links = new LinkTable(kernel);
  }

  /**
   * Creates the object unless it is there already.
   *
   * @throws DatapathError naming the object
   */
  async ensure(object: KernelObject): Promise<void> {
    await inStep(describe(object), () => this.#ensure(object));
  }

  /** Undoes everything, last step first, and continues when a step fails. Returns the failures. */
  async rollBack(): Promise<unknown[]> {
    const failures: unknown[] = [];
    for (const undo of this.#undo.splice(0).reverse()) {
      try {
        await undo();
      } catch (error) {
        if (!isNetnsGone(error) && !isErrno(error, ...ALREADY_GONE)) failures.push(error);
      }
    }
    return failures;
  }

  async #ensure(object: KernelObject): Promise<void> {
    switch (object.kind) {
      case 'veth':
        return this.#ensureVeth(object);
      case 'vlanLink':
        return this.#ensureVlanLink(object);
      case 'movedLink':
        return this.#ensureMovedLink(object);
      case 'linkState':
        return this.#ensureLinkState(object);
      case 'address': {
        const address = await this.#address(object);
        const made = await this.#create(object.netns, addAddress(address));
        if (made) this.#onUndo(object.netns, object.link, () => this.#send(object.netns, deleteAddress(address)));
        return;
      }
      case 'neighbour': {
        const neighbour = { ...object, linkIndex: await this.#links.indexOf(object.netns, object.link) };
        if (await this.#create(object.netns, addNeighbour(neighbour, 'exclusive'))) {
          this.#onUndo(object.netns, object.link, () => this.#send(object.netns, deleteNeighbour(neighbour)));
          return;
        }
        return this.#send(object.netns, addNeighbour(neighbour, 'replace'));
      }
      case 'route':
        return this.#ensureRoute(object);
      case 'rule': {
        const rule = ruleOf(object);
        const made = await this.#create(object.netns, addRule(rule));
        if (made) this.#undo.push(() => this.#send(object.netns, deleteRule(rule)));
        return;
      }
      case 'sysctl':
        return this.#ensureSysctl(object);
      case 'clsact': {
        const { netns, link } = object;
        const index = await this.#links.indexOf(netns, link);
        const made = await this.#create(netns, addClsact(index));
        if (made) this.#onUndo(netns, link, () => this.#send(netns, deleteClsact(index)));
        return;
      }
      case 'program':
        return this.#ensureProgram(object);
      case 'pushFilter':
      case 'popFilter': {
        const index = await this.#links.indexOf(NODE, object.link);
        const undo =
          object.kind === 'popFilter'
            ? await ensurePop(this.#kernel, index)
            : await ensurePush(this.#kernel, index, object.source, object.vlanId);
        if (undo !== undefined) this.#undo.push(undo);
        return;
      }
      case 'bandwidth':
        return this.#ensureBandwidth(object);
      case 'tag': {
        const { address, tag, owner } = object;
        const entry = encodeTag({ address, vlanId: 0, trunkIndex: 0, ...tag, owner });
        return this.#ensureEntry(familyOf(address) === IPV4 ? 'tag4' : 'tag6', entry.key, tag && entry.value);
      }
      case 'vethEntry': {
        const linkIndex = await this.#links.indexOf(NODE, object.link);
        const { key, value } = encodeVeth({ ...object, linkIndex });
        return this.#ensureEntry('veths', key, value);
      }
      case 'vlanEntry': {
        const { key, value } = encodeVlan(object);
        return this.#ensureEntry('vlans', key, value);
      }
      case 'memberBit':
        return this.#ensureEntry('settings', linkKey(0), linkKey(object.bit));
    }
  }

  async #ensureSysctl({ netns, name, value, ifThere = false }: ObjectOf<'sysctl'>): Promise<void> {
    try {
      if (IPV6_FORWARDING.test(name) && value === '1') await this.#keepRouters(netns, name);
      const before = await this.#kernel.writeSysctl(netns, name, value);
      if (before === value) return;
      this.#onUndo(netns, name.split('/')[3] ?? '', async () => {
        await this.#kernel.writeSysctl(netns, name, before);
      });
    } catch (error) {
      if (!ifThere || !isErrno(error, 'ENOENT')) throw error;
    }
  }

  /**
   * When a node starts to forward, the kernel drops everything learnt from router advertisements on all links and ignores new
   * ones, which would cost the node its own default route. With `accept_ra` 2 a link keeps such a route.
   */
  async #keepRouters(netns: string, forwarding: string): Promise<void> {
    if ((await this.#kernel.readSysctl(netns, forwarding)) === '1') return;
    const routes = await this.#kernel.netlink(netns, dumpRoutes(IPV6, RA_PROTOCOL));
    // Older kernels ignore the filter and list everything.
    const learnt = routes.flatMap(({ payload }) => decodeRoute(payload) ?? []).filter(isLearnt);
    for (const index of new Set(learnt.map(({ linkIndex }) => linkIndex))) {
      const link = await linkAt(this.#kernel, netns, index);
      if (link === undefined) continue;
      const name = `net/ipv6/conf/${link.name}/accept_ra`;
      const before = await this.#kernel.writeSysctl(netns, name, '2');
      if (before !== '2') {
        this.#undo.push(async () => {
          await this.#kernel.writeSysctl(netns, name, before);
        });
      }
    }
  }

  async #send(netns: string, request: NetlinkRequest): Promise<void> {
    await this.#kernel.netlink(netns, request);
  }

  /** Returns false when it existed already. */
  async #create(netns: string, request: NetlinkRequest): Promise<boolean> {
    try {
      await this.#send(netns, request);
      return true;
    } catch (error) {
      if (isErrno(error, 'EEXIST')) return false;
      throw error;
    }
  }

  /** Nothing to undo on a link that will be deleted as a whole. */
  #onUndo(netns: string, link: string, undo: Undo): void {
    if (!this.#made.has(`${netns} ${link}`)) this.#undo.push(undo);
  }

  async #ensureVeth(object: ObjectOf<'veth'>): Promise<void> {
    const { name, mac, mtu, alias, peer } = object;
    const create = createVeth({ name, mac, mtu, group: OUR_GROUP, peer });
    if (!(await this.#create(NODE, create))) {
      if (await this.#isThisVeth(object)) return;
      const stale = await findLink(this.#kernel, NODE, name);
      if (stale !== undefined) {
        await this.#send(NODE, deleteLink(stale.index));
        await this.#kernelMapDelete('veths', linkKey(stale.index));
      }
      await this.#send(NODE, create);
    }
    this.#made.add(`${NODE} ${name}`).add(`${peer.netns} ${peer.name}`);
    this.#undo.push(async () => {
      const made = await findLink(this.#kernel, NODE, name);
      if (made !== undefined) await this.#send(NODE, deleteLink(made.index));
    });
    this.#links.forget(NODE, name);
    this.#links.forget(peer.netns, peer.name);
    await this.#send(NODE, changeLink(await this.#links.indexOf(NODE, name), { alias }));
  }

  /** Checks that both ends are where they should be, and sets the alias if a crash prevented that. */
  async #isThisVeth({ name, mac, alias, peer }: ObjectOf<'veth'>): Promise<boolean> {
    const host = await findLink(this.#kernel, NODE, name);
    if (host?.kind !== 'veth' || host.mac !== mac) return false;
    // The pod may change its address and name.
    const pod = host.peerIndex === undefined ? undefined : await linkAt(this.#kernel, peer.netns, host.peerIndex);
    if (pod?.kind !== 'veth' || pod.peerIndex !== host.index) return false;
    if (host.alias !== alias) await this.#send(NODE, changeLink(host.index, { alias }));
    return true;
  }

  async #ensureVlanLink({ netns, name, trunk, vlanId, mtu }: ObjectOf<'vlanLink'>): Promise<void> {
    const parentIndex = await this.#links.indexOf(NODE, trunk);
    const create = createVlanLink({ name, parentIndex, vlanId, mtu, group: OUR_GROUP, netns });
    if (!(await this.#create(NODE, create))) {
      const found = await findLink(this.#kernel, netns, name);
      if (found?.kind === 'vlan' && found.peerIndex === parentIndex && found.vlanId === vlanId) return;
      if (found !== undefined) await this.#send(netns, deleteLink(found.index));
      // Upstream's agent makes the device on the node and then moves it into the pod; this one it never moved.
      const stale = await findLink(this.#kernel, NODE, `${trunk}.${vlanId}`.slice(-LONGEST_LINK_NAME));
      if (stale?.kind === 'vlan' && stale.peerIndex === parentIndex && stale.vlanId === vlanId) {
        await this.#send(NODE, deleteLink(stale.index));
      }
      await this.#send(NODE, create);
    }
    this.#made.add(`${netns} ${name}`);
    this.#undo.push(async () => {
      const made = await findLink(this.#kernel, netns, name);
      if (made !== undefined) await this.#send(netns, deleteLink(made.index));
    });
  }

  async #ensureMovedLink({ netns, name, mac }: ObjectOf<'movedLink'>): Promise<void> {
    const found = await findLink(this.#kernel, netns, name);
    if (found !== undefined && mayBeMoved(found, mac)) return;
    this.#made.add(`${netns} ${name}`);
    let before: Link | undefined;
    // Noted before the move: a move can report a failure although it happened.
    this.#undo.push(() => moveOut(this.#kernel, { netns, name, mac }, before));
    await moveIn(this.#kernel, { netns, name, mac }, (link) => {
      before = link;
    });
    this.#links.forget(netns, name);
  }

  async #ensureLinkState({ netns, link: name, mtu, mtuIs }: LinkState): Promise<void> {
    const link = await this.#links.get(netns, name);
    const mtuFits = mtuIs === 'exact' ? link.mtu === mtu : link.mtu >= mtu;
    if (link.up && mtuFits) return;
    await this.#send(netns, changeLink(link.index, { up: true, ...(mtuFits ? {} : { mtu }) }));
    this.#links.forget(netns, name);
    this.#onUndo(netns, name, () => this.#send(netns, changeLink(link.index, { up: link.up, mtu: link.mtu })));
  }

  async #address(object: ObjectOf<'address'>): Promise<Address> {
    const linkIndex = await this.#links.indexOf(object.netns, object.link);
    return { ...object, linkIndex, protocol: OUR_PROTOCOL, scope: 0 };
  }

  async #ensureRoute(object: RouteObject): Promise<void> {
    const linkIndex = await this.#links.indexOf(object.netns, object.link);
    const route: Route = { ...object, gateway: object.gateway, linkIndex, protocol: OUR_PROTOCOL };
    if (await this.#create(object.netns, addRoute(route, 'exclusive'))) {
      this.#onUndo(object.netns, object.link, () => this.#send(object.netns, deleteRoute(route)));
      return;
    }
    await this.#send(object.netns, addRoute(route, 'replace'));
  }

  /** @throws DatapathError when a program of others comes before */
  async #ensureProgram(object: ObjectOf<'program'>): Promise<void> {
    const { netns, link, program: name } = object;
    const place = placeOf(object, await this.#links.indexOf(netns, link));
    const program = { handle: this.#needPrograms().program(name).handle, name };
    const tcx = netns === NODE ? await this.#kernel.tcxPrograms(place.linkIndex, place.direction) : undefined;
    const own = tcx?.find((other) => other.name === name);
    if (tcx !== undefined && isTcx(object, own)) {
      await this.#ensureTcx(object, place, own);
      return assertFirst(this.#kernel, object, place.linkIndex);
    }
    if (await this.#create(netns, setProgramFilter(place, program, 'exclusive'))) {
      this.#onUndo(netns, link, () => this.#send(netns, deleteFilter(place, 'bpf')));
    } else {
      await this.#send(netns, setProgramFilter(place, program, 'replace'));
    }
    // Left over from another layout.
    if (own !== undefined) await this.#kernel.detachTcx(place.linkIndex, place.direction, own.id);
    // Other qdiscs on a pod's links are the pod's own.
    if (netns !== NODE || this.#made.has(`${netns} ${link}`)) return;
    await assertFirst(this.#kernel, object, place.linkIndex);
  }

  /** Attaches it as the first TCX program and removes the filter that an earlier agent or kernel used in its place. */
  async #ensureTcx(object: ObjectOf<'program'>, place: FilterPlace, own: TcxProgram | undefined): Promise<void> {
    const programs = this.#needPrograms();
    const { handle, id } = programs.program(object.program);
    const { linkIndex, direction } = place;
    const filters = await listFilters(this.#kernel, linkIndex, direction);
    const isFilter = filters.some(({ action, preference }) => preference === place.preference && isOurProgram(action));
    if (isFilter) {
      const handover = { handle: programs.program('trunk_handover').handle, name: 'trunk_handover' };
      await this.#send(object.netns, setProgramFilter(place, handover, 'replace'));
    }
    if (own?.id !== id) await this.#kernel.attachTcx(linkIndex, direction, handle, own?.id);
    if (isFilter) await this.#send(object.netns, deleteFilter(place, 'bpf'));
    else if (own === undefined) {
      this.#onUndo(object.netns, object.link, () => this.#kernel.detachTcx(linkIndex, direction, id));
    }
  }

  async #ensureBandwidth({ netns, link, bytesPerSecond, mtu }: ObjectOf<'bandwidth'>): Promise<void> {
    const index = await this.#links.indexOf(netns, link);
    const before = this.#made.has(`${netns} ${link}`) ? undefined : await this.#bandwidthOf(netns, index);
    if (bytesPerSecond === before) return;
    const set = async (wanted: number | undefined) => {
      const request = wanted === undefined ? deleteTokenBucket(index) : setTokenBucket(index, tokenBucket(wanted, mtu));
      await this.#send(netns, request);
    };
    await set(bytesPerSecond);
    this.#onUndo(netns, link, () => set(before));
  }

  async #bandwidthOf(netns: string, index: number): Promise<number | undefined> {
    try {
      const [message] = await this.#kernel.netlink(netns, getRootQdisc(index));
      return message === undefined ? undefined : decodeQdisc(message.payload).tbf?.bytesPerSecond;
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  #needPrograms(): BpfPrograms {
    if (this.#programs === undefined) throw new Error('the plan needs eBPF, which is not in use');
    return this.#programs;
  }

  async #kernelMapDelete(map: MapName, key: Buffer): Promise<void> {
    if (this.#programs !== undefined) await this.#kernel.deleteEntries(this.#programs.map(map), [key]);
  }

  /** Undefined means that there must be none. */
  async #ensureEntry(map: MapName, key: Buffer, value: Buffer | undefined): Promise<void> {
    const handle = this.#needPrograms().map(map);
    const before = await this.#kernel.lookup(handle, key);
    if (value === undefined ? before === undefined : before?.equals(value)) return;
    await this.#writeEntry(handle, key, value);
    this.#undo.push(() => this.#writeEntry(handle, key, before));
  }

  async #writeEntry(handle: number, key: RawEntry['key'], value: Buffer | undefined): Promise<void> {
    if (value === undefined) await this.#kernel.deleteEntries(handle, [key]);
    else await this.#kernel.update(handle, [{ key, value }]);
  }
}
