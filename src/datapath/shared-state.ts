import { KeyedQueue } from '../util/keyed-queue.ts';
import { Applier } from './apply.ts';
import { assertFirst } from './foreign-programs.ts';
import { canonicalAddress, familyOf, hostPrefix } from './ip.ts';
import { inStep, type Kernel, NODE } from './kernel/kernel.ts';
import type { Marks } from './marks.ts';
import { type Address, decodeAddress, dumpAddresses } from './netlink/network.ts';
import { type EniUse, planEni, planFilters, planNode, type ResolvedEni } from './plan-node.ts';
import type { Session } from './session.ts';
import type { DatapathSettings } from './types.ts';

/** State that pods share and the first one creates: the node's rules, and the setup of an ENI. */
interface Shared {
  /** What it was made for. */
  isTrunk: boolean;
  mtu: number;
  ipv6: boolean;
  /** Calls that build on it now. */
  users: number;
  /** Changes that no successful call relies on yet. They are undone when the last call that could rely on them fails. */
  pending: Applier[];
}

/** One call's use of shared state. It ends with one of these two. */
export interface Lease {
  keep(): void;
  /** Undoes what was made for this call, unless other calls use it by now. Returns the failures. */
  abandon(): Promise<unknown[]>;
}

/** How a pod wants to use an ENI. */
export interface WantedEni {
  eni: ResolvedEni;
  isTrunk: boolean;
  mtu: number;
  ipv6: boolean;
}

/** Remembers which shared state exists, so that it costs the next pod nothing. */
export class SharedState {
  readonly #settings: DatapathSettings;
  readonly #marks: Marks;
  readonly #queue = new KeyedQueue();
  /** By index of the ENI; 0 is the node. */
  readonly #shared = new Map<number, Shared>();

  constructor(settings: DatapathSettings, marks: Marks) {
    this.#settings = settings;
    this.#marks = marks;
  }

  /**
   * Makes what the ENIs need, together with other calls.
   *
   * @param ipv6 whether the pod has an IPv6 address on any interface
   * @throws DatapathError; then it is as it was before
   */
  async acquire(session: Session, enis: readonly WantedEni[], ipv6: boolean): Promise<Lease> {
    const leased = new Set<Shared>();
    const lease: Lease = {
      keep: () => {
        for (const shared of leased) {
          shared.users--;
          shared.pending = [];
        }
      },
      abandon: () => this.#queue.run('', () => this.#abandon(leased)),
    };
    try {
      await this.#queue.run('', async () => {
        await this.#use(session, 0, { isTrunk: false, mtu: 0, ipv6 }, leased);
        for (const wanted of enis) await this.#use(session, wanted.eni.index, wanted, leased, wanted.eni);
      });
      return lease;
    } catch (error) {
      await lease.abandon();
      throw error;
    }
  }

  async #use(
    session: Session,
    index: number,
    wanted: { isTrunk: boolean; mtu: number; ipv6: boolean },
    leased: Set<Shared>,
    eni?: ResolvedEni,
  ): Promise<void> {
    const shared = this.#shared.get(index) ?? { isTrunk: false, mtu: -1, ipv6: false, users: 0, pending: [] };
    this.#shared.set(index, shared);
    if (!leased.has(shared)) {
      leased.add(shared);
      shared.users++;
    }
    const suffices = (shared.isTrunk || !wanted.isTrunk) && (shared.ipv6 || !wanted.ipv6);
    if (shared.mtu >= wanted.mtu && suffices) {
      if (eni === undefined) return;
      // Other programs may have been put before ours since.
      for (const object of planFilters(eni.name, shared.isTrunk, this.#settings)) {
        if (object.kind === 'program') await assertFirst(session.kernel, object, index);
      }
      return;
    }
    const applier = new Applier(session.kernel, session.programs);
    shared.pending.push(applier);
    const use = {
      isTrunk: shared.isTrunk || wanted.isTrunk,
      mtu: Math.max(shared.mtu, wanted.mtu),
      ipv6: shared.ipv6 || wanted.ipv6,
    };
    const plan =
      eni === undefined
        ? planNode(this.#settings, this.#marks, use.ipv6)
        : planEni(eni, await this.#eniUse(session.kernel, index, use), this.#settings, this.#marks);
    for (const object of plan) await applier.ensure(object);
    Object.assign(shared, use);
  }

  async #eniUse(kernel: Kernel, index: number, use: { isTrunk: boolean; mtu: number; ipv6: boolean }): Promise<EniUse> {
    const messages = await inStep('read addresses of the ENI', () => kernel.netlink(NODE, dumpAddresses(index)));
    const addresses = messages.map(({ payload }) => decodeAddress(payload));
    return { ...use, hasNodeAddress: hasNodeAddress(this.#settings, addresses) };
  }

  async #abandon(leased: ReadonlySet<Shared>): Promise<unknown[]> {
    const failures: unknown[] = [];
    for (const [index, shared] of [...this.#shared].reverse()) {
      if (!leased.has(shared)) continue;
      shared.users--;
      if (shared.users > 0 || shared.pending.length === 0) continue;
      for (const applier of shared.pending.splice(0).reverse()) failures.push(...(await applier.rollBack()));
      this.forget(index);
    }
    return failures;
  }

  /** Makes the next call that needs it set it up again. */
  forget(index: number): void {
    const shared = this.#shared.get(index);
    if (shared === undefined) return;
    if (shared.users === 0) this.#shared.delete(index);
    shared.isTrunk = false;
    shared.ipv6 = false;
    shared.mtu = -1;
  }

  /** ENIs for which something was made; 0 is the node. */
  indexes(): number[] {
    return [...this.#shared.keys()];
  }
}

/** Whether the link has the node's address by itself, with the prefix of its subnet. */
export function hasNodeAddress(settings: DatapathSettings, addresses: readonly Address[]): boolean {
  const { ipv4, ipv6 } = settings.nodeAddress;
  const own = [ipv4, ipv6].flatMap((address) => (address === undefined ? [] : [canonicalAddress(address)]));
  return addresses.some(
    ({ address, prefixLength }) => own.includes(address) && prefixLength < hostPrefix(familyOf(address)),
  );
}
