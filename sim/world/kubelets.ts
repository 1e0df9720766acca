import type { Clock, ScheduledCall } from '../../src/util/clock.ts';
import type { KubeModel } from '../kube/model/model.ts';
import type { KubeObject } from '../kube/model/objects.ts';

/** How long containers take to end. */
const TERMINATION_MS = 1000;

/** Ends the pods of every node as kubelets do: a pod that is being deleted goes when its containers have ended. */
export class Kubelets {
  readonly #kube: KubeModel;
  readonly #clock: Clock;
  /** Pods whose containers are ending, by uid. */
  readonly #ending = new Map<string, ScheduledCall>();
  readonly #unsubscribe: () => void;

  constructor(kube: KubeModel, clock: Clock) {
    this.#kube = kube;
    this.#clock = clock;
    this.#unsubscribe = kube.subscribe(({ resource, after }) => {
      if (resource === 'pods' && after !== undefined) this.#look(after);
    });
  }

  /** All of them start anew and look at every pod, as after a restore of the API server. */
  restart(): void {
    for (const call of this.#ending.values()) call.cancel();
    this.#ending.clear();
    for (const pod of this.#kube.objects('pods')) this.#look(pod);
  }

  end(): void {
    this.#unsubscribe();
  }

  #look({ metadata }: KubeObject): void {
    const { namespace, name, uid, deletionTimestamp } = metadata;
    if (deletionTimestamp === undefined || this.#ending.has(uid)) return;
    const end = () => {
      this.#ending.delete(uid);
      const target = { resource: 'pods', namespace, name, subresource: '' };
      const options = { gracePeriodSeconds: 0, uid };
      try {
        this.#kube.delete(target, options, { actor: 'kubelet', nowMs: this.#clock.now() });
      } catch {
        // It is already gone, or another pod has the name.
      }
    };
    this.#ending.set(uid, this.#clock.schedule(TERMINATION_MS, end));
  }
}
