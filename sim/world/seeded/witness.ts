import { sameSecurityGroups } from '../../../src/allocation/security-groups.ts';
import { parseTrunkIntent, type TrunkIntent } from '../../../src/allocation/trunk.ts';
import { ANNOTATION_POD_UID, ANNOTATION_TRUNK_INTENT } from '../../../src/crds/names.ts';
import type { PodEni } from '../../../src/crds/pod-eni.ts';
import { type PodNetworking, podNetworkingSchema } from '../../../src/crds/pod-networking.ts';
import type { JournalEntry } from '../../cloud/model/journal.ts';
import type { WriteRecord } from '../../kube/model/journal.ts';
import type { KubeObject } from '../../kube/model/objects.ts';
import { unsettled, violations, type WorldState } from '../invariants.ts';
import { nodeNameOf } from '../kubelets.ts';
import { NODES, PODENIS, PODNETWORKINGS } from '../world.ts';
import { LeaseWitness } from './lease-witness.ts';
import { NodeWitness } from './node-witness.ts';
import { PoolWitness } from './pool-witness.ts';
import { idsOf } from './restored.ts';
import { USER } from './seeded-users.ts';
import type { SeededWorld } from './seeded-world.ts';
import { StaleWitness } from './stale-witness.ts';

const MINUTE_MS = 60_000;

/** Watches every write and every call, and holds them against the invariants (docs/design/invariants.md). */
export class Witness {
  readonly #seeded: SeededWorld;
  readonly #rateLimit: number | undefined;
  /** Tokens of creations that were persisted at some time. */
  readonly #tokens = new Set<string>();
  /** ENIs whose attachment was persisted at some time: `eniId instanceOrTrunkId`. */
  readonly #targets = new Set<string>();
  /** Address of each fixed record, by uid. */
  readonly #reserved = new Map<string, string>();
  /** Accepted calls: `replica action minute`. */
  readonly #calls = new Map<string, number>();
  /** When calls were sent that have not arrived yet, in order, by `replica action subject`. */
  readonly #underWay = new Map<string, number[]>();
  /** What each generation of each PodNetworking said, by `name generation`; several if it was created anew or comes from a backup. */
  readonly #specs = new Map<string, PodNetworking['spec'][]>();
  /** Those that each PodNetworking has named. */
  readonly #vSwitches = new Map<string, Set<string>>();
  readonly #nodes: NodeWitness;
  readonly #pool: PoolWitness;
  readonly #stale: StaleWitness;
  readonly #lease: LeaseWitness;
  readonly #problems: string[] = [];
  readonly #unsubscribe: (() => void)[];
  #seen = -1;
  /** What kept the objects of this version from being settled. */
  #open: { version: number; problems: readonly string[] } | undefined;

