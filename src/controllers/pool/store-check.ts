import type { Informers } from '../../cluster/informers.ts';
import { type Pod, podResource } from '../../cluster/resources.ts';
import { type NodeRuntime, nodeRuntimeResource, saysPresent } from '../../crds/node-runtime.ts';
import type { KubeClient } from '../../kube/client.ts';
import { isNotFound } from '../../kube/errors.ts';
import type { Log } from '../../telemetry/log.ts';
import type { Clock } from '../../util/clock.ts';
import { errorMessage } from '../../util/errors.ts';

/** What the API server has said of a node. */
interface Said {
  pods: readonly Pod[];
  runtime: NodeRuntime | undefined;
}

export interface StoreCheckOptions {
  client: KubeClient;
  clock: Clock;
  log: Log;
  /** Ends with the term. */
  signal: AbortSignal;
  wakePool: (nodeName: string) => void;
  informers: Pick<Informers, 'pods' | 'nodeRuntimes'>;
}

/** Until the API server is asked again. */
const RETRY_MS = 1000;

/**
 * Reads the pods of a node and what the node says of their sandboxes, and compares them with the stores. Where a record is lost, only these say
 * who has an address, and a store that is late would make a pod's address look idle.
 */
export class StoreCheck {
  readonly #options: StoreCheckOptions;
  /** By node; `asked` while the answer is awaited. */
  readonly #said = new Map<string, Said | 'asked'>();

  constructor(options: StoreCheckOptions) {
    this.#options = options;
  }

  /** Nodes about which the API server was asked. */
  get size(): number {
    return this.#said.size;
  }

  /** Whether the stores show what the API server has said. Otherwise it is asked, and the answer wakes the node. */
  isPassed(name: string): boolean {
    const said = this.#said.get(name);
    if (said === 'asked') return false;
    if (said !== undefined && this.#isShown(name, said)) return true;
    this.#said.set(name, 'asked');
    void this.#ask(name, said === undefined ? 0 : RETRY_MS);
    return false;
  }

  forget(name: string): void {
    this.#said.delete(name);
  }

  async #ask(name: string, afterMs: number): Promise<void> {
    const { client, clock, log, signal, wakePool } = this.#options;
    try {
      if (afterMs > 0) await clock.sleep(afterMs, signal);
      const [{ items: pods }, runtime] = await Promise.all([
        client.list(podResource, { fieldSelector: `spec.nodeName=${name}`, signal }),
        client.get(nodeRuntimeResource, { name }, { signal }).catch((error: unknown) => {
          if (!isNotFound(error)) throw error;
          return undefined;
        }),
      ]);
      if (this.#said.get(name) === 'asked') this.#said.set(name, { pods, runtime });
    } catch (error) {
      if (signal.aborted) return;
      log.warn({ node: name, err: errorMessage(error) }, 'the pods of a node could not be read');
      await clock.sleep(RETRY_MS, signal).catch(() => undefined);
      if (this.#said.get(name) === 'asked') this.#said.delete(name);
    }
    if (!signal.aborted) wakePool(name);
  }

  #isShown(name: string, { pods, runtime }: Said): boolean {
    const { informers } = this.#options;
    const shown = new Map(informers.pods.store.byIndex('node', name).map((pod) => [pod.metadata.uid, pod]));
    const reported = informers.nodeRuntimes.store.get(name)?.status?.pods ?? {};
    const isKnown = ({ metadata, status }: Pod) => {
      const ips = shown.get(metadata.uid)?.status.podIPs;
      return ips !== undefined && status.podIPs.every((ip) => ips.includes(ip));
    };
    const present = Object.entries(runtime?.status?.pods ?? {}).filter(([, entry]) => saysPresent(entry));
    return pods.every(isKnown) && present.every(([uid]) => reported[uid] !== undefined);
  }
}
