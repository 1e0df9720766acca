import { ANNOTATION_REPORTED_FOR, ANNOTATION_REPORTS_RELEASE } from '../crds/names.ts';
import { type NodeRuntime, nodeRuntimeResource, saysDeleted } from '../crds/node-runtime.ts';
import type { KubeClient } from '../kube/client.ts';
import { isAlreadyExists, isNotFound } from '../kube/errors.ts';
import { type Clock, rfc3339, type ScheduledCall } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';
import type { NodeView } from './informers.ts';

export type SandboxState = 'initial' | 'deleted';

/** The pod that a report is about. */
export interface ReportedPod {
  namespace: string;
  name: string;
  uid: string;
}

/** Changes are batched for this long, so that many pods are one write. Releases wait for `deleted`; nothing waits for `initial`. */
const GATHER_MS = { initial: 1000, deleted: 50 };
const RETRY_MS = 5000;
/** A reader that waits for `deleted` sees it at once; a PodENI that leaves later is reported again. */
const KEEP_DELETED_MS = 300_000;

/** The promises of this agent; nothing is reported yet. */
const NEW_ANNOTATIONS = { [ANNOTATION_REPORTS_RELEASE]: 'true', [ANNOTATION_REPORTED_FOR]: '' };

/**
 * The only writer of the node's NodeRuntime: which pods saw ADD (`initial`) and DEL (`deleted`). Each pod has one
 * state at a time, so that readers need not compare times, which have a resolution of a second. An annotation says that this
 * agent reports, so that the control plane waits for it.
 */
export class RuntimeReporter {
  readonly #client: KubeClient;
  readonly #nodeName: string;
  readonly #view: Pick<NodeView, 'coreNode'>;
  readonly #clock: Clock;
  readonly #isUsed: (pod: ReportedPod) => boolean;
  readonly #hasSandbox: (uid: string) => boolean;
  readonly #withSandbox: () => readonly ReportedPod[];
  readonly #hasAddress: (uid: string) => boolean;
  readonly #recordUid: () => string | undefined;
  readonly #onError: (error: unknown) => void;
  /** Not yet written, by pod uid. */
  readonly #pending = new Map<string, { podId: string; state: SandboxState; atMs: number }>();
  /**
   * Pods whose latest state is `deleted`, written or not, by uid, with its time. A write drops those that are older than
   * KEEP_DELETED_MS, here and in the object.
   */
  readonly #deleted = new Map<string, { podId: string; atMs: number }>();
  /** Pods whose latest state is another, written or not, by uid. */
  readonly #initial = new Set<string>();
  #isPrepared = false;
  /** What is still to be said by {@link ANNOTATION_REPORTED_FOR}. */
  #reportedFor: string | undefined;
  #isClosed = false;
  #timer: { call: ScheduledCall; dueMs: number } | undefined;
  #writing: Promise<void> = Promise.resolve();

  /**
   * @param options.isUsed whether the pod has a sandbox, or may get one
   * @param options.hasSandbox whether the pod with this uid has one
   * @param options.withSandbox pods that have one
   * @param options.hasAddress whether the Node CR gives it an address, so that `deleted` must still be there to be read
   * @param options.recordUid of the Node CR, once every sandbox has its record here
   */
  constructor(options: {
    client: KubeClient;
    nodeName: string;
    view: Pick<NodeView, 'coreNode'>;
    clock: Clock;
    isUsed: (pod: ReportedPod) => boolean;
    hasSandbox: (uid: string) => boolean;
    withSandbox: () => readonly ReportedPod[];
    hasAddress: (uid: string) => boolean;
    recordUid: () => string | undefined;
    onError: (error: unknown) => void;
  }) {
    this.#client = options.client;
    this.#nodeName = options.nodeName;
    this.#view = options.view;
    this.#clock = options.clock;
    this.#isUsed = options.isUsed;
    this.#hasSandbox = options.hasSandbox;
    this.#withSandbox = options.withSandbox;
    this.#hasAddress = options.hasAddress;
    this.#recordUid = options.recordUid;
    this.#onError = options.onError;
  }

