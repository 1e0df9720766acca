import { addressesOf } from '../../../src/allocation/pool/view.ts';
import { ANNOTATION_POD_UID, ANNOTATION_REPORTS_RELEASE } from '../../../src/crds/names.ts';
import type { TerwayNode } from '../../../src/crds/node.ts';
import { type NodeRuntime, saysDeleted } from '../../../src/crds/node-runtime.ts';
import type { PodEni } from '../../../src/crds/pod-eni.ts';
import type { JournalEntry } from '../../cloud/model/journal.ts';
import type { WriteRecord } from '../../kube/model/journal.ts';
import type { KubeObject } from '../../kube/model/objects.ts';
import { nodeNameOf } from '../kubelets.ts';
import { addressOf, type WiringChange } from '../node/kernel.ts';
import type { Machine } from '../node/machine.ts';
import { endedNameOf, type PodIdentity, recordNameOf, sandboxOf } from '../node/runtime.ts';
import { NODERUNTIMES, NODES, PODENIS } from '../world.ts';
import type { SeededWorld } from './seeded-world.ts';

/** `releaseConfirmation`, by default. */
const CONFIRMATION_MS = 30_000;
/** A silent watch of the control plane is replaced within this time, so for so long it may still see a node as NotReady. */
const STALE_MS = 180_000;
/** The agent keeps a `deleted` for five minutes, and drops it with its next write. */
const KEPT_MS = 6 * 60_000;

/** Watches nodes that have a node agent, and holds what happens there against the invariants (docs/design/invariants.md). */
export class NodeWitness {
  readonly #seeded: SeededWorld;
  /** Which ENI had an address, by `uid address` of its pod. */
  readonly #enis = new Map<string, string>();
  /** `eniId uid`: the ENI was taken from the pod in a way that the documentation excepts, so its address may be in use elsewhere. */
  readonly #excepted = new Set<string>();
  /** When a backup was restored last, epoch milliseconds. */
  #restoredMs = Number.NEGATIVE_INFINITY;
  /** As each was written last. */
  readonly #runtimes = new Map<string, NodeRuntime>();
  readonly #problems: string[] = [];
  readonly #unsubscribe: (() => void)[];

