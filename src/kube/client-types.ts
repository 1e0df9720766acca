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
  /** `background` yields while many normal requests are in flight. Default `normal`. */
  priority?: Priority | undefined;
  /** Time limit of one try, queueing included. Default: the transport's. */
  timeoutMs?: number | undefined;
  /** How often the request is sent at most, if retrying is safe. Default 5; 1 disables retries. */
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
  /** Only events after this version. Unset only together with `sendInitialEvents`. */
  resourceVersion?: string | undefined;
  /** Starts with the existing objects as ADDED events, ended by a bookmark (a watch-list). */
  sendInitialEvents?: boolean | undefined;
  /** The server ends the watch after this many seconds. */
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

/** A patch and its type. */
export type Patch =
  | { type: 'merge'; body: Record<string, unknown> }
  | { type: 'json'; body: readonly Record<string, unknown>[] }
  /** Only for built-in kinds: merges lists such as conditions by element. */
  | { type: 'strategic'; body: Record<string, unknown> }
  /** Server-side apply; `fieldManager` is required by the server. */
  | { type: 'apply'; body: Record<string, unknown>; fieldManager: string; force?: boolean };

export interface DeleteOptions extends CallOptions {
  preconditions?: { uid?: string | undefined; resourceVersion?: string | undefined } | undefined;
  propagationPolicy?: 'Orphan' | 'Background' | 'Foreground' | undefined;
  gracePeriodSeconds?: number | undefined;
}

/**
 * The result of a delete. `gone`: the object has left the API. `deleting`: it stays until its finalizers are removed or
 * its grace period ends.
 */
export type DeleteResult<T> = { state: 'gone' } | { state: 'deleting'; object: T };
