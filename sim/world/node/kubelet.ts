import { jsonEqual } from '../../../src/kube/patch.ts';
import type { Clock } from '../../../src/util/clock.ts';
import { isRecord } from '../../../src/util/json.ts';
import type { WriteRecord } from '../../kube/model/journal.ts';
import type { KubeModel } from '../../kube/model/model.ts';
import type { KubeObject } from '../../kube/model/objects.ts';
import { nodeNameOf } from '../kubelets.ts';
import type { PodIdentity, Runtime, Sandbox } from './runtime.ts';

export interface KubeletOptions {
  nodeName: string;
  kube: KubeModel;
  clock: Clock;
  runtime: Runtime;
  /** Whether it writes the addresses of pods into their status. */
  tellsAddresses: boolean;
}

const MERGE_PATCH = 'application/merge-patch+json';
/** Until it has seen a change of a pod. */
const WATCH_MS = 50;
/** How long containers take to end. */
const TERMINATION_MS = 1000;
/** After a sandbox that could not be started or stopped. */
const BACK_OFF_MS = 3000;
/** Until the DEL of a sandbox whose successor runs already. */
const LATE_MS = 2000;

/** What the kubelet does about one pod: one thing at a time. */
interface Worker {
  pod: PodIdentity;
  /** Kills the plugin of a sandbox that is being started. */
  starting: AbortController | undefined;
  changed: PromiseWithResolvers<void>;
}

/**
 * The kubelet of a node: each pod of the node gets a sandbox, and another one when that fails. When the pod ends, its sandboxes are
 * stopped, and only then its object goes. An object that is deleted by force is gone before that.
 */
export class NodeKubelet {
  readonly #options: KubeletOptions;
  /** By pod uid. */
  readonly #workers = new Map<string, Worker>();
  /** Pods whose containers do not end before a time of the clock, by uid. */
  readonly #lingering = new Map<string, number>();
  /** Failed sandboxes that are stopped only after the next one was started. */
  readonly #late = new WeakSet<Sandbox>();
  readonly #unsubscribe: () => void;
  #pause: PromiseWithResolvers<void> | undefined;
  #isOver = false;

  constructor(options: KubeletOptions) {
    this.#options = options;
    this.#unsubscribe = options.kube.subscribe((write) => this.#look(write));
  }

  /** Stops it like a process that hangs; sandboxes are not touched. */
  pause(): void {
    this.#pause ??= Promise.withResolvers();
  }

