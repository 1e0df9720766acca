import type { ApiClient } from '../test/cluster/api.ts';
import { type WatchEvent, watch } from '../test/cluster/watch.ts';
import { Changes, type WaitOptions } from './changes.ts';
import { isBound, isRunning, type Pod, type PodEni, type PodRecord, podEniSchema, podSchema } from './pod-record.ts';

const NAMESPACE = 'default';

/** Keeps, by name, every pod and PodENI of the namespace, also for a while those that are gone. */
export class PodBook {
  readonly changes = new Changes();
  readonly #api: ApiClient;
  readonly #records = new Map<string, PodRecord>();

  constructor(api: ApiClient) {
    this.#api = api;
  }

  /** Follows the cluster until the signal aborts. @throws what the watch throws */
  async follow(signal: AbortSignal): Promise<void> {
    const pods = `/api/v1/namespaces/${NAMESPACE}/pods`;
    const podEnis = `/apis/network.alibabacloud.com/v1beta1/namespaces/${NAMESPACE}/podenis`;
    await Promise.all([
      this.#read(watch(this.#api, pods, { schema: podSchema, signal }), (name, pod) => this.#seePod(name, pod)),
      this.#read(watch(this.#api, podEnis, { schema: podEniSchema, signal }), (name, podEni) =>
        this.#seePodEni(name, podEni),
      ),
    ]);
  }

  /** In the order of their names; those of the `app` only, if given. */
  records(app?: string): PodRecord[] {
    return [...this.#records.values()]
      .filter((record) => app === undefined || record.app === app)
      .sort((left, right) => left.name.localeCompare(right.name));
  }

  record(name: string): PodRecord | undefined {
    return this.#records.get(name);
  }

  /** Resolves with the address of the PodENI once it is bound for the pod of this uid: what a CNI plugin would wait for. */
  untilAddress(name: string, uid: string, signal: AbortSignal): Promise<string> {
    return this.changes.until(
      () => {
        const record = this.#records.get(name);
        if (record?.pod?.metadata.uid !== uid || !isBound(record)) return undefined;
        return record.podEni?.spec.allocations?.[0]?.ipv4;
      },
      { signal },
    );
  }

  /** Forgets pods that are gone together with their PodENI. */
  forgetGone(): void {
    for (const [name, record] of this.#records) {
      if (record.pod === undefined && record.podEni === undefined) this.#records.delete(name);
    }
  }

  /** Resolves when `count` pods of the app are in Bind and Running, with their records. */
  untilServed(app: string, count: number, options: WaitOptions): Promise<PodRecord[]> {
    return this.changes.until(() => {
      const served = this.records(app).filter(isRunning);
      return served.length === count ? served : undefined;
    }, options);
  }

  async #read<T extends Pod | PodEni>(
    events: AsyncIterable<WatchEvent<T>>,
    see: (name: string, object: T | undefined) => void,
  ): Promise<void> {
    const known = new Set<string>();
    for await (const event of events) {
      if (event.type === 'LISTED') {
        const listed = new Set(event.objects.map((object) => object.metadata.name));
        for (const name of known) if (!listed.has(name)) see(name, undefined);
        known.clear();
        for (const object of event.objects) {
          known.add(object.metadata.name);
          see(object.metadata.name, object);
        }
      } else {
        const { name } = event.object.metadata;
        if (event.type === 'DELETED') known.delete(name);
        else known.add(name);
        see(name, event.type === 'DELETED' ? undefined : event.object);
      }
      this.changes.notify();
    }
  }

  #seePod(name: string, pod: Pod | undefined): void {
    const record = this.#record(name);
    if (pod !== undefined && pod.metadata.uid !== record.pod?.metadata.uid) {
      record.app = pod.metadata.labels['app'] ?? '';
      record.createdMs = performance.now();
      record.boundMs = undefined;
      record.runningMs = undefined;
    }
    record.pod = pod;
    this.#noteProgress(record);
  }

  #seePodEni(name: string, podEni: PodEni | undefined): void {
    const record = this.#record(name);
    record.podEni = podEni;
    record.lastPodEni = podEni ?? record.lastPodEni;
    this.#noteProgress(record);
  }

  /** Two watches: the PodENI may be told of before its pod. */
  #record(name: string): PodRecord {
    const known = this.#records.get(name);
    if (known !== undefined) return known;
    const record = {
      name,
      app: '',
      pod: undefined,
      podEni: undefined,
      lastPodEni: undefined,
      createdMs: performance.now(),
      boundMs: undefined,
      runningMs: undefined,
    };
    this.#records.set(name, record);
    return record;
  }

  #noteProgress(record: PodRecord): void {
    if (record.boundMs === undefined && isBound(record)) record.boundMs = performance.now();
    if (record.runningMs === undefined && isRunning(record)) record.runningMs = performance.now();
  }
}
