import * as z from 'zod';
import { pauseQuietly } from '../../tools/machine/poll.ts';
import type { ApiClient } from './api.ts';
import { ApiStatusError } from './errors.ts';
import { ignoreMissing } from './nodes.ts';

const stringMapSchema = z.record(z.string(), z.string()).default({});
const containersSchema = z.array(z.object({ name: z.string(), image: z.string().default('') })).default([]);

/** The fields of a Pod that hollow nodes and their hooks need. */
export const hollowPodSchema = z.object({
  metadata: z.object({
    name: z.string(),
    namespace: z.string(),
    uid: z.string(),
    labels: stringMapSchema,
    annotations: stringMapSchema,
    deletionTimestamp: z.string().optional(),
  }),
  spec: z.object({
    nodeName: z.string(),
    hostNetwork: z.boolean().default(false),
    containers: containersSchema,
    initContainers: containersSchema,
  }),
  status: z.object({ phase: z.string().optional(), podIP: z.string().optional() }).default({}),
});
export type HollowPod = z.infer<typeof hollowPodSchema>;

/** Test hooks for pods on hollow nodes. */
export interface PodHooks {
  /**
   * Returns the pod's address once its network is ready: the result that a CNI plugin would give. Called again until it returns
   * something other than undefined; a rejection counts as undefined. The signal aborts when the pod is being deleted. Not called
   * for host-network pods. Default: ready at once, with an address in 198.18.0.0/16.
   */
  podReady?: (pod: HollowPod, signal: AbortSignal) => Promise<{ ip: string } | undefined> | { ip: string } | undefined;
  /** Time between calls of `podReady`. Default: 200 ms. */
  podReadyRetryMs?: number;
  /** Awaited before a pod that is being deleted is reported as stopped, like the DEL of a CNI plugin. */
  podStopping?: (pod: HollowPod, signal: AbortSignal) => Promise<void>;
  /**
   * Whether a deleted pod is first reported as Failed or Succeeded, as the kubelet does, and only then removed. Costs one request
   * per pod. Default: true.
   */
  reportTerminalPhase?: boolean;
}

export interface PodDriverContext {
  client: ApiClient;
  hooks: PodHooks;
  signal: AbortSignal;
  log: (line: string) => void;
  isTransient: (error: unknown) => boolean;
  /** Address of a managed node; undefined for other nodes. */
  nodeIp: (node: string) => string | undefined;
}

/** Progress of the pod. It only moves forward, even if a late event shows an older state. */
type Stage = 'pending' | 'running' | 'gone';

const RETRY_MS = 500;

/** Takes one pod through its life. */
export class PodDriver {
  readonly nodeName: string;
  readonly #context: PodDriverContext;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  /** Aborts work that must stop when the pod is being deleted. */
  readonly #deleting = new AbortController();
  #pod: HollowPod;
  #stage: Stage;
  #busy = false;
  #work: Promise<void> = Promise.resolve();

  constructor(pod: HollowPod, context: PodDriverContext) {
    this.nodeName = pod.spec.nodeName;
    this.#context = context;
    this.#signal = AbortSignal.any([context.signal, this.#stop.signal]);
    this.#pod = pod;
    this.#stage = pod.status.phase === 'Pending' || pod.status.phase === undefined ? 'pending' : 'running';
    if (pod.metadata.deletionTimestamp !== undefined) this.#deleting.abort();
  }

  /** Stores a newer state of the pod. */
  observe(pod: HollowPod): void {
    this.#pod = pod;
    if (pod.metadata.deletionTimestamp !== undefined) this.#deleting.abort();
    this.wake();
  }

