import type { NodeAddress, NodeEni } from '../../crds/node.ts';
import type { Releases } from './release.ts';
import {
  addressesOf,
  FAMILIES,
  type Families,
  isBound,
  isIdle,
  isUsable,
  type PoolDraft,
  type PoolPod,
  servingEnis,
  withDraining,
} from './view.ts';

export interface HandOuts {
  served: PoolPod[];
  /** Pods for which there is no address. */
  unserved: PoolPod[];
  /** Pods that wait for the address of the pod of their name, whose sandbox the node still has. */
  succeeding: PoolPod[];
  /** Pods with an address that the pool cannot give them; more addresses would not help. */
  stale: PoolPod[];
  /** Pods whose address is not known: the record was lost, and they have not told yet. Meanwhile nobody gets an idle one, which may be theirs. */
  untold: PoolPod[];
  /** Pods that wait for these to tell, or for pods to become known whose sandboxes the node has reported. */
  held: PoolPod[];
  /** What looks idle may be in use: it goes to nobody, and is not given up. */
  isUncertain: boolean;
}

/** Addresses that were freed a moment ago rest before others get them. */
export interface Rest {
  /** When an address was freed, epoch milliseconds; undefined: long ago. */
  freedMs: (ip: string) => number | undefined;
  nowMs: number;
}

/** So long an address rests. */
export const REST_MS = 30_000;

/**
 * Gives idle addresses to pods that have none: from the ENI with the most bound addresses, so that others can drain; of it
 * the one that has been idle longest. One that rests is given only when there is no other. A pod that reports addresses gets
 * exactly these, whatever the record gives it besides, so that nobody else gets them before the node says that its sandbox is gone. One that comes under the name of another gets what that had, if it is of use.
 *
 * @param pods in the order in which they are served
 * @param canGetOthers whether pods for which no address is idle get others soon; otherwise an ENI whose place is needed serves them
 * @param told.hasSandbox whether the node has reported a sandbox of a pod's uid, and the record may not show its address yet
 * @param told.hasStrangers the same for sandboxes of pods that are not known
 */
export function handOut(
  draft: PoolDraft,
  pods: readonly PoolPod[],
  { freed, unconfirmed }: Releases,
  families: Families,
  rest: Rest,
  told: { hasSandbox: (uid: string) => boolean; hasStrangers: boolean },
  canGetOthers: boolean,
): HandOuts {
  const holders = new Set(
    Object.values(draft.enis).flatMap((eni) => addressesOf(eni).map(({ podUID = '' }) => podUID)),
  );
  const predecessors = new Set(unconfirmed.map(({ key }) => key));
  const inherited = Map.groupBy(freed, ({ key }) => key);
  const shelves = servingEnis(withDraining(draft), families).map((eni) => new Shelf(eni, families, rest));
  const open = shelves.filter(({ eniId }) => eniId !== draft.draining);
  const isUntold = (pod: PoolPod) => pod.reported.length === 0 && !holders.has(pod.uid) && told.hasSandbox(pod.uid);
  const outcome: HandOuts = {
    served: [],
    unserved: [],
    succeeding: [],
    stale: [],
    untold: [],
    held: [],
    isUncertain: told.hasStrangers || pods.some(isUntold),
  };
  // Who has an address comes before those that look for one.
  for (const pod of pods.filter(({ reported }) => reported.length > 0)) {
    const hasAll = claim(draft, pod, shelves);
    if (pod.mayGet && !hasAll) outcome.stale.push(pod);
    else if (pod.mayGet && !holders.has(pod.uid)) outcome.served.push(pod);
  }
  for (const pod of pods) {
    if (pod.mayGet && pod.reported.length === 0 && !holders.has(pod.uid)) outcome[serve(pod)].push(pod);
  }
  return outcome;

  function serve(pod: PoolPod): Exclude<keyof HandOuts, 'isUncertain'> {
    if (isUntold(pod)) return 'untold';
    if (predecessors.has(pod.key)) return 'succeeding';
    if (outcome.isUncertain) return 'held';
    const ips = inherited.get(pod.key)?.map(({ ip }) => ip) ?? [];
    if (ips.length === families.length && inherit(draft, pod, ips, shelves)) return 'served';
    const shelf = fullest(open) ?? (canGetOthers ? undefined : fullest(shelves));
    if (shelf === undefined) return 'unserved';
    shelf.give(pod);
    return 'served';
  }
}

