import type { ServerVerb } from './handler.ts';

/** A request, as a fault plan sees it. */
export interface ApiCall {
  /** Whose transport it goes through. */
  replica: string;
  verb: ServerVerb;
  /** As `podenis.network.alibabacloud.com`, `pods`; `''` for a path that names none. */
  resource: string;
  subresource: string;
  /** `namespace/name`, or `name`; of a collection the namespace, or `''`. */
  key: string;
  /** Of a list: how many objects at most, if that was said. */
  limit?: number;
}

/** One line of a watch. */
export interface WatchedEvent {
  type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  /** `''` for a bookmark. */
  key: string;
}

/**
 * What goes wrong with a request.
 * - `slow`: it arrives late, its answer does, or both.
 * - `refused`: the server answers with this status and does nothing.
 * - `not-sent`: no connection, or a stream that the server refused; repeating is safe.
 * - `lost-request`: sent, but the server never sees it. Either the connection breaks, or nothing comes until the deadline.
 * - `lost-answer`: carried out, but the client does not learn it.
 * - `doubled`: it arrives twice; the second answer is the one that comes back.
 */
export type RequestFault =
  | { kind: 'slow'; requestMs?: number; answerMs?: number }
  | { kind: 'refused'; status: number; retryAfterSeconds?: number }
  | { kind: 'not-sent'; failure: 'connect' | 'refused' }
  | { kind: 'lost-request'; failure: 'broken' | 'timeout' }
  | { kind: 'lost-answer'; failure: 'broken' | 'timeout' }
  | { kind: 'doubled' };

/**
 * What goes wrong when a watch is opened, beside what may happen to any request.
 * - `expired`: 410, as the answer or as the first event.
 * - `silent`: it opens, and then nothing ever comes.
 */
export type WatchFault = RequestFault | { kind: 'expired'; as: 'answer' | 'event' } | { kind: 'silent' };

/**
 * What goes wrong with one line of a watch.
 * - `late`: it comes this much later, and what follows not before it.
 * - `frozen`: it does not come, nor does anything after it; the watch stays open.
 * - `broken`: the connection breaks in the middle of it.
 * - `ended`: the server ends the watch instead.
 * - `expired`: an ERROR event of 410 comes instead, and the watch ends.
 * - `doubled`: it comes twice.
 * - `missed`: it does not come; what follows does. No server should do this.
 */
export type EventFault =
  | { kind: 'late'; ms: number }
  | { kind: 'frozen' | 'broken' | 'ended' | 'expired' | 'doubled' | 'missed' };

/** Decides what goes wrong. Called once for each request, watch and watch line; it must not write to the model. */
export interface FaultPlan {
  onRequest?(call: ApiCall): RequestFault | undefined;
  onWatch?(call: ApiCall): WatchFault | undefined;
  onEvent?(call: ApiCall, event: WatchedEvent): EventFault | undefined;
}

/** How often each kind of fault happened. */
export class FaultCounts {
  readonly #counts = new Map<string, number>();

  add(kind: string): void {
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + 1);
  }

  /** By kind; `lost-answer/timeout` for those that have two forms. */
  get all(): Readonly<Record<string, number>> {
    return Object.fromEntries([...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}

/** The name under which a fault is counted. */
export function faultName(fault: WatchFault | EventFault): string {
  if ('failure' in fault) return `${fault.kind}/${fault.failure}`;
  if ('status' in fault) return `${fault.kind}/${fault.status}`;
  return 'as' in fault ? `${fault.kind}/${fault.as}` : fault.kind;
}
