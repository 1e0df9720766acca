import { addressesOf, isBound, isIdle } from '../../../src/allocation/pool/view.ts';
import { sameSecurityGroups } from '../../../src/allocation/security-groups.ts';
import type { NodeEni, TerwayNode } from '../../../src/crds/node.ts';
import type { EniSnapshot } from '../../cloud/model/snapshot.ts';
import type { KubeObject } from '../../kube/model/objects.ts';
import type { WorldState } from '../invariants.ts';
import { nodeNameOf } from '../kubelets.ts';
import { addressesIn } from '../node/kernel.ts';
import { familiesOf, isDualStack, isIpv6, placesIn } from './pool-places.ts';
import type { SeededWorld } from './seeded-world.ts';

/** What keeps the pools from being settled (L1): pods, records and cloud must agree. */
export function poolsUnsettled(seeded: SeededWorld, state: WorldState): string[] {
  const { pool, world } = seeded;
  if (pool.knobs === undefined) return [];
  const nodes = state.nodes.filter(({ metadata }) => world.machines.has(metadata.name));
  return [
    ...pool.livePods().flatMap((pod) => unserved(seeded, pod)),
    ...nodes.flatMap((node) => [...unlikeCloud(seeded, node, state), ...unfit(seeded, node)]),
  ];
}

/** A pod whose sandbox does not run with exactly the address that the record gives it, and the cloud its ENI. */
function unserved({ world }: SeededWorld, pod: KubeObject): string[] {
  const { name, uid } = pod.metadata;
  const own = placesIn(world.nodeRecord(nodeNameOf(pod))).filter(({ address }) => address.podUID === uid);
  const [first] = own;
  if (first === undefined) return [`pod ${name} on ${nodeNameOf(pod)} has no address`];
  const ips = own.map(({ address: { ip } }) => ip).sort();
  const isOne = own.every(({ eniId }) => eniId === first.eniId) && ips.filter(isIpv6).length * 2 === ips.length;
  const isDual = isDualStack(world.nodeRecord(nodeNameOf(pod)));
  if (isDual ? !isOne || ips.length !== 2 : ips.length > 1) return [`pod ${name} has ${ips.join(' and ')}`];
  const machine = world.machines.get(nodeNameOf(pod));
  const sandbox = machine?.runtime.sandboxesOf(uid).find(({ state }) => state === 'running');
  const wiring = machine?.kernel.wirings.get(sandbox?.id ?? '');
  if (wiring?.isComplete !== true) return [`pod ${name} has ${ips.join(' and ')}, and no sandbox with a network`];
  const { attachment } = wiring.attachment.interfaces[0] ?? {};
  const mac = attachment !== undefined && 'eni' in attachment ? attachment.eni.mac : '';
  const eni = world.cloud.eni(first.eniId);
  const isThere = ips.every((ip) => eni?.ipv4.includes(ip) === true || eni?.ipv6.includes(ip) === true);
  const shown = eni !== undefined && isThere ? `${ips.join(' ')} ${eni.macAddress}` : 'nothing';
  const found = `${addressesIn(wiring.attachment).sort().join(' ')} ${mac}`;
  return found === shown ? [] : [`the sandbox of pod ${name} has ${found}, the cloud says ${shown}`];
}