  constructor(seeded: SeededWorld, rateLimit: number | undefined) {
    this.#seeded = seeded;
    this.#rateLimit = rateLimit;
    this.#nodes = new NodeWitness(seeded);
    this.#pool = new PoolWitness(seeded);
    this.#stale = new StaleWitness(seeded);
    this.#lease = new LeaseWitness(seeded);
    const { kube, cloud } = seeded.world;
    for (const networking of kube.objects(PODNETWORKINGS)) this.#noteSpec(networking);
    this.#unsubscribe = [
      kube.subscribe((write) => this.#onWrite(write)),
      cloud.subscribe((entry) => this.#onCall(entry)),
    ];
    seeded.restores.onRestored = () => {
      this.#forgetFuture();
      this.#pool.forgetFuture();
      this.#nodes.noteRestored();
      seeded.pool.noteRestored();
    };
    seeded.onSend = (call) => {
      this.#stale.onSend(call);
      this.#lease.onSend(call);
    };
    seeded.onUnderWay = ({ replica, action, params }) => {
      const key = `${replica} ${action} ${subjectOf(params)}`;
      this.#underWay.set(key, [...(this.#underWay.get(key) ?? []), seeded.world.clock.now()]);
    };
  }

  /** Violations since the last call; looks at the whole state only if it has changed. */
  look(): string[] {
    const { world } = this.#seeded;
    const version = this.#version();
    if (version !== this.#seen) {
      this.#seen = version;
      const { excuses } = this.#seeded.restores;
      const state = excuses.forgive(this.#untouched(world.state()));
      this.#problems.push(...violations(state), ...attachedReservations(state));
    }
    this.#problems.push(...this.#nodes.look(), ...this.#stale.look(), ...this.#lease.look(), ...this.#pool.look());
    this.#problems.push(...this.#seeded.failures.splice(0));
    return this.#problems.splice(0);
  }

  /** What keeps the system from being settled (L1, L4); empty when it is. */
  unsettled(): string[] {
    const { world } = this.#seeded;
    const state = world.state();
    const version = this.#version();
    // While one waits for half an hour, objects change rarely.
    if (version !== this.#open?.version) this.#open = { version, problems: this.#openIn(state) };
    return [...this.#open.problems, ...this.#nodes.unsettled(), ...this.#pool.unsettled(state)];
  }

  #openIn(state: WorldState): string[] {
    const needy = this.#withoutAddress(state);
    return [
      ...unsettled({ ...state, podEnis: state.podEnis.filter((podEni) => !needy.has(podEni)) }),
      ...this.#unbound(state, needy),
      ...this.#unreleased(state),
      ...this.#unfinished(state),
      ...this.#outdated(state),
    ];
  }

  /** Grows with every change of an object in cluster or cloud. */
  #version(): number {
    const { kube, cloud } = this.#seeded.world;
    return kube.generation + cloud.generation;
  }

  end(): void {
    this.#nodes.end();
    this.#stale.end();
    this.#lease.end();
    this.#pool.end();
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
  }

  /** Records that are still bound, or reserved for a limited time, though their pod is gone. */
  #unreleased({ podEnis }: WorldState): string[] {
    const { kube } = this.#seeded.world;
    return podEnis.flatMap(({ metadata, spec, status }) => {
      const { namespace, name } = metadata;
      if (kube.peek('pods', { namespace, name }) !== undefined) return [];
      const isKept = spec.allocations?.[0]?.allocationType?.releaseStrategy === 'Never' && status?.phase === 'Unbind';
      return isKept ? [] : [`PodENI ${namespace}/${name} outlives its pod`];
    });
  }

  /** Records of nodes that are gone, and nodes without a trunk, in the record or in the cloud. */
  #unfinished({ nodes, cloud }: WorldState): string[] {
    const { world } = this.#seeded;
    const inUse = new Set(cloud.enis.filter(({ status }) => status === 'InUse').map(({ id }) => id));
    const live = new Set(world.kube.objects('nodes').map(({ metadata }) => metadata.name));
    const left = nodes.filter(({ metadata }) => !live.has(metadata.name));
    return [
      ...left.map(({ metadata }) => `the record of node ${metadata.name} outlives it`),
      ...[...live].filter((name) => !inUse.has(world.trunkOf(name) ?? '')).map((name) => `node ${name} has no trunk`),
    ];
  }