  constructor(seeded: SeededWorld) {
    this.#seeded = seeded;
    const { kube, cloud } = seeded.world;
    seeded.nodes.onMachine((machine) => {
      const { kernel, disk } = machine;
      kernel.subscribe((change) => this.#onWiring(machine, change));
      disk.subscribe(() => {
        for (const id of kernel.wirings.keys()) this.#checkRecord(machine, id);
      });
    });
    this.#unsubscribe = [
      kube.subscribe((write) => this.#onWrite(write)),
      cloud.subscribe((entry) => this.#onCall(entry)),
    ];
  }

  /** A backup was restored. */
  noteRestored(): void {
    this.#restoredMs = this.#seeded.world.clock.now();
  }

  /** Violations since the last call. */
  look(): string[] {
    return this.#problems.splice(0);
  }

  end(): void {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
  }

  /** What keeps the nodes from being settled (L5); empty when they are. */
  unsettled(): string[] {
    return [...this.#seeded.world.machines.values()].flatMap((machine) => [
      ...this.#unwired(machine),
      ...this.#leftOver(machine),
      ...this.#unreported(machine),
    ]);
  }

  /** Pods with a bound PodENI whose sandbox does not run with exactly that. */
  #unwired(machine: Machine): string[] {
    const { world } = this.#seeded;
    return this.#livePodsOn(machine).flatMap((pod) => {
      const { namespace, name, uid } = pod.metadata;
      const podEni = world.podEni(`${namespace}/${name}`);
      if (podEni?.status?.phase !== 'Bind' || podEni.metadata.annotations?.[ANNOTATION_POD_UID] !== uid) return [];
      const sandbox = machine.runtime.sandboxesOf(uid).find(({ state }) => state === 'running');
      if (sandbox === undefined) return [`pod ${name} on ${machine.nodeName} has no sandbox`];
      const wiring = machine.kernel.wirings.get(sandbox.id);
      if (wiring?.isComplete !== true) return [`the sandbox of pod ${name} on ${machine.nodeName} is not wired`];
      const { attachment } = wiring.attachment.interfaces[0] ?? {};
      const has =
        attachment !== undefined && 'trunk' in attachment ? `${attachment.trunk.mac} ${attachment.vlanId}` : '';
      const eni = world.cloud.eni(podEni.spec.allocations?.[0]?.eni.id ?? '');
      const { eniId = '', vlanId } = eni?.attachment?.trunk ?? {};
      const wanted = `${eni?.ipv4[0]} ${world.cloud.eni(eniId)?.macAddress} ${vlanId}`;
      const found = `${addressOf(wiring.attachment)} ${has}`;
      return found === wanted ? [] : [`the sandbox of pod ${name} has ${found}, the cloud says ${wanted}`];
    });
  }

  #livePodsOn({ nodeName }: Machine): KubeObject[] {
    return this.#seeded.livePods().filter((pod) => nodeNameOf(pod) === nodeName);
  }

  /** What is left of sandboxes that are gone: in the runtime, in the kernel, on the disk. */
  #leftOver({ nodeName, runtime, kernel, disk }: Machine): string[] {
    const { kube } = this.#seeded.world;
    const running = new Set(runtime.sandboxes.flatMap(({ id, state }) => (state === 'running' ? [id] : [])));
    const gone = runtime.sandboxes.filter(
      ({ pod: { namespace, name, uid }, state }) =>
        state === 'ended' || kube.peek('pods', { namespace, name })?.metadata.uid !== uid,
    );
    const wired = [...kernel.wirings.keys()].filter((id) => !running.has(id));
    // A file that could not be written, nor removed then, goes at the next start.
    const mayBeHalf = (this.#seeded.faults.counts.get('disk-error') ?? 0) > 1;
    const files = disk
      .names()
      .filter((name) => !name.startsWith('corrupt/') && !running.has(sandboxOf(name)))
      .filter((name) => !(mayBeHalf && name.endsWith('.tmp')));
    return [
      ...gone.map(({ id, pod }) => `sandbox ${id} of pod ${pod.name} on ${nodeName} outlives its pod`),
      ...wired.map((id) => `the kernel of ${nodeName} has something of sandbox ${id}, which is gone`),
      ...files.map((name) => `the disk of ${nodeName} has ${name} of a sandbox that is gone`),
    ];
  }

  /** What the NodeRuntime says although it is not so. */
  #unreported({ nodeName, runtime }: Machine): string[] {
    const object = this.#seeded.world.nodeRuntime(nodeName);
    const running = new Set(runtime.sandboxes.flatMap(({ pod, state }) => (state === 'running' ? [pod.uid] : [])));
    const pods = Object.entries(object?.status?.pods ?? {});
    return pods.flatMap(([uid, entry]) => {
      const [namespace = '', name = ''] = (entry.podID ?? '').split('/');
      const isHere = running.has(uid) || this.#isLive({ namespace, name, uid });
      const isRight = saysDeleted(entry) ? !running.has(uid) : isHere;
      return isRight ? [] : [`the NodeRuntime of ${nodeName} is wrong about the sandbox of ${entry.podID}`];
    });
  }

  #onWiring(machine: Machine, { containerId, before, after }: WiringChange): void {
    if (after !== undefined) this.#checkRecord(machine, containerId);
    if (before?.isComplete === true && after?.isComplete !== true) this.#checkTaken(machine, containerId);
    if (after?.isComplete !== true) return;
    const { uid } = after.attachment;
    this.#seeded.nodes.revived.delete(uid);
    this.#checkReport(machine, uid, this.#seeded.world.nodeRuntime(machine.nodeName));
    this.#checkShared(machine, containerId);
  }

  /** N3: a record is durable for as long as the kernel has anything of its sandbox. */
  #checkRecord({ nodeName, disk }: Machine, containerId: string): void {
    if (this.#seeded.nodes.isTouched(containerId)) return;
    if (disk.isDurable(recordNameOf(containerId)) || disk.isDurable(endedNameOf(containerId))) return;
    this.#problems.push(`N3: the kernel of ${nodeName} has something of ${containerId}, which has no record`);
  }

  /** N2: the agent takes the network only from sandboxes that have ended, or whose pod has. */
  #checkTaken(machine: Machine, containerId: string): void {
    const sandbox = machine.runtime.sandbox(containerId);
    if (sandbox?.state !== 'running' || this.#seeded.nodes.lostRecords.has(containerId)) return;
    if (this.#isLive(sandbox.pod)) {
      this.#problems.push(`N2: the running sandbox ${containerId} of pod ${sandbox.pod.name} lost its network`);
    }
  }

  /** N1: no two living sandboxes have one address, and on one node not even a dead one has it. */
  #checkShared(machine: Machine, containerId: string): void {
    const own = machine.kernel.wirings.get(containerId)?.attachment;
    if (own === undefined || this.#isExcepted(own.uid, addressOf(own), containerId)) return;
    for (const other of this.#seeded.world.machines.values()) {
      for (const [id, { attachment, isComplete }] of other.kernel.wirings) {
        if (id === containerId || !isComplete || addressOf(attachment) !== addressOf(own)) continue;
        const isAlive = other.runtime.sandbox(id)?.state !== 'ended';
        if ((!isAlive && other !== machine) || this.#isExcepted(attachment.uid, addressOf(attachment), id)) continue;
        this.#problems.push(`N1: ${addressOf(own)} is in sandbox ${containerId} and in ${id}`);
      }
    }
  }

  #isExcepted(uid: string, address: string, containerId: string): boolean {
    const { nodes, users, pool } = this.#seeded;
    const eniId = this.#enis.get(`${uid} ${address}`) ?? '';
    if (nodes.isTouched(containerId) || nodes.renounced.has(uid) || pool.isTaken(eniId, address)) return true;
    return users.touched.has(eniId) || this.#excepted.has(`${eniId} ${uid}`);
  }

  #onWrite({ resource, after, key }: WriteRecord): void {
    if (resource === NODES && after !== undefined) this.#noteShared(this.#seeded.world.readNode(after));
    if (resource === PODENIS && after !== undefined) this.#notePodEni(this.#seeded.world.podEni(key));
    if (resource !== NODERUNTIMES || after === undefined) return;
    const machine = this.#seeded.world.machines.get(key);
    const runtime = this.#seeded.world.nodeRuntime(key);
    if (machine === undefined || runtime === undefined) return;
    const earlier = this.#runtimes.get(key);
    this.#runtimes.set(key, runtime);
    for (const [uid, entry] of Object.entries(runtime.status?.pods ?? {})) {
      if (!saysDeleted(entry)) continue;
      this.#checkReport(machine, uid, runtime);
      if (!saysDeleted(earlier?.status?.pods?.[uid])) this.#checkContinues(uid, entry.podID ?? '');
    }
    this.#checkGrowth(key, runtime);
  }

  #notePodEni(podEni: PodEni | undefined): void {
    const uid = podEni?.metadata.annotations?.[ANNOTATION_POD_UID] ?? '';
    for (const { eni, ipv4 = '' } of podEni?.spec.allocations ?? []) {
      if (eni.id !== '' && ipv4 !== '') this.#enis.set(`${uid} ${ipv4}`, eni.id);
    }
  }

  #noteShared({ status }: TerwayNode): void {
    for (const eni of Object.values(status?.networkInterfaces ?? {})) {
      for (const { ip, podUID = '' } of addressesOf(eni)) if (podUID !== '') this.#enis.set(`${podUID} ${ip}`, eni.id);
    }
  }

  /** N4: a node does not say that the sandbox of a pod is gone while the kernel has one. */
  #checkReport(machine: Machine, uid: string, runtime: NodeRuntime | undefined): void {
    if (!saysDeleted(runtime?.status?.pods?.[uid])) return;
    for (const [id, { attachment }] of machine.kernel.wirings) {
      if (attachment.uid !== uid || this.#seeded.nodes.isTouched(id)) continue;
      this.#problems.push(`N4: ${machine.nodeName} says that the sandbox of ${attachment.name} is gone, and has ${id}`);
    }
  }

  /** N4: nor of a pod that continues, and whose PodENI does. */
  #checkContinues(uid: string, podId: string): void {
    const [namespace = '', name = ''] = podId.split('/');
    const { world, nodes } = this.#seeded;
    const podEni = world.podEni(podId);
    if (!this.#isLive({ namespace, name, uid }) || nodes.renounced.has(uid) || nodes.revived.has(uid)) return;
    if (podEni?.metadata.annotations?.[ANNOTATION_POD_UID] === uid && !isLeaving(podEni))
      this.#problems.push(`N4: the sandbox of ${podId} is reported as gone for good, and the pod continues`);
  }

  /** L5: the NodeRuntime does not grow with the pods that have been on the node. */
  #checkGrowth(nodeName: string, { status }: NodeRuntime): void {
    const oldestMs = this.#seeded.world.clock.now() - KEPT_MS;
    const shared = Object.values(this.#seeded.world.nodeRecord(nodeName)?.status?.networkInterfaces ?? {});
    const holders = new Set(shared.flatMap((eni) => addressesOf(eni).map(({ podUID }) => podUID)));
    for (const [uid, { podID, status: states }] of Object.entries(status?.pods ?? {})) {
      const atMs = Date.parse(states?.['deleted']?.lastUpdateTime ?? '');
      // What a backup has brought back stays until the agent reads the object again.
      if (atMs < this.#restoredMs) continue;
      // It is kept until no address carries the uid.
      if (atMs < oldestMs && !holders.has(uid))
        this.#problems.push(`L5: the NodeRuntime of ${nodeName} still has ${podID}, which is gone`);
    }
  }

  /** N5: towards release and hold, an ENI is detached when the node has confirmed it, or after the time-out. */
  #onCall({ kind, action, outcome, params, replayed }: JournalEntry): void {
    if (kind !== 'call' || action !== 'DetachNetworkInterface' || outcome !== 'OK' || replayed) return;
    const eniId = params['NetworkInterfaceId'] ?? '';
    const { world } = this.#seeded;
    for (const podEni of world.podEnis()) {
      if (!isLeaving(podEni) || !(podEni.spec.allocations ?? []).some(({ eni }) => eni.id === eniId)) continue;
      const uid = podEni.metadata.annotations?.[ANNOTATION_POD_UID] ?? '';
      const nodeName = podEni.spec.target?.nodeName ?? '';
      if (saysDeleted(this.#seeded.world.nodeRuntime(nodeName)?.status?.pods?.[uid])) continue;
      this.#excepted.add(`${eniId} ${uid}`);
      if (this.#mustConfirm(eniId, uid, nodeName, podEni))
        this.#problems.push(`N5: ${eniId} of ${podEni.metadata.name} is detached, and ${nodeName} did not confirm`);
    }
  }

  #mustConfirm(eniId: string, uid: string, nodeName: string, podEni: PodEni): boolean {
    const { world, nodes, users } = this.#seeded;
    const machine = world.machines.get(nodeName);
    const { status, metadata } = podEni;
    const sinceMs = Date.parse(metadata.deletionTimestamp ?? status?.podLastSeen ?? '');
    const reports =
      this.#seeded.world.nodeRuntime(nodeName)?.metadata.annotations?.[ANNOTATION_REPORTS_RELEASE] === 'true';
    if (machine === undefined || !reports || (status?.phase !== 'Bind' && status?.phase !== 'Detaching')) return false;
    if (users.touched.has(eniId) || nodes.renounced.has(uid)) return false;
    const unreadyMs = machine.unreadyMs ?? Number.NEGATIVE_INFINITY;
    return world.clock.now() < sinceMs + CONFIRMATION_MS && unreadyMs < world.clock.monotonicMs() - STALE_MS;
  }

  #isLive({ namespace, name, uid }: PodIdentity): boolean {
    const pod = this.#seeded.world.kube.peek('pods', { namespace, name });
    return pod?.metadata.uid === uid && pod.metadata.deletionTimestamp === undefined;
  }
}

function isLeaving({ metadata, status }: PodEni): boolean {
  return metadata.deletionTimestamp !== undefined || status?.phase === 'Detaching';
}