/**
 * Gives a pod what it reports, as far as nobody else holds it. What no sandbox can get is of no use to one that has another already.
 *
 * @returns whether it has all of it
 */
function claim(draft: PoolDraft, pod: PoolPod, shelves: readonly Shelf[]): boolean {
  const enis = Object.values(draft.enis);
  const isHis = ({ podUID }: NodeAddress) => podUID === pod.uid;
  const isFree = ({ podID = '', podUID = '' }: NodeAddress) => podID === '' || (podID === pod.key && podUID === '');
  let count = 0;
  for (const family of FAMILIES) {
    const isServed = enis.some((eni) => addressesOf(eni, family).some((one) => isHis(one) && isUsable(eni, one)));
    for (const eni of enis) {
      const found = pod.reported.map((ip) => eni[family]?.[ip]).filter((address) => address !== undefined);
      const free = found.filter((address) => isFree(address) && (!isServed || isUsable(eni, address)));
      for (const address of free) bind(address, pod);
      if (free.length > 0) shelves.find(({ eniId }) => eniId === eni.id)?.look();
      count += found.filter(isHis).length;
    }
  }
  return count === pod.reported.length;
}

/** Gives these addresses, if one ENI has them all and all are of use. */
function inherit(draft: PoolDraft, pod: PoolPod, ips: readonly string[], shelves: readonly Shelf[]): boolean {
  for (const eni of servingEnis(draft, ['ipv4'])) {
    const { id, ipv4 = {}, ipv6 = {} } = eni;
    const found = ips.map((ip) => ipv4[ip] ?? ipv6[ip]).filter((address) => address !== undefined);
    if (found.length < ips.length || !found.every(isIdle)) continue;
    for (const address of found) bind(address, pod);
    shelves.find(({ eniId }) => eniId === id)?.look();
    return true;
  }
  return false;
}

function bind(address: NodeAddress, pod: PoolPod): void {
  address.podID = pod.key;
  address.podUID = pod.uid;
}

/** Of the shelves with an address that has rested, or else with any, the one of the ENI that most pods use. */
function fullest(shelves: readonly Shelf[]): Shelf | undefined {
  const rested = shelves.filter((one) => one.hasRested());
  const stocked = rested.length > 0 ? rested : shelves.filter((one) => one.hasAny());
  return stocked.reduce<Shelf | undefined>(
    (best, one) => (best === undefined || one.bound > best.bound ? one : best),
    undefined,
  );
}

/** The idle addresses of one ENI, by family, those that have been idle longest first. */
class Shelf {
  readonly #eni: NodeEni;
  readonly #families: Families;
  readonly #rest: Rest;
  #idle: NodeAddress[][] = [];
  #bound = 0;

  constructor(eni: NodeEni, families: Families, rest: Rest) {
    this.#eni = eni;
    this.#families = families;
    this.#rest = rest;
    this.look();
  }

  get eniId(): string {
    return this.#eni.id;
  }

  get bound(): number {
    return this.#bound;
  }

  look(): void {
    const { freedMs } = this.#rest;
    this.#bound = addressesOf(this.#eni).filter(isBound).length;
    this.#idle = this.#families.map((family) =>
      addressesOf(this.#eni, family)
        .filter(isIdle)
        .sort((a, b) => (freedMs(a.ip) ?? 0) - (freedMs(b.ip) ?? 0)),
    );
  }

  hasAny(): boolean {
    return this.#idle.every((addresses) => addresses.length > 0);
  }

  hasRested(): boolean {
    const { freedMs, nowMs } = this.#rest;
    return this.#idle.every(([first]) => first !== undefined && (freedMs(first.ip) ?? 0) <= nowMs - REST_MS);
  }

  give(pod: PoolPod): void {
    for (const address of this.#idle.flatMap((addresses) => addresses.splice(0, 1))) {
      bind(address, pod);
      this.#bound += 1;
    }
  }
}
