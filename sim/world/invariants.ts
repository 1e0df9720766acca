import { isOurs } from '../../src/allocation/identity.ts';
import { targetOf } from '../../src/allocation/lifecycle.ts';
import { isRewritten } from '../../src/allocation/rewritten.ts';
import { sameSecurityGroups } from '../../src/allocation/security-groups.ts';
import { parseTrunkIntent } from '../../src/allocation/trunk.ts';
import { ANNOTATION_TRUNK_INTENT, TAG_ATTEMPT } from '../../src/crds/names.ts';
import type { NetworkInterface } from '../../src/crds/network-interface.ts';
import type { TerwayNode } from '../../src/crds/node.ts';
import type { PodEni } from '../../src/crds/pod-eni.ts';
import type { Counters } from '../cloud/model/journal.ts';
import type { EniSnapshot, Snapshot } from '../cloud/model/snapshot.ts';

/** Cluster and cloud at one moment, the cluster read after the cloud. */
export interface WorldState {
  clusterId: string;
  podEnis: PodEni[];
  networkInterfaces: NetworkInterface[];
  nodes: TerwayNode[];
  cloud: Snapshot;
  counters: Counters & { eniCount: number };
}

/** Violations of I1, I5 and I7 (docs/design/invariants.md), which must hold at any moment, even during a rollout. */
export function violations(world: WorldState): string[] {
  const found: [invariant: string, problems: string[]][] = [
    ['I5', orphans(world)],
    ['I1', sharedEnis(world)],
    ['I1', sharedAddresses(world)],
    ['I1', sharedVlans(world)],
    ['I7', overcommitted(world)],
    ['I5', books(world)],
  ];
  return found.flatMap(([invariant, problems]) => problems.map((problem) => `${invariant}: ${problem}`));
}

/** Violations of L1 and L4 in a settled system: every record must agree with the cloud. */
export function unsettled(world: WorldState): string[] {
  const byId = new Map(world.cloud.enis.map((eni) => [eni.id, eni]));
  const problems = violations(world);
  for (const podEni of world.podEnis) {
    const name = nameOf(podEni);
    const phase = podEni.status?.phase ?? '';
    if (podEni.metadata.deletionTimestamp !== undefined) problems.push(`${name} still has its finalizer`);
    else if (phase !== 'Bind' && phase !== 'Unbind') problems.push(`${name} is in phase "${phase}"`);
    for (const { eni } of podEni.spec.allocations ?? []) {
      const shown = byId.get(eni.id);
      if (shown === undefined) problems.push(`${name} names ${eni.id}, which the cloud does not have`);
      else if (phase === 'Bind') problems.push(...bindProblems(podEni, shown));
      else if (shown.status !== 'Available') problems.push(`${name} is ${phase}, its ${eni.id} ${shown.status}`);
    }
  }
  const named = new Set(world.podEnis.flatMap((podEni) => (podEni.spec.allocations ?? []).map(({ eni }) => eni.id)));
  for (const mirror of world.networkInterfaces) {
    if (!named.has(mirror.metadata.name)) problems.push(`NetworkInterface ${mirror.metadata.name} mirrors no PodENI`);
    named.delete(mirror.metadata.name);
  }
  for (const id of named) problems.push(`${id} has no NetworkInterface`);
  return problems;
}

/** I5: every ENI of ours is recorded, or covered by a persisted intent, unless the cloud has accepted its deletion. */
function orphans(world: WorldState): string[] {
  const left = unrecorded(world).filter(({ status }) => status !== 'Deleting');
  return left.map((eni) => `${eni.id} (${eni.status}) belongs to nobody`);
}

/** ENIs of ours that no object names. */
export function unrecorded(world: WorldState): EniSnapshot[] {
  const { ids, tokens } = recordedIn(world);
  return oursOf(world).filter((eni) => !ids.has(eni.id) && !tokens.has(eni.tags[TAG_ATTEMPT] ?? ''));
}

/** ENI ids that objects name, and the ClientTokens of their intents. */
export function recordedIn(world: Pick<WorldState, 'podEnis' | 'nodes' | 'networkInterfaces'>): {
  ids: ReadonlySet<string>;
  tokens: ReadonlySet<string>;
} {
  const ids = new Set<string>();
  const tokens = new Set<string>();
  for (const podEni of world.podEnis) {
    for (const { eni, intent } of podEni.spec.allocations ?? []) {
      ids.add(eni.id);
      if (intent !== undefined) tokens.add(intent.clientToken);
    }
  }
  for (const node of world.nodes) {
    const intent = parseTrunkIntent(node.metadata.annotations?.[ANNOTATION_TRUNK_INTENT]);
    if (intent !== undefined) tokens.add(intent.clientToken);
    for (const id of Object.keys(node.status?.networkInterfaces ?? {})) ids.add(id);
    for (const { clientToken } of node.status?.poolIntents ?? []) tokens.add(clientToken);
  }
  for (const mirror of world.networkInterfaces) ids.add(mirror.metadata.name);
  return { ids, tokens };
}

