import type { Priority } from './priority-gate.ts';

/** One call, as the metrics see it. */
export interface RequestObservation {
  verb: Verb;
  group: string;
  resource: string;
  /** `status`, or `''`. */
  subresource: string;
  /** HTTP status; 0 when no answer came. */
  code: number;
  /** Until the answer was complete; for a watch until its headers came. One observation per try. */
  durationMs: number;
}

export type Verb = 'get' | 'list' | 'create' | 'patch' | 'delete' | 'watch';

export interface CallOptions {
  signal?: AbortSignal | undefined;
  /** `background` yields to urgent requests while these are many. Default `normal`. */
  priority?: Priority | undefined;
  /** For one try, queueing included. Default: the transport's. */
  timeoutMs?: number | undefined;
  /** Sends in total when repeating is safe. Default 5; 1 turns repeating off. */
  maxTries?: number | undefined;
}

export interface WriteOptions extends CallOptions {
  fieldManager?: string | undefined;
}

export interface ListOptions extends CallOptions {
  namespace?: string | undefined;
  labelSelector?: string | undefined;
  fieldSelector?: string | undefined;
  limit?: number | undefined;
  continueToken?: string | undefined;
  resourceVersion?: string | undefined;
  resourceVersionMatch?: 'NotOlderThan' | 'Exact' | undefined;
}

export interface WatchOptions {
  signal?: AbortSignal | undefined;
  namespace?: string | undefined;
  labelSelector?: string | undefined;
  fieldSelector?: string | undefined;
  /** Events after this version. Unset only together with `sendInitialEvents`. */
  resourceVersion?: string | undefined;
  /** Starts with the present objects as ADDED events, ended by a bookmark (a watch-list). */
  sendInitialEvents?: boolean | undefined;
  /** After which the server ends the watch, in seconds. */
  timeoutSeconds?: number | undefined;
}

/** One page of a list. */
export interface ObjectList<T> {
  items: T[];
  /** The version of the whole list. */
  resourceVersion: string;
  /** Fetches the next page; undefined on the last. */
  continueToken: string | undefined;
}

/** A patch and how the server is to read it. */
export type Patch =
  | { type: 'merge'; body: Record<string, unknown> }
  | { type: 'json'; body: readonly Record<string, unknown>[] }
  /** Server-side apply; `fieldManager` is required by the server. */
  | { type: 'apply'; body: Record<string, unknown>; fieldManager: string; force?: boolean };

export interface DeleteOptions extends CallOptions {
  preconditions?: { uid?: string | undefined; resourceVersion?: string | undefined } | undefined;
  propagationPolicy?: 'Orphan' | 'Background' | 'Foreground' | undefined;
  gracePeriodSeconds?: number | undefined;
}

/**
 * What became of a delete. `gone`: the object has left the API. `deleting`: it stays until its finalizers are removed or
 * its grace period ends.
 */
export type DeleteResult<T> = { state: 'gone' } | { state: 'deleting'; object: T };
