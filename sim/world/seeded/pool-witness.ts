import * as z from 'zod';
import { ipv6TokenOf } from '../../../src/allocation/identity.ts';
import { addressesOf, FAMILIES, isBound, isIdle } from '../../../src/allocation/pool/view.ts';
import type { Term } from '../../../src/controllers/term.ts';
import { DAEMON_FIELDS } from '../../../src/crds/field-owners.ts';
import type { NodeAddress, TerwayNode } from '../../../src/crds/node.ts';
import { jsonEqual } from '../../../src/kube/patch.ts';
import type { JournalEntry } from '../../cloud/model/journal.ts';
import type { WriteRecord } from '../../kube/model/journal.ts';
import type { KubeObject } from '../../kube/model/objects.ts';
import type { WorldState } from '../invariants.ts';
import { addressesIn } from '../node/kernel.ts';
import type { Machine } from '../node/machine.ts';
import { NODES } from '../world.ts';
import { isShared, SHARED_PODS } from './pods.ts';
import { familiesOf, isIpv6, type Place, placesIn } from './pool-places.ts';
import { poolsUnsettled } from './pool-settled.ts';
import { USER } from './seeded-users.ts';
import type { SeededWorld } from './seeded-world.ts';

/** `REST_MS` of src/allocation/pool/hand-out.ts, and what may lie between a plan and its write. */
const REST_MS = 30_000;
const WRITE_MS = 15_000;

const leaseSchema = z.object({ holderIdentity: z.string().nullish(), acquireTime: z.string().nullish() });
const ipsSchema = z.string().transform((text) => z.array(z.string()).parse(JSON.parse(text)));

/** Watches the addresses that pods get of the ENIs of their node, and holds them against the invariants (docs/design/invariants.md). */
export class PoolWitness {
  readonly #seeded: SeededWorld;
  /** Tokens of creations and assignments that a Node CR ever had. */
  readonly #tokens = new Set<string>();
  /** Who freed an address when, and from whom: by `eniId ip`. */
  readonly #freed = new Map<string, { term: Term | undefined; podId: string; atMs: number }>();
  /** Whether a backup was restored. */
  #isRestored = false;
  readonly #problems: string[] = [];
  readonly #unsubscribe: (() => void)[];

  constructor(seeded: SeededWorld) {
    this.#seeded = seeded;
    const { kube, cloud } = seeded.world;
    this.#unsubscribe = [
      kube.subscribe((write) => this.#onWrite(write)),
      cloud.subscribe((entry) => this.#onCall(entry)),
    ];
  }

  /** Violations since the last call. */
  look(): string[] {
    return this.#problems.splice(0);
  }

  end(): void {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
  }

  /** A backup was restored: intents are those of the backup. */
  forgetFuture(): void {
    this.#tokens.clear();
    this.#isRestored = true;
    this.#freed.clear();
    const { world } = this.#seeded;
    for (const object of world.kube.objects(NODES)) this.#noteTokens(world.readNode(object));
  }

  #noteTokens({ status }: TerwayNode): void {
    for (const { clientToken } of status?.poolIntents ?? []) {
      this.#tokens.add(clientToken);
      this.#tokens.add(ipv6TokenOf(clientToken));
    }
  }

  /** Whether an intent with this token was ever recorded. */
  knows(token: string): boolean {
    return this.#tokens.has(token);
  }

  /** What keeps the pools from being settled (L1): pods, records and cloud must agree. */
  unsettled(state: WorldState): string[] {
    return poolsUnsettled(this.#seeded, state);
  }

  #onWrite({ resource, actor, before, after, timeMs }: WriteRecord): void {
    // A new term does not know when addresses were freed.
    if (resource.startsWith('leases.') && termOf(before) !== termOf(after)) this.#freed.clear();
    if (resource !== NODES) return;
    const { world, pool } = this.#seeded;
    if (after === undefined) {
      if (before === undefined) return;
      const gone = world.readNode(before);
      pool.noteGone(gone);
      // The leader forgets when addresses were freed, too.
      for (const { eniId, address } of placesIn(gone)) this.#freed.delete(`${eniId} ${address.ip}`);
      return;
    }
    const [old, node] = [before === undefined ? undefined : world.readNode(before), world.readNode(after)];
    this.#noteTokens(node);
    pool.noteRecord(node);
    if (actor === USER) return;
    if (old !== undefined) this.#checkOwners(old, node);
    const machine = world.machines.get(node.metadata.name);
    // Another instance has the name now.
    const isSame = old?.spec.nodeMetadata?.instanceID === node.spec.nodeMetadata?.instanceID;
    const had = new Map(placesIn(old).map(({ eniId, address }) => [`${eniId} ${address.ip}`, address]));
    const has = new Map(placesIn(node).map((place) => [`${place.eniId} ${place.address.ip}`, place]));
    for (const [key, { podUID = '', podID = '', ip }] of had) {
      const now = has.get(key)?.address.podUID ?? '';
      if (podUID === '' || now === podUID) continue;
      this.#freed.set(key, { term: this.#seeded.termOf(actor), podId: podID, atMs: timeMs });
      if (machine !== undefined && isSame) this.#checkFreed(machine, key, podUID, ip);
    }
    for (const [key, { address }] of has) {
      const { podUID = '' } = address;
      if (podUID === '' || had.get(key)?.podUID === podUID) continue;
      this.#checkHandOut(machine, key, address);
      this.#checkRest(node, key, address, { actor, nowMs: timeMs });
    }
    this.#checkOnce(node);
    this.#checkDemand(node);
  }