  /** Pods that are to be reported, or that the object says have a sandbox. */
  get size(): number {
    return new Set([...this.#pending.keys(), ...this.#initial]).size;
  }

  /**
   * Makes the object and marks it, soon, and corrects what it says: sandboxes are gone that it still names. Call once the node is
   * known, and again when the API server may have been restored from a backup.
   */
  start(): void {
    // It may have been read before that.
    this.#isPrepared = false;
    this.#plan(0);
  }

  /** Records the state; it is written soon. */
  report({ namespace, name, uid }: ReportedPod, state: SandboxState): void {
    if (uid === '') return;
    const atMs = this.#clock.now();
    const podId = `${namespace}/${name}`;
    this.#pending.set(uid, { podId, state, atMs });
    if (state === 'deleted') {
      this.#deleted.set(uid, { podId, atMs });
      this.#initial.delete(uid);
    } else {
      this.#deleted.delete(uid);
      this.#initial.add(uid);
    }
    this.#plan(GATHER_MS[state]);
  }

  /** Reports that the pod has no sandbox and will get none, unless that was reported already. */
  released(pod: ReportedPod): void {
    if (!this.isReleased(pod.uid)) this.report(pod, 'deleted');
  }

  /** Whether that is reported, or is about to be. */
  isReleased(uid: string): boolean {
    return this.#deleted.has(uid);
  }

  /** The pod is gone. Its last sandbox may have gone before it, when there was to be another one. */
  gone(pod: ReportedPod): void {
    if (this.#initial.has(pod.uid) && !this.#hasSandbox(pod.uid)) this.report(pod, 'deleted');
  }

  /**
   * Before a pod gets its network: what says that its sandbox is gone is taken back first, or its address could be given away
   * under the new one.
   *
   * @throws Error when that could not be written, or the pod is gone: readers may have given its address away since
   */
  async takeBack(pod: ReportedPod): Promise<void> {
    // An earlier attempt may not have been written.
    if (this.#isPrepared && !this.#deleted.has(pod.uid) && !this.#pending.has(pod.uid)) return;
    if (this.#deleted.has(pod.uid)) {
      if (!this.#isUsed(pod)) throw new Error(`pod ${pod.namespace}/${pod.name} with uid ${pod.uid} is gone`);
      this.report(pod, 'initial');
    }
    await this.flush();
    if (this.#deleted.has(pod.uid)) return this.takeBack(pod);
    if (this.#isPrepared && !this.#pending.has(pod.uid)) return;
    throw new Error(
      `NodeRuntime ${this.#nodeName} could not be written, so that it may say that the earlier sandbox of the pod is gone; the log of the node agent has the reason`,
    );
  }

  /** Writes what is still to be written. */
  async flush(): Promise<void> {
    this.#timer?.call.cancel();
    this.#timer = undefined;
    await this.#queueWrite();
  }

  /** Writes once more what is still to be written; what fails is not tried again: the next agent of this node says it. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.flush();
  }

  #plan(delayMs: number): void {
    if (this.#isClosed) return;
    const dueMs = this.#clock.monotonicMs() + delayMs;
    if (this.#timer !== undefined && this.#timer.dueMs <= dueMs) return;
    this.#timer?.call.cancel();
    const call = this.#clock.schedule(delayMs, () => {
      this.#timer = undefined;
      void this.#queueWrite();
    });
    this.#timer = { call, dueMs };
  }

  /** One write at a time: reports that arrive meanwhile are written together afterwards. */
  #queueWrite(): Promise<void> {
    this.#writing = this.#writing.then(() => this.#write());
    return this.#writing;
  }

  async #write(): Promise<void> {
    if (this.#isPrepared && this.#pending.size === 0 && this.#reportedFor === undefined) return;
    let batch = new Map(this.#pending);
    try {
      if (!this.#isPrepared) await this.#prepare();
      batch = new Map(this.#pending);
      this.#pending.clear();
      const forgotten = this.#forgettable();
      if (batch.size + forgotten.length > 0) {
        await this.#patch(batch, forgotten);
        for (const uid of forgotten) this.#deleted.delete(uid);
      }
      await this.#sayReportedFor();
    } catch (error) {
      if (isNotFound(error)) this.#isPrepared = false;
      this.#onError(
        new Error(`NodeRuntime ${this.#nodeName} could not be written: ${errorMessage(error)}`, { cause: error }),
      );
      for (const [uid, change] of batch) if (!this.#pending.has(uid)) this.#pending.set(uid, change);
      this.#plan(RETRY_MS);
    }
  }

  async #patch(
    batch: ReadonlyMap<string, { podId: string; state: SandboxState; atMs: number }>,
    forgotten: readonly string[],
  ): Promise<void> {
    const pods = Object.fromEntries([
      ...forgotten.map((uid): [string, null] => [uid, null]),
      ...[...batch].map(([uid, { podId, state, atMs }]): [string, object] => [
        uid,
        { podID: podId, status: { initial: null, deleted: null, [state]: { lastUpdateTime: rfc3339(atMs) } } },
      ]),
    ]);
    await this.#client.patchStatus(
      nodeRuntimeResource,
      { name: this.#nodeName },
      { type: 'merge', body: { status: { pods } } },
    );
  }

  /** When all that belongs to it is written. */
  async #sayReportedFor(): Promise<void> {
    const uid = this.#reportedFor;
    if (uid === undefined) return;
    const metadata = { annotations: { [ANNOTATION_REPORTED_FOR]: uid } };
    await this.#client.patch(nodeRuntimeResource, { name: this.#nodeName }, { type: 'merge', body: { metadata } });
    if (this.#reportedFor === uid) this.#reportedFor = undefined;
  }

  #forgettable(): string[] {
    const oldestMs = this.#clock.now() - KEEP_DELETED_MS;
    return [...this.#deleted].flatMap(([uid, { atMs }]) => (atMs < oldestMs && !this.#hasAddress(uid) ? [uid] : []));
  }

  /** Makes or marks the object, and learns what it says: words of an earlier process of this agent, or of a restored backup. */
  async #prepare(): Promise<void> {
    const key = { name: this.#nodeName };
    const recordUid = this.#recordUid();
    const found = await this.#client.get(nodeRuntimeResource, key).catch((error: unknown) => {
      if (isNotFound(error)) return undefined;
      throw error;
    });
    const runtime = found ?? (await this.#create());
    const { annotations = {} } = runtime.metadata;
    const said = annotations[ANNOTATION_REPORTED_FOR];
    if (annotations[ANNOTATION_REPORTS_RELEASE] !== 'true' || said === undefined) {
      const metadata = { annotations: { ...NEW_ANNOTATIONS, [ANNOTATION_REPORTED_FOR]: said ?? '' } };
      await this.#client.patch(nodeRuntimeResource, key, { type: 'merge', body: { metadata } });
    }
    this.#correct(runtime);
    this.#reportedFor = said === recordUid ? undefined : recordUid;
    this.#isPrepared = true;
  }

  #correct({ status }: NodeRuntime): void {
    const said = status?.pods ?? {};
    for (const uid of this.#initial) if (!this.#pending.has(uid)) this.#initial.delete(uid);
    for (const uid of new Set([...Object.keys(said), ...this.#deleted.keys()])) {
      if (this.#pending.has(uid)) continue;
      const entry = said[uid];
      const podId = entry?.podID ?? this.#deleted.get(uid)?.podId ?? '';
      const [namespace = '', name = ''] = podId.split('/');
      const pod = { namespace, name, uid };
      if (saysDeleted(entry) && !this.#hasSandbox(uid)) {
        const atMs = Date.parse(entry?.status?.['deleted']?.lastUpdateTime ?? '') || this.#clock.now();
        this.#deleted.set(uid, { podId, atMs });
        continue;
      }
      this.#deleted.delete(uid);
      if (!this.#isUsed(pod)) this.report(pod, 'deleted');
      else if (saysDeleted(entry)) this.report(pod, 'initial');
      else if (entry !== undefined) this.#initial.add(uid);
    }
    // A restored backup, or an object that somebody deleted, knows nothing of pods that came later.
    for (const pod of this.#withSandbox()) {
      if (said[pod.uid] === undefined && !this.#pending.has(pod.uid)) this.report(pod, 'initial');
    }
  }

  async #create(): Promise<NodeRuntime> {
    const uid = this.#view.coreNode.store.get(this.#nodeName)?.metadata.uid;
    const owner = { apiVersion: 'v1', kind: 'Node', name: this.#nodeName, uid: uid ?? '', controller: true };
    return this.#client
      .create(nodeRuntimeResource, {
        metadata: {
          name: this.#nodeName,
          labels: { name: this.#nodeName },
          annotations: NEW_ANNOTATIONS,
          ...(uid === undefined ? {} : { ownerReferences: [owner] }),
        },
        spec: {},
      })
      .catch((error: unknown) => {
        if (isAlreadyExists(error)) return this.#client.get(nodeRuntimeResource, { name: this.#nodeName });
        throw error;
      });
  }
}
