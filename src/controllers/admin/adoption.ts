import { isOurs, isOursInPool } from '../../allocation/identity.ts';
import { parseTrunkIntent } from '../../allocation/trunk.ts';
import type { CloudReads } from '../../cloud/port.ts';
import type { Informers } from '../../cluster/informers.ts';
import { ANNOTATION_TRUNK_INTENT, ANNOTATION_TRUNK_ON, TAG_OWNER } from '../../crds/names.ts';
import type { NodeEni, TerwayNode } from '../../crds/node.ts';
import type { PodEni } from '../../crds/pod-eni.ts';
import type { Eni } from '../../ecs/eni.ts';
import { keyOf } from '../../kube/types.ts';
import type { SentAdoption } from '../../wire/admin-channel.ts';
import { type InventoryContext, takeInventory } from '../collector/inventory.ts';

/** One object that another control plane made, and whether this one manages it. */
type Adoptee = SentAdoption['adoptees'][number];

export type AdoptionContext = InventoryContext & { cloud: CloudReads; informers: Pick<Informers, 'coreNodes'> };

/**
 * Which records and ENIs of an upstream control plane are managed. Adoption needs no step: a record that matches its
 * ENI is served from the first reconcile on. Mismatches are left alone and reported here. ENIs without a record cannot
 * be adopted; they are listed so that nobody overlooks them.
 *
 * @throws CloudError, KubeApiError
 */
export async function reportAdoption(context: AdoptionContext): Promise<SentAdoption> {
  const { cloud, clusterId, informers, signal } = context;
  const { enis, listed, ownerOf } = await takeInventory(context);
  const podEnis = informers.podEnis.store.list();
  const theirs = podEnis.filter(isTheirs);
  const byId = new Map(enis.map((eni) => [eni.id, eni]));
  const unlisted = theirs.flatMap(idsOf).filter((id) => !byId.has(id));
  if (unlisted.length > 0) {
    // These lack our tags or do not exist.
    for (const eni of (await cloud.describeEnis({ ids: unlisted }, { signal, callClass: 'audit' })).enis)
      byId.set(eni.id, eni);
  }
  const adoptees = theirs.map((podEni): Adoptee => {
    const hindrance = hindranceOf(podEni, byId, clusterId);
    return { kind: 'PodENI', name: keyOf(podEni.metadata), eniIDs: idsOf(podEni), ...stateOf(hindrance) };
  });
  for (const { metadata } of informers.coreNodes.store.list()) {
    const trunkId = metadata.annotations?.[ANNOTATION_TRUNK_ON] ?? '';
    const node = informers.nodes.store.get(metadata.name);
    const intent = parseTrunkIntent(node?.metadata.annotations?.[ANNOTATION_TRUNK_INTENT]);
    // A trunk that we created carries the token of its intent.
    if (trunkId === '' || byId.get(trunkId)?.tags[TAG_OWNER] !== undefined) continue;
    const hindrance =
      intent?.eniID === trunkId
        ? undefined
        : `no Node CR records the trunk; condition TrunkReady of nodes.network.alibabacloud.com ${metadata.name} says why`;
    adoptees.push({ kind: 'Trunk', name: metadata.name, eniIDs: [trunkId], ...stateOf(hindrance) });
  }
  adoptees.push(...poolAdoptees(informers.nodes.store.list(), listed, clusterId));
  for (const eni of enis) {
    if (ownerOf(eni.id) !== undefined) continue;
    const owner = eni.tags[TAG_OWNER];
    const hindrance =
      owner === undefined
        ? 'no record names it; the collector releases it'
        : `the record of ${owner} that named it is gone; the collector releases it, and a pod of that name gets another`;
    adoptees.push({ kind: 'ENI', name: eni.id, eniIDs: [eni.id], ...stateOf(hindrance) });
  }
  return { ownRecords: podEnis.length - theirs.length, adoptees };
}

/**
 * ENIs that pods of a node share and that this control plane has not made: a row for each node and state of them. Pure.
 *
 * @param listed those that the cloud has, by id
 */
export function poolAdoptees(
  nodes: readonly TerwayNode[],
  listed: ReadonlyMap<string, Eni>,
  clusterId: string,
): Adoptee[] {
  return nodes.flatMap(({ metadata: { name }, status }) => {
    const theirs = Object.values(status?.networkInterfaces ?? {}).filter(
      ({ id, networkInterfaceType }) =>
        networkInterfaceType === 'Secondary' && listed.get(id)?.tags[TAG_OWNER] === undefined,
    );
    const byHindrance = Map.groupBy(theirs, (eni) => poolHindrance(eni, listed.get(eni.id), clusterId));
    return [...byHindrance].map(([hindrance, enis]): Adoptee => {
      const eniIDs = enis.map(({ id }) => id);
      return {
        kind: 'Pool',
        name,
        eniIDs,
        ...stateOf(hindrance === undefined ? undefined : `${eniIDs.join(', ')}: ${hindrance}`),
      };
    });
  });
}

function poolHindrance(
  { status, unschedulable }: NodeEni,
  shown: Eni | undefined,
  clusterId: string,
): string | undefined {
  if (shown === undefined)
    return 'no longer exists, or is not listed; the record is corrected in the next round of the collector';
  if (unschedulable === true) {
    return isOursInPool(shown.tags, clusterId)
      ? 'left alone, as eni_tag_filter or eni_tag_block_list says'
      : 'left alone, as its tags do not say that a control plane of this cluster has made it';
  }
  if (status !== 'InUse') return `is ${status} in the record; the events of the Node CR say what it waits for`;
  return undefined;
}

function stateOf(hindrance: string | undefined): Pick<Adoptee, 'state' | 'hindrance'> {
  return hindrance === undefined ? { state: 'adopted' } : { state: 'hindered', hindrance };
}

/** Only we write intents. */
function isTheirs({ spec }: PodEni): boolean {
  const allocations = spec.allocations ?? [];
  return allocations.length > 0 && allocations.every(({ intent }) => intent === undefined);
}

function idsOf({ spec }: PodEni): string[] {
  return (spec.allocations ?? []).map(({ eni }) => eni.id).filter((id) => id !== '');
}

function hindranceOf(podEni: PodEni, byId: ReadonlyMap<string, Eni>, clusterId: string): string | undefined {
  for (const { eni: recorded } of podEni.spec.allocations ?? []) {
    if (recorded.id === '') return 'the record names no ENI; delete the pod so that its successor gets one';
    const eni = byId.get(recorded.id);
    if (eni === undefined) return `${recorded.id} no longer exists; delete the pod so that its successor gets one`;
    if (!isOurs(eni.tags, clusterId)) {
      return `${eni.id} lacks the tags of this cluster, so it is left alone; restore the tags, or delete the pod and release the ENI by hand`;
    }
    if (recorded.vSwitchID !== undefined && recorded.vSwitchID !== '' && recorded.vSwitchID !== eni.vSwitchId) {
      return `${eni.id} is in ${eni.vSwitchId}, but the record says ${recorded.vSwitchID}; delete the pod so that its successor gets another`;
    }
    if (podEni.status?.phase === 'Bind' && eni.status !== 'InUse') {
      return `the record says that ${eni.id} is attached, but the cloud reports ${eni.status}; the conditions of the PodENI show the repair`;
    }
  }
  return undefined;
}