  /** Lets it go on, or start again: it looks at every pod. */
  resume(): void {
    this.#pause?.resolve();
    this.#pause = undefined;
    for (const worker of this.#workers.values()) wake(worker);
  }

  /** Starts anew, as after a restore of the API server: it compares its sandboxes with every pod. */
  restart(): void {
    for (const worker of this.#workers.values()) this.#changed(worker, this.#peek(worker.pod));
    for (const pod of this.#options.kube.objects('pods')) {
      const { uid, namespace = '', name } = pod.metadata;
      if (nodeNameOf(pod) === this.#options.nodeName && !this.#workers.has(uid))
        void this.#work({ namespace, name, uid });
    }
  }

  /** The runtime loses its state, and the pods get other sandboxes. */
  resetRuntime(): void {
    this.#options.runtime.reset();
    for (const worker of this.#workers.values()) {
      worker.starting?.abort(new Error('the runtime was reset'));
      wake(worker);
    }
  }

  end(): void {
    this.#isOver = true;
    this.#unsubscribe();
    this.resume();
  }

  /** Whether the pod with this uid has, or is to have, a sandbox here. */
  has(uid: string): boolean {
    return this.#workers.has(uid);
  }

  /** The containers of this pod do not end before that time. */
  linger(uid: string, untilMs: number): void {
    this.#lingering.set(uid, untilMs);
  }

  /**
   * The sandbox of a pod fails, so that the pod gets another one.
   *
   * @param isLate its DEL comes only after the ADD of that one
   */
  failSandbox(uid: string, isLate: boolean): void {
    for (const sandbox of this.#options.runtime.sandboxesOf(uid)) {
      if (sandbox.state !== 'running') continue;
      sandbox.state = 'ended';
      if (isLate) this.#late.add(sandbox);
    }
    const worker = this.#workers.get(uid);
    if (worker !== undefined) wake(worker);
  }

  #look({ resource, before, after }: WriteRecord): void {
    const pod = after ?? before;
    const { uid, namespace, name } = pod?.metadata ?? {};
    if (resource !== 'pods' || pod === undefined || uid === undefined || name === undefined) return;
    const known = this.#workers.get(uid);
    if (known !== undefined) this.#changed(known, after);
    else if (this.#isWanted(after, uid)) void this.#work({ namespace: namespace ?? '', name, uid });
  }

  #changed(worker: Worker, pod: KubeObject | undefined): void {
    if (!this.#isWanted(pod, worker.pod.uid)) worker.starting?.abort(new Error('the pod is gone'));
    wake(worker);
  }

  async #work(pod: PodIdentity): Promise<void> {
    const worker: Worker = { pod, starting: undefined, changed: Promise.withResolvers() };
    this.#workers.set(pod.uid, worker);
    const { clock } = this.#options;
    await clock.sleep(WATCH_MS);
    for (;;) {
      await this.#pause?.promise;
      if (this.#isOver) return;
      const next = await this.#advance(pod, worker);
      if (next === 'gone') break;
      if (next === 'again') continue;
      // A change wakes it early.
      const { promise } = worker.changed;
      await (next === 'settled' ? promise : Promise.race([promise, clock.sleep(BACK_OFF_MS)]));
      worker.changed = Promise.withResolvers();
      await clock.sleep(WATCH_MS);
    }
    this.#workers.delete(pod.uid);
    this.#lingering.delete(pod.uid);
  }

  #advance(pod: PodIdentity, worker: Worker): Promise<'settled' | 'again' | 'failed' | 'gone'> {
    const found = this.#peek(pod);
    if (this.#isWanted(found, pod.uid)) return this.#run(pod, worker);
    return this.#isHere(found, pod.uid) ? this.#rest(pod) : this.#terminate(pod);
  }

  /** The containers of the pod have finished: its sandbox goes, its object stays. */
  async #rest(pod: PodIdentity): Promise<'settled' | 'failed'> {
    return (await this.#stopAll(this.#options.runtime.sandboxesOf(pod.uid))) ? 'settled' : 'failed';
  }

  /** Towards one running sandbox. */
  async #run(pod: PodIdentity, worker: Worker): Promise<'settled' | 'again' | 'failed'> {
    const { clock, runtime } = this.#options;
    const sandboxes = runtime.sandboxesOf(pod.uid);
    const ended = sandboxes.filter(({ state }) => state === 'ended');
    const running = sandboxes.find(({ state }) => state === 'running');
    if (running !== undefined) {
      this.#tell(pod, running);
      if (ended.length === 0) return 'settled';
      await clock.sleep(LATE_MS);
      return (await this.#stopAll(ended)) ? 'again' : 'failed';
    }
    if (!(await this.#stopAll(ended.filter((sandbox) => !this.#late.has(sandbox))))) return 'failed';
    worker.starting = new AbortController();
    const isUp = await runtime.start(pod, worker.starting.signal);
    worker.starting = undefined;
    for (const sandbox of ended) this.#late.delete(sandbox);
    return isUp ? 'again' : 'failed';
  }

  /** Writes what the pod has, if its status does not say so. */
  #tell(pod: PodIdentity, sandbox: Sandbox): void {
    const { tellsAddresses, runtime, kube, clock } = this.#options;
    const podIPs = runtime.addressesOf(sandbox).map((ip) => ({ ip }));
    const [first] = podIPs;
    const status = this.#peek(pod)?.['status'];
    if (!tellsAddresses || first === undefined || (isRecord(status) && jsonEqual(status['podIPs'], podIPs))) return;
    const target = { resource: 'pods', namespace: pod.namespace, name: pod.name, subresource: 'status' };
    const told = { podIP: first.ip, podIPs };
    kube.patch(target, MERGE_PATCH, { status: told }, { actor: 'kubelet', nowMs: clock.now() });
  }

  /** Towards no sandbox and no object. */
  async #terminate(pod: PodIdentity): Promise<'gone' | 'again' | 'failed'> {
    const { clock, runtime, kube } = this.#options;
    await clock.sleep(TERMINATION_MS);
    const lingersMs = (this.#lingering.get(pod.uid) ?? 0) - clock.monotonicMs();
    if (lingersMs > 0) {
      await clock.sleep(lingersMs);
      return 'again';
    }
    if (!(await this.#stopAll(runtime.sandboxesOf(pod.uid)))) return 'failed';
    // It may have stood still in between.
    await this.#pause?.promise;
    if (this.#isOver) return 'gone';
    if (this.#peek(pod)?.metadata.uid === pod.uid) {
      const target = { resource: 'pods', namespace: pod.namespace, name: pod.name, subresource: '' };
      kube.delete(target, { gracePeriodSeconds: 0, uid: pod.uid }, { actor: 'kubelet', nowMs: clock.now() });
    }
    return 'gone';
  }

  async #stopAll(sandboxes: readonly Sandbox[]): Promise<boolean> {
    let isDone = true;
    for (const sandbox of sandboxes) if (!(await this.#options.runtime.stop(sandbox))) isDone = false;
    return isDone;
  }

  #isWanted(pod: KubeObject | undefined, uid: string): boolean {
    return this.#isHere(pod, uid) && !hasFinished(pod);
  }

  /** It is on this node, and nobody has deleted it. */
  #isHere(pod: KubeObject | undefined, uid: string): boolean {
    if (pod?.metadata.uid !== uid || pod.metadata.deletionTimestamp !== undefined) return false;
    return nodeNameOf(pod) === this.#options.nodeName;
  }

  #peek({ namespace, name }: PodIdentity): KubeObject | undefined {
    return this.#options.kube.peek('pods', { namespace, name });
  }
}

function hasFinished(pod: KubeObject | undefined): boolean {
  const phase = isRecord(pod?.status) ? pod.status['phase'] : undefined;
  return phase === 'Succeeded' || phase === 'Failed';
}

function wake({ changed }: Worker): void {
  changed.resolve();
}
