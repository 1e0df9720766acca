import { TAG_OWNER, TAG_SHARED } from '../../crds/names.ts';
import type { NodeAddress, NodeEni, TerwayNode } from '../../crds/node.ts';
import type { Eni } from '../../ecs/eni.ts';
import { isOurs, isOursInPool } from '../identity.ts';
import { attachedRecord, type Subnets } from './news.ts';
import { blockedTags } from './node-spec.ts';
import { addressesOf, FAMILIES, type Family, isBound } from './view.ts';

/**
 * The record of an ENI in use, corrected by what the cloud shows of it: addresses that are gone, or that nobody recorded, and an
 * attachment that somebody else has ended. Whoever has an address keeps it, `Invalid` when the cloud has it no more. Pure.
 *
 * @param shown undefined when the ENI is gone; then its addresses are given to nobody, and the record goes after its last pod
 */
export function asShown(eni: NodeEni, shown: Eni | undefined, instanceId: string, rules: PoolTags): NodeEni {
  if (shown !== undefined && (shown.status !== 'InUse' || shown.instanceId !== instanceId)) {
    return { ...eni, status: 'Attaching' };
  }
  const record = shown === undefined ? { ...eni, status: 'Deleting' } : withSchedulability(eni, shown, rules);
  const corrected = FAMILIES.reduce((merged, family) => withShown(merged, family, shown), record);
  // Nothing of an ENI that is left alone is given up.
  return isLeftAlone(record) && shown !== undefined ? { ...corrected, status: 'InUse' } : corrected;
}

function withShown(eni: NodeEni, family: Family, shown: Eni | undefined): NodeEni {
  const ips = shown?.[family] ?? [];
  if (eni[family] === undefined && ips.length === 0) return eni;
  const recorded = addressesOf(eni, family);
  const known = new Set(recorded.map(({ ip }) => ip));
  const kept = recorded.flatMap((address): NodeAddress[] => {
    const isKept = address.status === 'Invalid' || isLeftAlone(eni);
    if (ips.includes(address.ip)) return [isKept ? { ...address, status: 'Valid' } : address];
    if (isBound(address)) return [{ ...address, status: 'Invalid' }];
    // It leaves the record when no call can take it away any more.
    return address.status === 'Deleting' && shown !== undefined ? [address] : [];
  });
  const unknown = ips
    .filter((ip) => !known.has(ip))
    .map((ip): NodeAddress => ({ ip, primary: ip === shown?.primaryIp, status: 'Valid' }));
  return { ...eni, [family]: Object.fromEntries([...kept, ...unknown].map((address) => [address.ip, address])) };
}

function isLeftAlone({ unschedulable }: NodeEni): boolean {
  return unschedulable === true;
}

/** Whether a listing shows the ENI otherwise than the record, so that it is worth a closer look. */
export function isSuspect(eni: NodeEni, listed: Eni | undefined, rules: PoolTags): boolean {
  if (eni.status !== 'InUse') return false;
  if (listed?.status !== 'InUse') return true;
  // Somebody has tagged it, or the configuration was edited.
  if (withSchedulability(eni, listed, rules) !== eni) return true;
  return FAMILIES.some((family) => {
    const known = addressesOf(eni, family);
    return known.length !== listed[family].length || !known.every(({ ip }) => listed[family].includes(ip));
  });
}

/**
 * ENIs of an instance whose record knows none of them: those of an earlier control plane, of a record that somebody deleted, or of one
 * that a backup lacks. ENIs of pods stay out; those that are to be left alone get nothing and give nothing, but have their place.
 *
 * @param isNamed whether a PodENI or a NetworkInterface names the ENI
 */
export function adopted(
  enis: readonly Eni[],
  rules: PoolTags,
  isNamed: (eniId: string) => boolean,
  subnetsOf: (vSwitchId: string) => Subnets,
): Record<string, NodeEni> {
  const found = enis
    .filter(
      ({ id, type, status, tags }) => type === 'Secondary' && status === 'InUse' && !isNamed(id) && isOfNode(tags),
    )
    .map((eni) => withSchedulability(attachedRecord(undefined, eni, subnetsOf(eni.vSwitchId)), eni, rules));
  return Object.fromEntries(found.map((eni) => [eni.id, eni]));
}

/** Not of a pod, as far as its tags say: Terway's have no owner. */
export function isOfNode(tags: Record<string, string>): boolean {
  return tags[TAG_OWNER] === undefined || tags[TAG_SHARED] !== undefined;
}

/** What decides whether an ENI is for pods. */
export interface PoolTags {
  /** `tagFilter` and `tagBlockList` of the node. */
  spec: TerwayNode['spec'];
  clusterId: string;
}

/**
 * An ENI is left alone as long as it has a tag of `tagBlockList`, or is none that a control plane of this cluster has made: it has its
 * place on the instance, but gets and gives nothing. `tagFilter` chooses among those of Terway; ours need not match it.
 */
export function withSchedulability(eni: NodeEni, { tags }: Eni, { spec, clusterId }: PoolTags): NodeEni {
  const has = ([key, value]: [string, string]) => tags[key] === value;
  const isBlocked = blockedTags(spec.eni ?? {}).some(({ key, value }) => has([key, value]));
  const isChosen = isOurs(tags, clusterId) || Object.entries(spec.eni?.tagFilter ?? {}).every(has);
  const isToBe = isBlocked || !isChosen || !isOursInPool(tags, clusterId);
  if (isToBe === isLeftAlone(eni)) return eni;
  const { unschedulable: _before, ...rest } = eni;
  return isToBe ? { ...rest, unschedulable: true } : rest;
}
