import type { Clock, ScheduledCall } from '../../src/util/clock.ts';
import type { KubeModel } from '../kube/model/model.ts';
import type { KubeObject } from '../kube/model/objects.ts';

/** How long containers take to end. */
const TERMINATION_MS = 1000;

/** Ends pods as the kubelets of nodes do that have no model of their own: a pod that is being deleted goes when its containers have ended. */
export class Kubelets {
  readonly #kube: KubeModel;
  readonly #clock: Clock;
  readonly #hasOwn: (nodeName: string) => boolean;
  /** Pods whose containers are ending, by uid. */
  readonly #ending = new Map<string, ScheduledCall>();
  readonly #unsubscribe: () => void;

  /** @param hasOwn whether a node has a kubelet of its own */
  constructor(kube: KubeModel, clock: Clock, hasOwn: (nodeName: string) => boolean) {
    this.#kube = kube;
    this.#clock = clock;
    this.#hasOwn = hasOwn;
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

  #look(pod: KubeObject): void {
    const { namespace, name, uid, deletionTimestamp } = pod.metadata;
    if (deletionTimestamp === undefined || this.#ending.has(uid) || this.#hasOwn(nodeNameOf(pod))) return;
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

/** The node of a pod; empty for one without a node. */
export function nodeNameOf({ spec }: KubeObject): string {
  const name = typeof spec === 'object' && spec !== null && 'nodeName' in spec ? spec.nodeName : undefined;
  return typeof name === 'string' ? name : '';
}
