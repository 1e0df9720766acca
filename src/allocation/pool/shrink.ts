import type { NodeEni } from '../../crds/node.ts';
import { byUse } from './growth.ts';
import {
  addressesOf,
  type Families,
  givingEnis,
  idleOf,
  isBound,
  isIdle,
  type PoolDraft,
  unpairedOf,
  unwantedOf,
} from './view.ts';

/** What was marked to be given up. */
export interface Shrinkage {
  eniIds: string[];
  ips: string[];
}

/**
 * Marks what is to be given up so that the node can serve `surplus` pods less: whole ENIs where possible, otherwise idle
 * addresses, of ENIs with few addresses first. Never a primary address, a trunk, or what has a call in progress.
 *
 * @param surplus pods that the node can serve less
 * @param unpaired addresses of one family that serve no pod, and that go besides
 * @param freedMs when an address was freed, epoch milliseconds; undefined: long ago
 */
export function shrink(
  draft: PoolDraft,
  surplus: number,
  unpaired: number,
  families: Families,
  freedMs: (ip: string) => number | undefined,
): Shrinkage {
  let rest = surplus;
  const marked: Shrinkage = { eniIds: [], ips: [] };
  if (unpaired > 0) trim(draft, unpaired, families, freedMs, marked);
  for (const eni of givingEnis(draft).sort(byUse).reverse()) {
    if (rest <= 0) break;
    const idle = idleOf(eni, families);
    if (mayGoWhole(eni) && idle <= rest) {
      eni.status = 'Deleting';
      marked.eniIds.push(eni.id);
      rest -= idle;
      continue;
    }
    const ips = markIdle(eni, Math.max(0, idle - rest), families, freedMs);
    marked.ips.push(...ips);
    rest -= idle - idleOf(eni, families);
  }
  return marked;
}

/** Marks what one family has more than the other. Changes `marked` in place. */
function trim(
  draft: PoolDraft,
  count: number,
  families: Families,
  freedMs: (ip: string) => number | undefined,
  marked: Shrinkage,
): void {
  let rest = count;
  for (const eni of givingEnis(draft).sort(byUse).reverse()) {
    if (rest <= 0) break;
    const going = Math.min(rest, unpairedOf(eni, families));
    if (going <= 0) continue;
    const most = Math.max(...families.map((family) => addressesOf(eni, family).filter(isIdle).length));
    marked.ips.push(...markIdle(eni, most - going, families, freedMs));
    rest -= going;
  }
}

/**
 * Marks idle addresses of a family that pods do not get any more.
 *
 * @param wasBound whether an address was bound until now; it goes with the next look
 */
export function giveUpUnwanted(draft: PoolDraft, families: Families, wasBound: (ip: string) => boolean): string[] {
  const going = givingEnis(draft)
    .flatMap((eni) => unwantedOf(eni, families))
    .filter(({ ip }) => !wasBound(ip));
  for (const address of going) address.status = 'Deleting';
  return going.map(({ ip }) => ip);
}

/** How many pods less the node can serve when everything idle is given up that may be. */
export function givable(draft: PoolDraft, families: Families): number {
  const counts = givingEnis(draft).map((eni) => {
    const idle = idleOf(eni, families);
    if (mayGoWhole(eni)) return idle;
    const kept = families.map((family) => addressesOf(eni, family).filter((one) => isIdle(one) && one.primary).length);
    return idle - Math.min(idle, ...kept);
  });
  return counts.reduce((sum, count) => sum + count, 0);
}

function mayGoWhole(eni: NodeEni): boolean {
  const { networkInterfaceType, networkInterfaceTrafficMode = 'Standard' } = eni;
  const isPlain = networkInterfaceType === 'Secondary' && networkInterfaceTrafficMode === 'Standard';
  return isPlain && !addressesOf(eni).some(isBound);
}

/** Leaves `kept` idle addresses of each family, so that no family has more than pods can use. */
function markIdle(
  eni: NodeEni,
  kept: number,
  families: Families,
  freedMs: (ip: string) => number | undefined,
): string[] {
  return families.flatMap((family) => {
    const idle = addressesOf(eni, family)
      .filter(isIdle)
      // A primary address cannot be given up, so it is the first to be kept; then those that were in use last.
      .sort((a, b) => Number(b.primary) - Number(a.primary) || (freedMs(b.ip) ?? 0) - (freedMs(a.ip) ?? 0));
    const going = idle.slice(kept).filter(({ primary }) => !primary);
    for (const address of going) address.status = 'Deleting';
    return going.map(({ ip }) => ip);
  });
}