/** What record and cloud do not agree on, and addresses of pods that are gone. */
function unlikeCloud({ world }: SeededWorld, node: TerwayNode, { cloud }: WorldState): string[] {
  const { name } = node.metadata;
  const instanceId = node.spec.nodeMetadata?.instanceID;
  const { networkInterfaces: recorded = {}, nextIdleIPReclaimTime: dueTime } = node.status ?? {};
  const shown = new Map(
    cloud.enis
      .filter(({ type, attachment }) => type !== 'Primary' && attachment?.instanceId === instanceId)
      .filter(({ attachment }) => attachment?.trunk === undefined)
      .map((eni) => [eni.id, eni]),
  );
  const uids = new Set(world.kube.objects('pods').map(({ metadata }) => metadata.uid));
  const stray = placesIn(node).filter(({ address }) => isBound(address) && !uids.has(address.podUID ?? ''));
  return [
    ...(node.status?.poolIntents ?? []).map(({ eniID }) => `${name} has an open intent for ${eniID || 'a new ENI'}`),
    // The timer leaves the record with the last address that is to go by age.
    ...(dueTime === undefined ? [] : [`${name} gives up idle addresses at ${dueTime}`]),
    ...[...shown.keys()].filter((id) => recorded[id] === undefined).map((id) => `${name} does not record ${id}`),
    ...Object.values(recorded).flatMap((eni) => unlike(eni, shown.get(eni.id))),
    ...stray.map(({ address }) => `${name} keeps ${address.ip} for ${address.podID}, which is gone`),
  ];
}

/** What `eni_conf` does not allow. */
function unfit({ pool }: SeededWorld, node: TerwayNode): string[] {
  const { name } = node.metadata;
  const { least, most } = pool.idleFor(node);
  const idle = idleIn(node);
  const room = roomOn(node);
  const isSurplus = (idle.whole > most && idle.isGivable) || (idle.halves > 0 && idle.whole + idle.halves > most);
  const wanted = node.spec.eni?.securityGroupIDs ?? [];
  const others = Object.values(node.status?.networkInterfaces ?? {}).filter(
    ({ securityGroupIDs = [] }) => !sameSecurityGroups(securityGroupIDs, wanted),
  );
  return [
    ...(idle.whole < least && room > 0 ? [`${name} has ${idle.whole} idle addresses, not ${least}`] : []),
    ...(isSurplus ? [`${name} has ${JSON.stringify(idle)} idle addresses, and not at most ${most}`] : []),
    ...others.map(({ id }) => `${name}: ${id} has not the security groups of eni_conf`),
  ];
}

/** How the record of an ENI differs from what the cloud shows of those of the instance. */
function unlike(eni: NodeEni, shown: EniSnapshot | undefined): string[] {
  if (shown === undefined) return [`the cloud does not have ${eni.id} on its node, the record says ${eni.status}`];
  const recorded = addressesOf(eni).map(({ ip, status }) => (status === 'Valid' ? ip : `${ip} (${status})`));
  const [is, says] = [[...shown.ipv4, ...shown.ipv6].sort().join(), recorded.sort().join()];
  if (is !== says) return [`${eni.id} has ${is}, the record says ${says}`];
  return eni.status === 'InUse' ? [] : [`${eni.id} is ${eni.status}`];
}

/** How many more pods the node can serve, and addresses of one family that pair with none and can be given up. */
function idleIn(node: TerwayNode): { whole: number; halves: number; isGivable: boolean } {
  const families = familiesOf(node);
  // The IPv6 half of a pair can be given up in any case.
  const sums = { whole: 0, halves: 0, isGivable: families.length > 1 };
  for (const eni of Object.values(node.status?.networkInterfaces ?? {})) {
    const idle = families.map((family) => addressesOf(eni, family).filter(isIdle));
    const whole = Math.min(...idle.map(({ length }) => length));
    const givable = idle.map((addresses) => addresses.filter(({ primary }) => !primary).length);
    sums.whole += whole;
    sums.halves += Math.max(...idle.map(({ length }, at) => Math.min(length - whole, givable[at] ?? 0)));
    if (givable.some((count) => count > 0)) sums.isGivable = true;
  }
  return sums;
}

/** How many more addresses the instance has room for. */
function roomOn(node: TerwayNode): number {
  const { adapters = 0, ipv4PerAdapter = 0 } = node.spec.nodeCap ?? {};
  const flavor = node.spec.flavor?.reduce((sum, { count = 0 }) => sum + count, 0) ?? adapters - 1;
  return flavor * ipv4PerAdapter - placesIn(node).filter(({ address }) => !isIpv6(address.ip)).length;
}
