import type { EventRecorder } from '../kube/events.ts';
import type { Store } from '../kube/store.ts';
import type { HasMetadata } from '../kube/types.ts';
import type { Clock } from '../util/clock.ts';
import type { Pod } from './resources.ts';

/** The same words about the same object are not repeated within this time; the recorder counts the rest as a series. */
const REPEAT_AFTER_MS = 60_000;
const REMEMBERED = 10_000;

/** Object that an event is about. */
export interface Regarding {
  apiVersion: string;
  kind: string;
  object: HasMetadata;
}

/** Events of the controllers: one per transition, on the pod where a pod is concerned. */
export class ControllerEvents {
  readonly #recorder: Pick<EventRecorder, 'forController'>;
  readonly #pods: Store<Pod>;
  readonly #clock: Clock;
  readonly #said = new Map<string, number>();

  constructor(options: { recorder: Pick<EventRecorder, 'forController'>; pods: Store<Pod>; clock: Clock }) {
    this.#recorder = options.recorder;
    this.#pods = options.pods;
    this.#clock = options.clock;
  }

  /** @param key `namespace/name` of the pod; nothing is said about a pod that is gone. */
  podNormal(key: string, reason: string, note: string): void {
    this.#pod(key, 'Normal', reason, note);
  }

  podWarning(key: string, reason: string, note: string): void {
    this.#pod(key, 'Warning', reason, note);
  }

  /** Something that is found anew at each look; it is said once in a while. */
  about(regarding: Regarding, type: 'Normal' | 'Warning', reason: string, note: string, controller: string): void {
    const { uid } = regarding.object.metadata;
    if (!this.#justSaid(`${uid}/${reason}/${note}`)) this.transition(regarding, type, reason, note, controller);
  }

  /** Something that the caller says once, when it happens. */
  transition(regarding: Regarding, type: 'Normal' | 'Warning', reason: string, note: string, controller: string): void {
    const { apiVersion, kind, object } = regarding;
    const { metadata } = object;
    const action = ACTIONS[reason] ?? 'Reconcile';
    this.#recorder.forController(controller).event({ apiVersion, kind, metadata }, { type, reason, action, note });
  }

  #pod(key: string, type: 'Normal' | 'Warning', reason: string, note: string): void {
    const pod = this.#pods.get(key);
    if (pod !== undefined) this.about({ apiVersion: 'v1', kind: 'Pod', object: pod }, type, reason, note, 'pod-eni');
  }

  #justSaid(what: string): boolean {
    const nowMs = this.#clock.now();
    const saidMs = this.#said.get(what);
    if (saidMs !== undefined && nowMs - saidMs < REPEAT_AFTER_MS) return true;
    // Deleted first, so that the map stays in the order of the last mention.
    this.#said.delete(what);
    this.#said.set(what, nowMs);
    if (this.#said.size > REMEMBERED) {
      const [oldest] = this.#said.keys();
      if (oldest !== undefined) this.#said.delete(oldest);
    }
    return false;
  }
}

/** Actions as upstream names them (reference 10.2). */
const ACTIONS: Record<string, string> = {
  AttachENISucceed: 'AttachENI',
  AttachENIFailed: 'AttachENI',
  CreateENISucceed: 'CreateENI',
  CreateENIFailed: 'CreateENI',
  SyncPodNetworkingSucceed: 'SyncPodNetworking',
  SyncPodNetworkingFailed: 'SyncPodNetworking',
  ConfigError: 'Config',
};
