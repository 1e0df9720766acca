import type { KubeClient } from '../kube/client.ts';
import { isAlreadyExists, isNotFound } from '../kube/errors.ts';
import { type Clock, rfc3339, type ScheduledCall } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';
import type { NodeView } from './informers.ts';
import { nodeRuntimeResource } from './resources.ts';

export type SandboxState = 'initial' | 'deleted';

/** Changes are gathered this long, so that a crowd of pods is one write. */
const GATHER_MS = 1000;
const RETRY_MS = 5000;

/**
 * The only writer of the node's NodeRuntime (reference 1.7): which pods saw ADD (`initial`) and DEL (`deleted`). Each pod has one
 * state at a time, so that the newest never has to be told from its time, which has a resolution of a second.
 */
export class RuntimeReporter {
  readonly #client: KubeClient;
  readonly #nodeName: string;
  readonly #view: Pick<NodeView, 'coreNode'>;
  readonly #clock: Clock;
  readonly #onError: (error: unknown) => void;
  /** Not yet written, by pod uid. */
  readonly #pending = new Map<string, { podId: string; state: SandboxState; atMs: number }>();
  #timer: ScheduledCall | undefined;
  #writing: Promise<void> | undefined;

  constructor(options: {
    client: KubeClient;
    nodeName: string;
    view: Pick<NodeView, 'coreNode'>;
    clock: Clock;
    onError: (error: unknown) => void;
  }) {
    this.#client = options.client;
    this.#nodeName = options.nodeName;
    this.#view = options.view;
    this.#clock = options.clock;
    this.#onError = options.onError;
  }

  /** Takes note; written soon. */
  report(pod: { namespace: string; name: string; uid: string }, state: SandboxState): void {
    if (pod.uid === '') return;
    this.#pending.set(pod.uid, { podId: `${pod.namespace}/${pod.name}`, state, atMs: this.#clock.now() });
    this.#plan(GATHER_MS);
  }

  /** Writes what is still to be written; for the end of the process. */
  async flush(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    await this.#writing;
    await this.#write();
  }

  #plan(delayMs: number): void {
    this.#timer ??= this.#clock.schedule(delayMs, () => {
      this.#timer = undefined;
      this.#writing = (this.#writing ?? Promise.resolve()).then(() => this.#write());
    });
  }

  async #write(): Promise<void> {
    if (this.#pending.size === 0) return;
    const batch = new Map(this.#pending);
    this.#pending.clear();
    try {
      const forgotten = await this.#forgotten(batch);
      const pods = Object.fromEntries([
        ...forgotten.map((uid): [string, null] => [uid, null]),
        ...[...batch].map(([uid, { podId, state, atMs }]): [string, object] => [
          uid,
          {
            podID: podId,
            status: { initial: null, deleted: null, [state]: { lastUpdateTime: rfc3339(atMs) } },
          },
        ]),
      ]);
      await this.#client.patchStatus(
        nodeRuntimeResource,
        { name: this.#nodeName },
        { type: 'merge', body: { status: { pods } } },
      );
    } catch (error) {
      this.#onError(
        new Error(`NodeRuntime ${this.#nodeName} could not be written: ${errorMessage(error)}`, { cause: error }),
      );
      for (const [uid, change] of batch) if (!this.#pending.has(uid)) this.#pending.set(uid, change);
      this.#plan(RETRY_MS);
    }
  }

  /**
   * Entries of an hour ago that say `deleted`: everybody who waits for one has seen it. Makes the object if there is none.
   */
  async #forgotten(batch: ReadonlyMap<string, unknown>): Promise<string[]> {
    const runtime = await this.#client
      .get(nodeRuntimeResource, { name: this.#nodeName })
      .catch(async (error: unknown) => {
        if (!isNotFound(error)) throw error;
        return this.#create();
      });
    const oldest = rfc3339(this.#clock.now() - 3_600_000);
    return Object.entries(runtime?.status?.pods ?? {}).flatMap(([uid, { status }]) => {
      const deletedAt = status?.['deleted']?.lastUpdateTime;
      return deletedAt !== undefined && deletedAt < oldest && !batch.has(uid) ? [uid] : [];
    });
  }

  async #create() {
    const uid = this.#view.coreNode.store.get(this.#nodeName)?.metadata.uid;
    const owner = { apiVersion: 'v1', kind: 'Node', name: this.#nodeName, uid: uid ?? '', controller: true };
    return this.#client
      .create(nodeRuntimeResource, {
        metadata: {
          name: this.#nodeName,
          labels: { name: this.#nodeName },
          ...(uid === undefined ? {} : { ownerReferences: [owner] }),
        },
        spec: {},
      })
      .catch((error: unknown) => {
        if (isAlreadyExists(error)) return undefined;
        throw error;
      });
  }
}
