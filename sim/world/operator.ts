import { isFixed } from '../../src/allocation/retention.ts';
import { type PodEni, podEniSchema } from '../../src/crds/pod-eni.ts';
import type { KubeObject } from '../kube/model/objects.ts';
import { PODENIS, type World } from './world.ts';

/** What an operator does about a system that asks for it, as the documentation says. */
export class Operator {
  readonly #world: World;
  #isReleasing = false;

  constructor(world: World) {
    this.#world = world;
  }

  /** One look at what the control plane reports. */
  attend(): void {
    this.#replaceLost();
    this.#overrideBrake();
  }

  /** `EniLost`: delete the pod, or the PodENI of a fixed address (docs/troubleshooting.md). */
  #replaceLost(): void {
    for (const { metadata, status } of this.#world.podEnis()) {
      const ready = status?.conditions?.find(({ type }) => type === 'Ready');
      if (ready?.reason !== 'EniLost' || metadata.deletionTimestamp !== undefined) continue;
      this.giveUp(`${metadata.namespace}/${metadata.name}`);
    }
  }

  /** Deletes the pod and the PodENI of a name. */
  giveUp(key: string): void {
    const { kube, clock } = this.#world;
    const [namespace, name = ''] = key.split('/');
    const target = { namespace, name, subresource: '' };
    const caller = { actor: 'user', nowMs: clock.now() };
    if (kube.peek('pods', target) !== undefined) this.#world.deletePod(key, 0);
    if (kube.peek(PODENIS, target) !== undefined) kube.delete({ resource: PODENIS, ...target }, {}, caller);
  }

  /** `implausibly many ENIs look orphaned`: `kubectl terway gc --apply --override-brake` (docs/operate.md). */
  #overrideBrake(): void {
    if (this.#isReleasing) return;
    for (const { term } of this.#world.replicas) {
      if (term?.collector.latest?.braked !== true) continue;
      this.#isReleasing = true;
      const end = () => {
        this.#isReleasing = false;
      };
      // A term that ends meanwhile leaves the rest to the next look.
      term.collector.release(true).then(end, end);
    }
  }
}

/** PodENIs of fixed addresses, as an operator saves them (docs/operate.md). */
export function savedReservations(world: World): KubeObject[] {
  return world.kube.objects(PODENIS).filter((object) => {
    const podEni = podEniSchema.parse(object);
    return isFixed(podEni) && podEni.metadata.deletionTimestamp === undefined;
  });
}

/**
 * Creates what the backup lacks of the saved PodENIs, without status, uid and version (docs/operate.md).
 *
 * @returns the new PodENIs
 */
export function recreate(world: World, saved: readonly KubeObject[]): PodEni[] {
  return saved.flatMap(({ metadata, spec }) => {
    const { namespace, name, labels, annotations, finalizers } = metadata;
    if (world.kube.peek(PODENIS, { namespace, name }) !== undefined) return [];
    return [
      podEniSchema.parse(
        world.create(PODENIS, namespace, { metadata: { name, labels, annotations, finalizers }, spec }),
      ),
    ];
  });
}
