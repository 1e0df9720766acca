import * as z from 'zod';
import { sameSecurityGroups } from '../../../src/allocation/security-groups.ts';
import { parseTrunkIntent, type TrunkIntent } from '../../../src/allocation/trunk.ts';
import { ANNOTATION_POD_UID, ANNOTATION_TRUNK_INTENT, TAG_ATTEMPT } from '../../../src/crds/names.ts';
import type { TerwayNode } from '../../../src/crds/node.ts';
import type { PodEni } from '../../../src/crds/pod-eni.ts';
import { isRecord } from '../../../src/util/json.ts';
import type { EniSnapshot } from '../../cloud/model/snapshot.ts';
import type { WriteRecord } from '../../kube/model/journal.ts';
import type { KubeObject } from '../../kube/model/objects.ts';
import type { CloudCall } from '../cloud-link.ts';
import { recordedIn } from '../invariants.ts';
import { PODENIS } from '../world.ts';
import type { SeededWorld } from './seeded-world.ts';

/** `collector.minimumAge`, by default. */
const MINIMUM_AGE_MS = 10 * 60_000;
/** `FRESH_MS` of src/allocation/interface-step.ts, and what passes between decision and call. */
const FRESH_MS = 6000;
/** The answer to a read and the write after it may take so long together. */
const LONGEST_CALL_MS = 15_000;

/** Watches for what is done because of something that is no longer so. */
export class StaleWitness {
  readonly #seeded: SeededWorld;
  /** When pods went, by uid. */
  readonly #gone = new Map<string, number>();
  /** When replicas last asked the cloud for all ENIs, or for one: by `replica`, or `replica eniId`. */
  readonly #asked = new Map<string, number>();
  readonly #problems: string[] = [];
  readonly #unsubscribe: () => void;

  constructor(seeded: SeededWorld) {
    this.#seeded = seeded;
    this.#unsubscribe = seeded.world.kube.subscribe((write) => this.#onWrite(write));
  }

  /** Violations since the last call. */
  look(): string[] {
    return this.#problems.splice(0);
  }

  end(): void {
    this.#unsubscribe();
  }

