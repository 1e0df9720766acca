import type { NodeEni, TerwayNode } from '../../crds/node.ts';
import type { PoolLimits } from './growth.ts';
import type { HandOuts } from './hand-out.ts';
import type { Releases } from './release.ts';
import { addressesOf, intentFor, isBound, isReleasable, type PoolDraft } from './view.ts';

/* What becomes of ENIs for which the instance has no place, or whose place another one needs. */

type Conditions = NonNullable<TerwayNode['status']>['conditions'];

const GIVES_WAY = 'gives way:';
const WHY =
  'the node is to have fewer shared ENIs than it has, as when trunks are turned on later. It serves only pods that no other ENI can serve, and goes after its last one';

/** An ENI makes room, in one line of a condition. @param eniId which */
export function placeNeeded(eniId: string | undefined): string | undefined {
  return eniId === undefined ? undefined : `${eniId} ${GIVES_WAY} ${WHY}`;
}

/** Whether a condition names the ENI as the one that makes room. */
function isNamed(conditions: Conditions, eniId: string): boolean {
  return (conditions ?? []).some(({ message }) =>
    message.split('; ').some((line) => line.startsWith(`${eniId} ${GIVES_WAY}`)),
  );
}

/** Marks ENIs that were asked for before it was known that the instance has others in their places, and drops their intents. */
export function giveUpBeyond(draft: PoolDraft, limits: PoolLimits): void {
  const isOnItsWay = (eni: NodeEni) =>
    eni.status === 'Attaching' && eni.networkInterfaceType === 'Secondary' && boundOf(eni) === 0;
  for (const eni of staying(draft).filter(isOnItsWay).slice(0, excess(draft, limits))) {
    eni.status = 'Deleting';
    draft.intents = draft.intents.filter(({ eniID }) => eniID !== eni.id);
  }
}

/**
 * The ENI that makes room where a place must be free and none is, as when trunks are turned on and the pool has all places: the one with
 * the fewest pods. One at a time, so that no more go than must; the one that was chosen stays so as long as all have pods, as people may have
 * deleted pods for it.
 *
 * @param conditions of the record, which name it
 * @returns its id
 */
export function drainingOf(draft: PoolDraft, limits: PoolLimits, conditions: Conditions): string | undefined {
  if (excess(draft, limits) === 0) return undefined;
  const candidates = staying(draft).filter((eni) => eni.status === 'InUse' && isReleasable(eni));
  // One without pods can go at once.
  const known = candidates.find((eni) => boundOf(eni) === 0) ?? candidates.find(({ id }) => isNamed(conditions, id));
  if (known !== undefined) return known.id;
  const [first] = candidates.sort((a, b) => boundOf(a) - boundOf(b) || sizeOf(a) - sizeOf(b) || (a.id < b.id ? -1 : 1));
  return first?.id;
}

/**
 * Marks the ENI that makes room when no pod has an address of it.
 *
 * @returns whether that waits for the next look alone: nothing is marked in the write that finds it bound
 */
export function giveUpDrained(draft: PoolDraft, { freed }: Releases, { isUncertain }: HandOuts): boolean {
  const eni = draft.enis[draft.draining ?? ''];
  if (eni === undefined || isUncertain || boundOf(eni) > 0 || intentFor(draft, eni.id) !== undefined) return false;
  // It may be one that is to be left alone.
  if (draft.unread?.has(eni.id) === true) return false;
  if (freed.some(({ eniId }) => eniId === eni.id)) return true;
  eni.status = 'Deleting';
  return false;
}

/** How many ENIs more than may stay. */
function excess(draft: PoolDraft, limits: PoolLimits): number {
  return Math.max(0, staying(draft).length - (limits.places ?? limits.enis));
}

function staying({ enis }: PoolDraft): NodeEni[] {
  return Object.values(enis).filter(({ status }) => status !== 'Deleting');
}

function boundOf(eni: NodeEni): number {
  return addressesOf(eni).filter(isBound).length;
}

function sizeOf(eni: NodeEni): number {
  return addressesOf(eni).length;
}