  /** Continues with the pod, unless that is under way. */
  wake(): void {
    if (this.#busy) return;
    this.#busy = true;
    this.#work = this.#run();
  }

  /** Resolves when no more work is done for the pod. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#work;
  }

  async #run(): Promise<void> {
    try {
      while (!this.#signal.aborted && (await this.#step()));
    } finally {
      this.#busy = false;
    }
  }

  /** @returns false when there is nothing to do until something changes. */
  async #step(): Promise<boolean> {
    const nodeIp = this.#context.nodeIp(this.nodeName);
    const deleting = this.#deleting.signal.aborted;
    if (nodeIp === undefined || this.#stage === 'gone' || (this.#stage === 'running' && !deleting)) return false;
    try {
      if (deleting) await this.#finish();
      else await this.#begin(nodeIp);
    } catch (error) {
      if (this.#signal.aborted) return false;
      if (error instanceof ApiStatusError && error.status === 404) {
        this.#stage = 'gone';
        return false;
      }
      // 409: somebody else wrote the pod at the same time, or a new pod has its name. The watch will tell.
      const expected = this.#context.isTransient(error) || (error instanceof ApiStatusError && error.status === 409);
      if (!expected) this.#context.log(`pod ${this.#name}: ${String(error)}`);
      await pauseQuietly(RETRY_MS, this.#signal);
    }
    return true;
  }

  /** Brings the pod to Running, or waits a little when its network is not ready. */
  async #begin(nodeIp: string): Promise<void> {
    const signal = AbortSignal.any([this.#signal, this.#deleting.signal]);
    const ip = this.#pod.spec.hostNetwork ? nodeIp : await this.#askForAddress(signal);
    if (signal.aborted) return;
    if (ip === undefined) {
      await pauseQuietly(this.#context.hooks.podReadyRetryMs ?? 200, signal);
      return;
    }
    const now = timestamp();
    const condition = (type: string) => ({ type, status: 'True', lastTransitionTime: now });
    const container = ({ name, image }: { name: string; image: string }, state: object) => ({
      name,
      image,
      imageID: '',
      ready: true,
      restartCount: 0,
      state,
    });
    await this.#patchStatus({
      phase: 'Running',
      startTime: now,
      hostIP: nodeIp,
      hostIPs: [{ ip: nodeIp }],
      podIP: ip,
      podIPs: [{ ip }],
      conditions: ['PodReadyToStartContainers', 'Initialized', 'ContainersReady', 'Ready'].map(condition),
      initContainerStatuses: this.#pod.spec.initContainers.map((each) =>
        container(each, { terminated: { exitCode: 0, reason: 'Completed', startedAt: now, finishedAt: now } }),
      ),
      containerStatuses: this.#pod.spec.containers.map((each) => ({
        ...container(each, { running: { startedAt: now } }),
        started: true,
      })),
    });
    this.#stage = 'running';
  }

  async #askForAddress(signal: AbortSignal): Promise<string | undefined> {
    const { podReady } = this.#context.hooks;
    if (!podReady) return nextPodIp();
    try {
      return (await podReady(this.#pod, signal))?.ip;
    } catch (error) {
      if (!signal.aborted) this.#context.log(`podReady of ${this.#name}: ${String(error)}`);
      return undefined;
    }
  }

  /** Ends a pod that is being deleted. Finalizers may keep it in the API server a little longer. */
  async #finish(): Promise<void> {
    const { hooks, client } = this.#context;
    await hooks.podStopping?.(this.#pod, this.#signal);
    const { phase } = this.#pod.status;
    if (hooks.reportTerminalPhase !== false && phase !== 'Succeeded' && phase !== 'Failed') {
      const now = timestamp();
      const condition = (type: string) => ({ type, status: 'False', lastTransitionTime: now, reason: 'PodFailed' });
      await this.#patchStatus({
        phase: 'Failed',
        conditions: ['ContainersReady', 'Ready'].map(condition),
        containerStatuses: this.#pod.spec.containers.map(({ name, image }) => ({
          name,
          image,
          imageID: '',
          ready: false,
          started: false,
          restartCount: 0,
          // Exit code of SIGTERM, which most programs do not handle.
          state: { terminated: { exitCode: 143, reason: 'Error', startedAt: now, finishedAt: now } },
        })),
      });
    }
    // The uid spares a new pod with the same name.
    const body = { gracePeriodSeconds: 0, preconditions: { uid: this.#pod.metadata.uid } };
    await ignoreMissing(client.delete(this.#path, { body, signal: this.#signal }));
    this.#stage = 'gone';
  }

  async #patchStatus(status: object): Promise<void> {
    await this.#context.client.patch(
      `${this.#path}/status`,
      'strategic-merge',
      { metadata: { uid: this.#pod.metadata.uid }, status },
      { signal: this.#signal },
    );
  }

  get #path(): string {
    return `/api/v1/namespaces/${this.#pod.metadata.namespace}/pods/${this.#pod.metadata.name}`;
  }

  get #name(): string {
    return `${this.#pod.metadata.namespace}/${this.#pod.metadata.name}`;
  }
}

let podIps = 0;

/** An address in 198.18.0.0/16, reserved for tests (RFC 2544). It is used again only after 65 000 others. */
function nextPodIp(): string {
  podIps = (podIps % 65_534) + 1;
  return `198.18.${podIps >>> 8}.${podIps & 255}`;
}

function timestamp(): string {
  return new Date().toISOString().replace(/\.\d{3}Z$/, 'Z');
}