  /** Running pods whose security groups are not those of their PodNetworking. */
  #outdated({ podEnis }: WorldState): string[] {
    const { kube } = this.#seeded.world;
    return podEnis.flatMap(({ metadata, spec, status }) => {
      const [allocation] = spec.allocations ?? [];
      const name = allocation?.intent?.networking ?? '';
      const found = status?.phase === 'Bind' ? kube.peek(PODNETWORKINGS, { namespace: undefined, name }) : undefined;
      if (found === undefined) return [];
      const wanted = podNetworkingSchema.parse(found).spec.securityGroupIDs ?? [];
      const isSame = sameSecurityGroups(wanted, allocation?.eni.securityGroupIDs ?? []);
      return isSame ? [] : [`PodENI ${metadata.namespace}/${metadata.name} has not the security groups of ${name}`];
    });
  }

  /** Records that wait for an address, and there is none. */
  #withoutAddress({ podEnis }: WorldState): ReadonlySet<PodEni> {
    const isNeedy = ({ spec }: PodEni) =>
      (spec.allocations ?? []).some(
        ({ eni, intent }) => eni.id === '' && !this.#seeded.hasAddress(intent?.networking ?? ''),
      );
    return new Set(podEnis.filter(isNeedy));
  }

  /**
   * Live pods without a network, unless every slot of their node is taken, or no address is left for them.
   *
   * @param needy records that wait for an address; they have a slot
   */
  #unbound(state: WorldState, needy: ReadonlySet<PodEni>): string[] {
    const { world } = this.#seeded;
    const limits = new Map(
      state.nodes.map(({ metadata, spec }) => [metadata.name, spec.nodeCap?.memberAdapterLimit ?? 0]),
    );
    const waiting = new Map<string, string[]>();
    for (const pod of this.#seeded.livePods()) {
      const key = `${pod.metadata.namespace}/${pod.metadata.name}`;
      const podEni = world.podEni(key);
      const isBound =
        podEni?.status?.phase === 'Bind' && podEni.metadata.annotations?.[ANNOTATION_POD_UID] === pod.metadata.uid;
      const node = nodeNameOf(pod);
      const hasEni = podEni?.spec.allocations?.some(({ eni }) => eni.id !== '') === true;
      const hasAddress = hasEni || this.#seeded.hasAddress(pod.metadata.labels?.['networking'] ?? '');
      if (!isBound && hasAddress) waiting.set(node, [...(waiting.get(node) ?? []), key]);
    }
    return [...waiting].flatMap(([node, keys]) => {
      const bound = state.podEnis.filter(
        (podEni) => (podEni.status?.phase === 'Bind' || needy.has(podEni)) && podEni.spec.target?.nodeName === node,
      );
      return bound.length >= (limits.get(node) ?? Number.POSITIVE_INFINITY)
        ? []
        : keys.map((key) => `pod ${key} on ${node} has no network`);
    });
  }

  /**
   * Without the ENIs that a user took out of our records or out of the cloud: such an ENI has no owner until the collector
   * finds it, and the cloud gives its VLAN id to the next one.
   */
  #untouched(state: WorldState): WorldState {
    const { touched } = this.#seeded.users;
    touched.endExcuses(state);
    const enis = state.cloud.enis.filter((eni) => !this.#seeded.users.isTouched(eni));
    const isExcused = (podEni: PodEni) => idsOf(podEni).some((id) => touched.isExcused(id));
    const podEnis = state.podEnis.filter((podEni) => !isExcused(podEni));
    return { ...state, podEnis, cloud: { ...state.cloud, enis } };
  }

  #onWrite({ resource, key, before, after }: WriteRecord): void {
    if (resource.startsWith('nodes.') && after !== undefined) {
      this.#noteTrunk(after);
      return;
    }
    if (resource === PODNETWORKINGS && after !== undefined) this.#noteSpec(after);
    if (resource !== PODENIS || after === undefined) return;
    const podEni = this.#seeded.world.podEni(key);
    if (podEni === undefined) return;
    this.#noteIntents(podEni);
    if (before !== undefined) this.#checkReservation(podEni);
    if (podEni.status?.phase === 'Bind') this.#checkIsolation(podEni);
  }

  #noteTrunk(node: KubeObject): void {
    const intent = intentOf(node);
    if (intent !== undefined) this.#tokens.add(intent.clientToken);
  }

  #noteIntents({ spec: { allocations = [], target } }: PodEni): void {
    for (const { eni, intent } of allocations) {
      if (intent !== undefined) this.#tokens.add(intent.clientToken);
      if (eni.id !== '' && target !== undefined)
        this.#targets.add(`${eni.id} ${target.trunkENIID ?? target.instanceID ?? ''}`);
    }
  }

  /** A backup was restored: intents and reservations are those of the backup. */
  #forgetFuture(): void {
    const { world } = this.#seeded;
    for (const known of [this.#tokens, this.#targets, this.#reserved]) known.clear();
    for (const node of world.kube.objects(NODES)) this.#noteTrunk(node);
    for (const podEni of world.podEnis()) {
      this.#noteIntents(podEni);
      this.#checkReservation(podEni);
    }
  }

  #noteSpec(object: KubeObject): void {
    const { metadata, spec } = podNetworkingSchema.parse(object);
    const key = `${metadata.name} ${metadata.generation}`;
    this.#specs.set(key, [...(this.#specs.get(key) ?? []), spec]);
    const named = [...(this.#vSwitches.get(metadata.name) ?? []), ...(spec.vSwitchOptions ?? [])];
    this.#vSwitches.set(metadata.name, new Set(named));
  }

  /**
   * I8: a bound pod has the security groups of the generation that its record names, and a vSwitch of that or another one: an
   * edit changes groups, not addresses, and a PodNetworking that is created anew begins with generation 1.
   */
  #checkIsolation({ metadata, spec }: PodEni): void {
    for (const { eni, intent } of spec.allocations ?? []) {
      const { networking = '', networkingGeneration = 0 } = intent ?? {};
      if (this.#vSwitches.get(networking)?.has(eni.vSwitchID ?? '') !== true) {
        this.#problems.push(`I8: ${metadata.name} is bound in ${eni.vSwitchID}, which its PodNetworking never named`);
      }
      const isSame = ({ securityGroupIDs = [] }: PodNetworking['spec']) =>
        sameSecurityGroups(securityGroupIDs, eni.securityGroupIDs ?? []);
      if (this.#specs.get(`${networking} ${networkingGeneration}`)?.some(isSame) !== true) {
        this.#problems.push(`I8: ${metadata.name} is bound with other security groups than those of its generation`);
      }
    }
  }

  /** I4: while a record with a fixed address exists, its address stays. */
  #checkReservation(podEni: PodEni): void {
    const [allocation] = podEni.spec.allocations ?? [];
    const { uid = '', name } = podEni.metadata;
    if (allocation?.allocationType?.type !== 'Fixed' || (allocation.ipv4 ?? '') === '') return;
    const known = this.#reserved.get(uid);
    if (known === undefined) this.#reserved.set(uid, allocation.ipv4 ?? '');
    else if (known !== allocation.ipv4)
      this.#problems.push(`I4: ${name} had the address ${known}, now ${allocation.ipv4}`);
  }

  #onCall({ kind, action, outcome, params, clientToken, accessKeyId, timeMs, replayed }: JournalEntry): void {
    if (kind !== 'call' || accessKeyId === USER) return;
    const sentMs = this.#underWay.get(`${accessKeyId} ${action} ${subjectOf(params)}`)?.shift();
    if (outcome !== 'OK') return;
    this.#countCall(accessKeyId, action, sentMs ?? timeMs);
    const eniId = params['NetworkInterfaceId'] ?? '';
    // Its record may be gone with what the backup lacks.
    if (!action.startsWith('Describe') && this.#seeded.restores.excuses.excusesCall(accessKeyId, eniId)) return;
    switch (action) {
      case 'CreateNetworkInterface':
        if (!this.#tokens.has(clientToken) && !this.#pool.knows(clientToken))
          this.#problems.push(`I2: a creation with token ${clientToken} that no record ever had`);
        return;
      case 'AttachNetworkInterface': {
        const place = params['TrunkNetworkInstanceId'] ?? params['InstanceId'] ?? '';
        const isMember = params['TrunkNetworkInstanceId'] !== undefined;
        if (isMember && !this.#targets.has(`${eniId} ${place}`)) {
          this.#problems.push(`I2: ${eniId} is attached to ${place}, which no record ever had as its target`);
        }
        return;
      }
      case 'DetachNetworkInterface':
        if (!replayed) this.#checkLiveOwner('detached', eniId, params['TrunkNetworkInstanceId']);
        return;
      case 'DeleteNetworkInterface':
        this.#checkLiveOwner('deleted', eniId);
    }
  }

  /**
   * I3: nobody takes the ENI of a live pod away while it is bound where the pod is.
   *
   * @param fromTrunk where it was detached from; an ENI that is not on the trunk of its record may be brought there.
   */
  #checkLiveOwner(what: string, eniId: string, fromTrunk?: string): void {
    const { world } = this.#seeded;
    if (this.#seeded.users.touched.isExcused(eniId)) return;
    for (const podEni of world.podEnis()) {
      if (!(podEni.spec.allocations ?? []).some(({ eni }) => eni.id === eniId)) continue;
      const { namespace, name, annotations, deletionTimestamp } = podEni.metadata;
      const pod = world.kube.peek('pods', { namespace, name });
      const isAlive = pod !== undefined && pod.metadata.uid === annotations?.[ANNOTATION_POD_UID];
      const isThere = fromTrunk === undefined || fromTrunk === podEni.status?.trunkENIID;
      const isHere = isAlive && isThere && nodeNameOf(pod) === podEni.spec.target?.nodeName;
      if (isHere && deletionTimestamp === undefined && podEni.status?.phase === 'Bind') {
        this.#problems.push(`I3: ${eniId} was ${what} while pod ${namespace}/${name} runs with it`);
      }
    }
  }

  /** I6: each replica keeps to the configured limit in every minute of the clock; what arrives later counts when it was sent. */
  #countCall(replica: string, action: string, timeMs: number): void {
    if (this.#rateLimit === undefined || action.startsWith('Describe')) return;
    const key = `${replica} ${action} ${Math.floor(timeMs / MINUTE_MS)}`;
    const count = (this.#calls.get(key) ?? 0) + 1;
    this.#calls.set(key, count);
    if (count === this.#rateLimit + 1) this.#problems.push(`I6: more than ${this.#rateLimit} calls: ${key}`);
  }
}

/** I7: the ledger counts no slot for a reserved address, so its ENI must be detached. */
function attachedReservations({ podEnis, cloud }: WorldState): string[] {
  const attached = new Set(cloud.enis.filter(({ attachment }) => attachment !== undefined).map(({ id }) => id));
  return podEnis
    .filter(({ status }) => status?.phase === 'Unbind')
    .flatMap((podEni) => idsOf(podEni).map((id) => ({ id, name: podEni.metadata.name })))
    .filter(({ id }) => attached.has(id))
    .map(({ id, name }) => `I7: ${name} is only reserved, and its ${id} is attached`);
}

/** What a call to the cloud is about. */
function subjectOf(params: Readonly<Record<string, unknown>>): string {
  return JSON.stringify(params['ClientToken'] ?? params['NetworkInterfaceId'] ?? '');
}

function intentOf({ metadata }: KubeObject): TrunkIntent | undefined {
  return parseTrunkIntent(metadata.annotations?.[ANNOTATION_TRUNK_INTENT]);
}