/** I1: an ENI belongs to one record, and one attempt has one ENI. */
function sharedEnis(world: WorldState): string[] {
  const owners = new Map<string, string[]>();
  for (const podEni of world.podEnis) {
    for (const { eni } of podEni.spec.allocations ?? []) {
      if (eni.id !== '') owners.set(eni.id, [...(owners.get(eni.id) ?? []), nameOf(podEni)]);
    }
  }
  return [
    ...repeated(owners, (id, names) => `${id} belongs to ${names.join(' and ')}`),
    ...repeated(
      groupBy(
        oursOf(world),
        (eni) => eni.tags[TAG_ATTEMPT] ?? eni.id,
        (eni) => eni.id,
      ),
      (token, enis) => `${enis.join(' and ')} were created for the same attempt ${token}`,
    ),
  ];
}

/**
 * I1: an address belongs to one pod. A record that is being deleted keeps its address until the cloud has released the ENI,
 * and by then the cloud may have given the address to the next pod, so such records are skipped. The same holds for VLAN ids.
 */
function sharedAddresses(world: WorldState): string[] {
  const holders = world.podEnis
    .filter(isLive)
    .flatMap((podEni) =>
      (podEni.spec.allocations ?? []).flatMap(({ eni, ipv4 }) =>
        ipv4 === undefined || ipv4 === '' ? [] : [{ address: `${eni.vSwitchID}/${ipv4}`, name: nameOf(podEni) }],
      ),
    );
  return repeated(
    groupBy(
      holders,
      ({ address }) => address,
      ({ name }) => name,
    ),
    (address, names) => `${address} belongs to ${names.join(' and ')}`,
  );
}

/** I1: a VLAN id is unique per trunk. */
function sharedVlans(world: WorldState): string[] {
  const bound = world.podEnis.filter(isLive).flatMap((podEni) => {
    const trunk = podEni.status?.trunkENIID;
    if (podEni.status?.phase !== 'Bind' || trunk === undefined) return [];
    return Object.values(podEni.status.eniInfos ?? {}).map(({ vid }) => ({
      slot: `${trunk} VLAN ${vid}`,
      name: nameOf(podEni),
    }));
  });
  return repeated(
    groupBy(
      bound,
      ({ slot }) => slot,
      ({ name }) => name,
    ),
    (slot, names) => `${slot} belongs to ${names.join(' and ')}`,
  );
}

/** I7: no more members than the trunk's limit, including those still to be attached. */
function overcommitted({ nodes, podEnis }: WorldState): string[] {
  return nodes.flatMap(({ metadata, spec, status }) => {
    const trunks = Object.values(status?.networkInterfaces ?? {}).filter((eni) => eni.networkInterfaceType === 'Trunk');
    const limit = spec.nodeCap?.memberAdapterLimit ?? 0;
    return trunks.flatMap(({ id }) => {
      const members = podEnis.filter(
        (podEni) => podEni.status?.phase !== 'Unbind' && targetOf(podEni)?.trunkENIID === id,
      );
      return members.length <= limit
        ? []
        : [`trunk ${id} of node ${metadata.name} has ${members.length} members of ${limit}`];
    });
  });
}

/** I5: created − deleted = existing. All three are from one moment, because calls of a killed process end after the kill. */
function books({ counters }: WorldState): string[] {
  const { eniCreated, eniDeleted, eniCount } = counters;
  const expected = eniCreated - eniDeleted;
  return expected === eniCount ? [] : [`created − deleted = ${expected}, but the cloud has ${eniCount} ENIs`];
}

function bindProblems(podEni: PodEni, eni: EniSnapshot): string[] {
  const name = nameOf(podEni);
  const target = targetOf(podEni);
  const info = podEni.status?.eniInfos?.[eni.id];
  if (eni.status !== 'InUse') return [`${name} is Bind, its ${eni.id} ${eni.status}`];
  const problems = [];
  if (eni.attachment?.trunk?.eniId !== target?.trunkENIID) {
    problems.push(`${name}: ${eni.id} is a member of ${eni.attachment?.trunk?.eniId}, not of ${target?.trunkENIID}`);
  }
  const recorded =
    podEni.spec.allocations?.find((allocation) => allocation.eni.id === eni.id)?.eni.securityGroupIDs ?? [];
  if (recorded.length > 0 && !sameSecurityGroups(recorded, eni.securityGroupIds)) {
    problems.push(
      `${name}: ${eni.id} has the groups ${eni.securityGroupIds.join()}, the record says ${recorded.join()}`,
    );
  }
  if (isRewritten(podEni)) problems.push(`${name} was rewritten, and the cloud not asked since`);
  if (eni.attachment?.trunk?.vlanId !== info?.vid) {
    problems.push(`${name}: ${eni.id} has VLAN id ${eni.attachment?.trunk?.vlanId}, the record says ${info?.vid}`);
  }
  return problems;
}

function isLive({ metadata }: PodEni): boolean {
  return metadata.deletionTimestamp === undefined;
}

function oursOf({ cloud, clusterId }: WorldState): EniSnapshot[] {
  return cloud.enis.filter((eni) => isOurs(eni.tags, clusterId));
}

function nameOf(podEni: PodEni): string {
  return `PodENI ${podEni.metadata.namespace}/${podEni.metadata.name}`;
}

function groupBy<T>(items: T[], keyOf: (item: T) => string, nameOfItem: (item: T) => string): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), nameOfItem(item)]);
  return groups;
}

function repeated(groups: Map<string, string[]>, describe: (key: string, values: string[]) => string): string[] {
  return [...groups].filter(([, values]) => values.length > 1).map(([key, values]) => describe(key, values));
}