  /** What somebody else has written of what the node may have stays as it is. */
  #checkOwners({ metadata, spec }: TerwayNode, after: TerwayNode): void {
    const foreign = metadata.managedFields?.all ?? [];
    for (const field of DAEMON_FIELDS) {
      if (!foreign.includes(field) || jsonEqual(spec[field], after.spec[field])) continue;
      this.#problems.push(`owner: spec.${field} of ${metadata.name}, which somebody else wrote, is changed`);
    }
  }

  /** No more addresses are asked for than all pods and the knobs can need. */
  #checkDemand({ metadata, status }: TerwayNode): void {
    const most = SHARED_PODS.length + this.#seeded.pool.mostReserve;
    for (const family of FAMILIES) {
      const asked = (status?.poolIntents ?? []).reduce((sum, intent) => sum + intent[family], 0);
      if (asked > most)
        this.#problems.push(
          `demand: ${metadata.name} asks for ${asked} addresses of ${family}, and ${most} are enough`,
        );
    }
  }

  /**
   * I1: on one node a pod has one address, and an address one pod. What a pod had that is gone waits for the node's word (L1): a leader
   * whose store of pods is late gives it an address, and keeps what it learns afterwards that the pod has reported.
   */
  #checkOnce(node: TerwayNode): void {
    const bound = placesIn(node).filter(({ address }) => isBound(address));
    const ofPod = ({ address: { podUID, ip } }: Place) => `${podUID} ${isIpv6(ip)}`;
    for (const places of Map.groupBy(bound, ofPod).values()) {
      const { podID = '', podUID: uid = '' } = places[0]?.address ?? {};
      if (places.length < 2 || !this.#isThere(podID, uid)) continue;
      this.#problems.push(`I1: ${podID} (${uid}) has ${places.map(({ address: { ip } }) => ip).join(' and ')}`);
    }
    for (const [ip, places] of Map.groupBy(bound, ({ address }) => address.ip)) {
      const open = places.filter(({ eniId }) => !this.#seeded.pool.isTaken(eniId, ip));
      if (open.length > 1)
        this.#problems.push(`I1: ${ip} belongs to ${open.map(({ address: { podID } }) => podID).join(' and ')}`);
    }
  }

  /** I3: an address is taken from a pod when none of its sandboxes has it any more. */
  #checkFreed(machine: Machine, key: string, uid: string, ip: string): void {
    if (this.#seeded.pool.isTaken(key.split(' ')[0] ?? '', ip)) return;
    for (const [id, { attachment }] of machine.kernel.wirings) {
      if (attachment.uid !== uid || !addressesIn(attachment).includes(ip) || this.#seeded.nodes.isTouched(id)) continue;
      this.#problems.push(`I3: ${key} is taken from ${attachment.name}, and its sandbox ${id} has it`);
    }
  }

  /** I1 and I8: an address is given to a pod that no PodNetworking picks, and that nobody else has in a sandbox. */
  #checkHandOut(machine: Machine | undefined, key: string, { ip, podUID, podID = '' }: NodeAddress): void {
    const [namespace, name = ''] = podID.split('/');
    const { world } = this.#seeded;
    const pod = world.kube.peek('pods', { namespace, name });
    if (pod?.metadata.uid === podUID && pod !== undefined && !isShared(pod))
      this.#problems.push(`I8: ${podID}, which a PodNetworking picks, gets ${key}`);
    for (const [id, { attachment }] of machine?.kernel.wirings ?? []) {
      if (attachment.uid === podUID || !addressesIn(attachment).includes(ip) || this.#seeded.nodes.isTouched(id))
        continue;
      // Nobody has heard of it: its agent ended before it answered. What the node does with both is checked by N1.
      if (machine?.agent === undefined && machine?.runtime.sandbox(id)?.hasRun === false) continue;
      // The backup does not name it, and its agent is not there to tell (docs/design/reliability.md). N1 holds all the same.
      const isKnown = world.nodeRuntime(machine?.nodeName ?? '')?.status?.pods?.[attachment.uid] !== undefined;
      if (machine?.agent === undefined && this.#isRestored && !isKnown) continue;
      const isTaken = this.#seeded.pool.isTaken(key.split(' ')[0] ?? '', ip);
      if (!isTaken)
        this.#problems.push(`I1: ${key} is given to ${podID}, and sandbox ${id} of ${attachment.name} has it`);
    }
  }

  /**
   * An address that others had a moment ago is given when there is no other. Neither a new leader nor one whose record was deleted knows
   * when it was freed, and one whose store of pods is late lets a pod that is gone keep what it has reported.
   */
  #checkRest(
    node: TerwayNode,
    key: string,
    { ip, podID, podUID = '' }: NodeAddress,
    by: { actor: string; nowMs: number },
  ): void {
    const found = this.#freed.get(key);
    if (found === undefined || found.term !== this.#seeded.termOf(by.actor) || found.podId === podID) return;
    if (!this.#isThere(podID ?? '', podUID)) return;
    if (by.nowMs - found.atMs >= REST_MS - WRITE_MS || this.#tellsOf(podID ?? '', ip)) return;
    const isRested = (eniId: string, address: NodeAddress) => {
      const freedMs = this.#freed.get(`${eniId} ${address.ip}`)?.atMs ?? 0;
      return isIdle(address) && by.nowMs - freedMs > REST_MS + WRITE_MS;
    };
    const better = Object.values(node.status?.networkInterfaces ?? {}).find(
      (eni) =>
        eni.status === 'InUse' &&
        familiesOf(node).every((family) => addressesOf(eni, family).some((address) => isRested(eni.id, address))),
    );
    if (better !== undefined)
      this.#problems.push(`rest: ${podID} gets ${ip} of ${found.podId}, and others of ${better.id} have rested`);
  }

  /** Whether the status of a pod shows this address. */
  #tellsOf(podId: string, ip: string): boolean {
    const [namespace, name = ''] = podId.split('/');
    return JSON.stringify(this.#seeded.world.kube.peek('pods', { namespace, name })?.['status'] ?? {}).includes(
      `"${ip}"`,
    );
  }

  #onCall({ kind, action, outcome, params, clientToken, accessKeyId, replayed }: JournalEntry): void {
    if (kind !== 'call' || accessKeyId === USER || outcome !== 'OK' || replayed) return;
    // What it was decided by may be gone with what the backup lacks.
    if (this.#seeded.restores.excuses.wasStopped(accessKeyId)) return;
    const eniId = params['NetworkInterfaceId'] ?? '';
    switch (action) {
      case 'AssignPrivateIpAddresses':
      case 'AssignIpv6Addresses':
        if (!this.#tokens.has(clientToken))
          this.#problems.push(`I2: ${eniId} gets addresses with token ${clientToken} that no record ever had`);
        return;
      case 'UnassignPrivateIpAddresses':
      case 'UnassignIpv6Addresses': {
        for (const ip of ipsSchema.parse(params['PrivateIpAddress'] ?? params['Ipv6Address']))
          this.#checkUnassigned(eniId, ip);
        return;
      }
      case 'DetachNetworkInterface':
      case 'DeleteNetworkInterface':
        for (const { address } of this.#placesOf(eniId)) this.#checkUnused(eniId, address, action);
    }
  }

  /** I2 and I3: what is given back was marked before, and nobody has it. */
  #checkUnassigned(eniId: string, ip: string): void {
    const [found] = this.#placesOf(eniId).filter(({ address }) => address.ip === ip);
    if (found === undefined || found.address.status !== 'Deleting')
      this.#problems.push(
        `I2: ${ip} of ${eniId} is unassigned, and the record says ${found?.address.status ?? 'nothing'}`,
      );
    if (found !== undefined) this.#checkUnused(eniId, found.address, 'unassigned');
  }

  /** I3: nobody takes an address away that a pod has, in the record or in a sandbox. */
  #checkUnused(eniId: string, { ip, podID = '', podUID = '' }: NodeAddress, how: string): void {
    const { world, pool, nodes } = this.#seeded;
    if (pool.isTaken(eniId, ip)) return;
    if (podUID !== '' && this.#isThere(podID, podUID))
      this.#problems.push(`I3: ${how}: ${ip} of ${eniId}, which ${podID} has`);
    for (const { kernel, runtime } of world.machines.values()) {
      for (const [id, { attachment, isComplete }] of kernel.wirings) {
        const isUsed = isComplete && addressesIn(attachment).includes(ip) && runtime.sandbox(id)?.state === 'running';
        const isIts = attachment.interfaces.some(
          (one) => 'eni' in one.attachment && one.attachment.eni.mac === this.#macOf(eniId),
        );
        if (isUsed && isIts && !nodes.isTouched(id))
          this.#problems.push(`I3: ${how}: ${ip} of ${eniId}, which the sandbox ${id} of ${attachment.name} has`);
      }
    }
  }

  #isThere(podId: string, uid: string): boolean {
    const [namespace, name = ''] = podId.split('/');
    return this.#seeded.world.kube.peek('pods', { namespace, name })?.metadata.uid === uid;
  }

  #macOf(eniId: string): string | undefined {
    return this.#seeded.world.cloud.eni(eniId)?.macAddress;
  }

  /** Of an ENI, as records have them. */
  #placesOf(eniId: string): Place[] {
    const { world } = this.#seeded;
    return world.kube
      .objects(NODES)
      .flatMap((object) => placesIn(world.readNode(object)))
      .filter((place) => place.eniId === eniId);
  }
}

function termOf(lease: KubeObject | undefined): string {
  const { holderIdentity, acquireTime } = leaseSchema.parse(lease?.['spec'] ?? {});
  return `${holderIdentity} ${acquireTime}`;
}
