import type { Pod } from '../cluster/resources.ts';
import type { Reason } from '../crds/reasons/catalogue.ts';
import type { EventRecorder } from '../kube/events.ts';
import type { Store } from '../kube/store.ts';
import type { HasMetadata } from '../kube/types.ts';
import type { Clock } from '../util/clock.ts';
import { withoutRequestId } from './same-failure.ts';

/** The same reason and cause about the same object are not repeated within this time. */
const REPEAT_AFTER_MS = 600_000;
const REMEMBERED = 10_000;

/** Object that an event is about. */
export interface Regarding {
  apiVersion: string;
  kind: string;
  object: HasMetadata;
}

/** What happened, in words. */
export interface Said {
  type: 'Normal' | 'Warning';
  reason: Reason;
  /** Makes it differ from what was said before, together with the reason; a request id does not count. */
  cause: string;
  /** Follows the cause where the event is written, such as a place in line; asked for only then. */
  detail?: (() => string | undefined) | undefined;
}

/**
 * Events of the controllers: one per transition, on the pod where a pod is concerned. What is found anew at each look, or
 * fails again with another request id, is the same event and is said once.
 */
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
  podNormal(key: string, reason: Reason, note: string): void {
    this.#pod(key, { type: 'Normal', reason, cause: note });
  }

  podWarning(key: string, reason: Reason, cause: string, detail?: () => string | undefined): void {
    this.#pod(key, { type: 'Warning', reason, cause, detail });
  }

  /** Something that is found anew at each look; it is said once in a while. */
  about(regarding: Regarding, said: Said, controller: string): void {
    const { uid } = regarding.object.metadata;
    if (!this.#justSaid(`${uid}/${said.reason}/${withoutRequestId(said.cause)}`)) {
      this.transition(regarding, said, controller);
    }
  }

  /** Something that the caller says once, when it happens. */
  transition(regarding: Regarding, { type, reason, cause, detail }: Said, controller: string): void {
    const { apiVersion, kind, object } = regarding;
    const { metadata } = object;
    const action = ACTIONS[reason] ?? 'Reconcile';
    const more = detail?.();
    const note = more === undefined ? cause : `${cause}; ${more}`;
    const input = { type, reason, action, note, noteKey: withoutRequestId(cause) };
    this.#recorder.forController(controller).event({ apiVersion, kind, metadata }, input);
  }

  #pod(key: string, said: Said): void {
    const pod = this.#pods.get(key);
    if (pod !== undefined) this.about({ apiVersion: 'v1', kind: 'Pod', object: pod }, said, 'pod-eni');
  }

  #justSaid(what: string): boolean {
    const nowMs = this.#clock.now();
    const saidMs = this.#said.get(what);
    if (saidMs !== undefined && nowMs >= saidMs && nowMs - saidMs < REPEAT_AFTER_MS) return true;
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
const ACTIONS: Partial<Record<Reason, string>> = {
  AttachENISucceed: 'AttachENI',
  SyncPodNetworkingSucceed: 'SyncPodNetworking',
  SyncPodNetworkingFailed: 'SyncPodNetworking',
  SecurityGroupsChanged: 'ModifyENI',
  SecurityGroupDrift: 'ModifyENI',
  ConfigError: 'Config',
};
