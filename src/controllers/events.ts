import type { Pod } from '../cluster/resources.ts';
import type { Reason } from '../crds/reasons/catalogue.ts';
import type { EventRecorder } from '../kube/events.ts';
import type { Store } from '../kube/store.ts';
import type { HasMetadata } from '../kube/types.ts';
import type { Clock } from '../util/clock.ts';
import { withoutRequestId } from '../util/same-failure.ts';

/** An event with the same reason, cause and object is not repeated within this time. */
const REPEAT_AFTER_MS = 600_000;

/** Object that an event is about. */
export interface Regarding {
  apiVersion: string;
  kind: string;
  object: HasMetadata;
}

/** The text of an event. */
export interface Said {
  type: 'Normal' | 'Warning';
  reason: Reason;
  /** Distinguishes the event from earlier ones, together with the reason; request ids do not count. */
  cause: string;
  /** Follows the cause in the event, for example a place in line; called only when the event is written. */
  detail?: (() => string | undefined) | undefined;
}

/**
 * Events of the controllers: one per transition, on the pod where a pod is concerned. A problem that is found again on
 * each reconcile, or fails again with another request id, is the same event and is written once.
 */
export class ControllerEvents {
  readonly #recorder: Pick<EventRecorder, 'forController'>;
  readonly #pods: Store<Pod>;
  readonly #clock: Clock;
  /** What was said when, oldest first; as much as was said within the time in which it is not repeated. */
  readonly #said = new Map<string, number>();

  constructor(options: { recorder: Pick<EventRecorder, 'forController'>; pods: Store<Pod>; clock: Clock }) {
    this.#recorder = options.recorder;
    this.#pods = options.pods;
    this.#clock = options.clock;
  }

  /** @param key `namespace/name` of the pod; a pod that is gone gets no event. */
  podNormal(key: string, reason: Reason, note: string): void {
    this.#pod(key, { type: 'Normal', reason, cause: note });
  }

  podWarning(key: string, reason: Reason, cause: string, detail?: () => string | undefined): void {
    this.#pod(key, { type: 'Warning', reason, cause, detail });
  }

  /** For a problem that each reconcile finds again; it is repeated only once in a while. */
  about(regarding: Regarding, said: Said, controller: string): void {
    const { uid } = regarding.object.metadata;
    if (!this.#justSaid(`${uid}/${said.reason}/${withoutRequestId(said.cause)}`)) {
      this.transition(regarding, said, controller);
    }
  }

  /** For something that the caller reports once, when it happens. */
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
    const nowMs = this.#clock.monotonicMs();
    for (const [earlier, saidMs] of this.#said) {
      if (nowMs - saidMs < REPEAT_AFTER_MS) break;
      this.#said.delete(earlier);
    }
    if (this.#said.has(what)) return true;
    this.#said.set(what, nowMs);
    return false;
  }
}

/** The same action names as upstream. */
const ACTIONS: Partial<Record<Reason, string>> = {
  AttachENISucceed: 'AttachENI',
  SyncPodNetworkingSucceed: 'SyncPodNetworking',
  SyncPodNetworkingFailed: 'SyncPodNetworking',
  SecurityGroupsChanged: 'ModifyENI',
  SecurityGroupDrift: 'ModifyENI',
  ConfigError: 'Config',
  CreateENISucceed: 'CreateENI',
  CreateENIFailed: 'CreateENI',
  AttachENIFailed: 'AttachENI',
  DeleteENISucceed: 'DeleteENI',
  DeleteENIFailed: 'DeleteENI',
  AllocIPFailed: 'AllocIP',
};
