import type { Clock } from '../../src/util/clock.ts';
import type { WriteRecord } from '../kube/model/journal.ts';
import type { KubeModel } from '../kube/model/model.ts';
import type { KubeObject } from '../kube/model/objects.ts';

/** How long containers take to end. */
const TERMINATION_MS = 1000;

/** Ends pods as the kubelets of nodes do that have no model of their own: a pod that is being deleted goes when its containers have ended. */
export class Kubelets {
  readonly #kube: KubeModel;
  readonly #clock: Clock;
  readonly #hasOwn: (nodeName: string) => boolean;
  readonly #ending = new Set<string>();
  readonly #unsubscribe: () => void;

  /** @param hasOwn whether a node has a kubelet of its own */
  constructor(kube: KubeModel, clock: Clock, hasOwn: (nodeName: string) => boolean) {
    this.#kube = kube;
    this.#clock = clock;
    this.#hasOwn = hasOwn;
    this.#unsubscribe = kube.subscribe((write) => this.#look(write));
  }

  end(): void {
    this.#unsubscribe();
  }

  #look({ resource, key, after }: WriteRecord): void {
    if (resource !== 'pods' || after?.metadata.deletionTimestamp === undefined) return;
    const { uid } = after.metadata;
    if (uid === undefined || this.#ending.has(uid) || this.#hasOwn(nodeNameOf(after))) return;
    this.#ending.add(uid);
    this.#clock.schedule(TERMINATION_MS, () => {
      this.#ending.delete(uid);
      const [namespace, name = ''] = key.split('/');
      const target = { resource: 'pods', namespace, name, subresource: '' };
      const options = { gracePeriodSeconds: 0, uid };
      try {
        this.#kube.delete(target, options, { actor: 'kubelet', nowMs: this.#clock.now() });
      } catch {
        // It is already gone, or another pod has the name.
      }
    });
  }
}

/** The node of a pod; empty for one without a node. */
export function nodeNameOf({ spec }: KubeObject): string {
  const name = typeof spec === 'object' && spec !== null && 'nodeName' in spec ? spec.nodeName : undefined;
  return typeof name === 'string' ? name : '';
}
