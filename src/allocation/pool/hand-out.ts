import type { NodeAddress, NodeEni } from '../../crds/node.ts';
import type { Releases } from './release.ts';
import { addressesOf, type Families, isBound, isIdle, type PoolDraft, type PoolPod, servingEnis } from './view.ts';

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
 * exactly these, whatever their state, and one that comes under the name of another gets what that had.
 *
 * @param pods in the order in which they are served
 * @param told whose sandboxes the node has reported: of a pod's uid, and of pods that are not known
 */
export function handOut(
  draft: PoolDraft,
  pods: readonly PoolPod[],
  { freed, unconfirmed }: Releases,
  families: Families,
  rest: Rest,
  { hasSandbox, hasStrangers }: { hasSandbox: (uid: string) => boolean; hasStrangers: boolean },
): HandOuts {
  const holders = new Set(
    Object.values(draft.enis).flatMap((eni) => addressesOf(eni).map(({ podUID = '' }) => podUID)),
  );
  const predecessors = new Set(unconfirmed.map(({ key }) => key));
  const inherited = Map.groupBy(freed, ({ key }) => key);
  const shelves = servingEnis(draft).map((eni) => new Shelf(eni, families, rest));
  const outcome: HandOuts = { served: [], unserved: [], succeeding: [], stale: [], untold: [], held: [] };
  const isUntold = (pod: PoolPod) => pod.reported.length === 0 && !holders.has(pod.uid) && hasSandbox(pod.uid);
  const areHeld = hasStrangers || pods.some(isUntold);
  // Who has an address comes before those that look for one.
  const known = pods.filter(({ reported }) => reported.length > 0);
  for (const pod of [...known, ...pods.filter(({ reported }) => reported.length === 0)]) {
    if (pod.isLeaving || holders.has(pod.uid)) continue;
    outcome[serve(pod)].push(pod);
  }
  return outcome;

  function serve(pod: PoolPod): keyof HandOuts {
    if (pod.reported.length > 0) return giveBack(draft, pod, pod.reported, shelves) ? 'served' : 'stale';
    if (isUntold(pod)) return 'untold';
    if (predecessors.has(pod.key)) return 'succeeding';
    if (areHeld) return 'held';
    const ips = inherited.get(pod.key)?.map(({ ip }) => ip) ?? [];
    if (ips.length === families.length && giveBack(draft, pod, ips, shelves)) return 'served';
    const shelf = fullest(shelves.filter((one) => one.hasRested())) ?? fullest(shelves.filter((one) => one.hasAny()));
    if (shelf === undefined) return 'unserved';
    shelf.give(pod);
    return 'served';
  }
}

/** Gives these addresses, if one ENI has them all and nobody else holds one. */
function giveBack(draft: PoolDraft, pod: PoolPod, ips: readonly string[], shelves: readonly Shelf[]): boolean {
  for (const { id, ipv4 = {}, ipv6 = {} } of Object.values(draft.enis)) {
    const found = ips.map((ip) => ipv4[ip] ?? ipv6[ip]).filter((address) => address !== undefined);
    const isFree = (address: NodeAddress) =>
      !isBound(address) || (address.podID === pod.key && (address.podUID ?? '') === '');
    if (found.length < ips.length || !found.every(isFree)) continue;
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

function fullest(shelves: readonly Shelf[]): Shelf | undefined {
  return shelves.reduce<Shelf | undefined>(
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