  #onWrite({ resource, key, actor, before, after, timeMs }: WriteRecord): void {
    if (resource === 'pods' && before !== undefined && after === undefined) this.#gone.set(before.metadata.uid, timeMs);
    if (resource !== PODENIS || before === undefined || !actor.startsWith('replica')) return;
    const podEni = this.#seeded.world.podEni(key);
    if (podEni === undefined) return;
    if (phaseOf(after) === 'Binding' && phaseOf(before) !== 'Binding') this.#checkNextPod(key, podEni, timeMs);
    if (after !== undefined && isGivenUp(after) && !isGivenUp(before)) this.#checkLastPod(key, podEni, timeMs);
  }

  /** I3: a record is given up when its pod is gone, and a read of the API server says so. */
  #checkLastPod(key: string, { metadata }: PodEni, nowMs: number): void {
    const [namespace, name = ''] = key.split('/');
    const pod = this.#seeded.world.kube.peek('pods', { namespace, name });
    if (pod === undefined || pod.metadata.uid !== metadata.annotations?.[ANNOTATION_POD_UID]) return;
    const forMs = nowMs - Date.parse(pod.metadata.creationTimestamp ?? '');
    if (forMs > LONGEST_CALL_MS)
      this.#problems.push(`I3: PodENI ${name} is given up, and its pod has been there for ${forMs / 1000} s`);
  }

  /** I4: a reservation goes to a pod that lives, and a read of the API server says so. */
  #checkNextPod(key: string, { metadata }: PodEni, nowMs: number): void {
    const [namespace, name = ''] = key.split('/');
    const uid = metadata.annotations?.[ANNOTATION_POD_UID] ?? '';
    if (this.#seeded.world.kube.peek('pods', { namespace, name })?.metadata.uid === uid) return;
    const forMs = nowMs - (this.#gone.get(uid) ?? nowMs);
    if (forMs > LONGEST_CALL_MS) this.#problems.push(`I4: ${name} is bound for a pod that went ${forMs / 1000} s ago`);
  }

  /** A replica sends a call. */
  onSend({ replica, action, params }: CloudCall): void {
    const nowMs = this.#seeded.world.clock.monotonicMs();
    const id = params['NetworkInterfaceId'];
    if (action === 'DescribeNetworkInterfaces') {
      if (Array.isArray(id)) for (const each of id) this.#asked.set(`${replica} ${each}`, nowMs);
      else this.#asked.set(replica, nowMs);
    }
    const eni = typeof id === 'string' ? this.#seeded.world.cloud.eni(id) : undefined;
    const isModify = action === 'ModifyNetworkInterfaceAttribute';
    const isRemoval = action === 'DetachNetworkInterface' || action === 'DeleteNetworkInterface';
    if (eni === undefined || !(isModify || isRemoval)) return;
    const podEni = this.#seeded.world.podEnis().find((each) => idsOf(each).includes(eni.id));
    if (isModify) this.#checkGroups(podEni, eni, params['SecurityGroupId']);
    else if (podEni === undefined) this.#checkOrphan(eni);
    else this.#checkPersisted(podEni, eni, action);
    const askedMs = Math.max(...[replica, `${replica} ${eni.id}`].map((what) => this.#asked.get(what) ?? 0));
    this.#checkSight(eni, nowMs - askedMs);
  }

  /** I2: what is taken away from a record was given up in it before, or is not where the record wants it. */
  #checkPersisted({ metadata, spec, status }: PodEni, eni: EniSnapshot, action: string): void {
    if (metadata.deletionTimestamp !== undefined || status?.phase === 'Detaching') return;
    const isElsewhere = eni.attachment?.trunk?.eniId !== spec.target?.trunkENIID;
    if (action !== 'DetachNetworkInterface' || !isElsewhere)
      this.#problems.push(`I2: ${action} of ${eni.id}, which PodENI ${metadata.name} keeps`);
  }

  /** I2: an ENI gets the security groups that its record has; one that pods share, or that is to be a trunk, those of its node. */
  #checkGroups(podEni: PodEni | undefined, { id }: EniSnapshot, given: unknown): void {
    const node = this.#seeded.world.state().nodes.find((each) => {
      return each.status?.networkInterfaces?.[id] !== undefined || trunkIntentOf(each)?.eniID === id;
    });
    // A record without rules of its own has those of the intent.
    const shared = node?.spec.eni?.securityGroupIDs ?? (node && trunkIntentOf(node)?.securityGroupIDs);
    const ofNode = podEni === undefined ? shared : undefined;
    const recorded = podEni?.spec.allocations?.find(({ eni }) => eni.id === id)?.eni.securityGroupIDs ?? ofNode ?? [];
    const groups = z.array(z.string()).parse(given);
    if (!sameSecurityGroups(recorded, groups))
      this.#problems.push(`I2: ${id} gets the security groups ${groups.join()}, the record says ${recorded.join()}`);
  }

  /** I2 and I3: nothing is changed or taken away that was not looked at just before, as the answer to its creation shows it, too. */
  #checkSight({ id, creationTimeMs }: EniSnapshot, forMs: number): void {
    const ageMs = this.#seeded.world.clock.now() - creationTimeMs;
    if (this.#seeded.shiftsClocks || Math.min(forMs, ageMs - LONGEST_CALL_MS) <= FRESH_MS) return;
    this.#problems.push(`I3: ${id} is changed or taken away ${forMs / 1000} s after the last look at it`);
  }

  /** I3: an ENI that no object names is left alone until it is so old as the documentation says. */
  #checkOrphan(eni: EniSnapshot): void {
    const { world, users } = this.#seeded;
    if (users.strippedWhileLeaving.has(eni.id)) return;
    const { ids, tokens } = recordedIn(world.state());
    if (ids.has(eni.id) || tokens.has(eni.tags[TAG_ATTEMPT] ?? '')) return;
    // The cloud says when it was created in whole seconds.
    const ageMs = world.clock.now() - Math.floor(eni.creationTimeMs / 1000) * 1000;
    if (ageMs < MINIMUM_AGE_MS)
      this.#problems.push(`I3: ${eni.id}, which no object names, is released at the age of ${ageMs / 1000} s`);
  }
}

function phaseOf(object: KubeObject | undefined): unknown {
  return isRecord(object?.['status']) ? object['status']['phase'] : undefined;
}

function isGivenUp(object: KubeObject): boolean {
  return object.metadata.deletionTimestamp !== undefined || phaseOf(object) === 'Detaching';
}

function idsOf({ spec }: PodEni): string[] {
  return (spec.allocations ?? []).map(({ eni }) => eni.id);
}

function trunkIntentOf({ metadata }: TerwayNode): TrunkIntent | undefined {
  return parseTrunkIntent(metadata.annotations?.[ANNOTATION_TRUNK_INTENT]);
}
