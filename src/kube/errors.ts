import { isRecord } from '../util/json.ts';

/** The fields of a `metav1.Status` that are used. */
export interface KubeApiErrorOptions {
  /** HTTP status. */
  code: number;
  /** `Status.reason`, such as `NotFound`; `''` when there is none. */
  reason: string;
  message: string;
  /** `Status.details` as it came. */
  details?: unknown;
  /** From `Retry-After` or `details.retryAfterSeconds`. */
  retryAfterMs?: number | undefined;
}

/** Thrown when the API server fails a request or ends a watch with an error. */
export class KubeApiError extends Error {
  readonly code: number;
  readonly reason: string;
  readonly details: unknown;
  readonly retryAfterMs: number | undefined;

  constructor(options: KubeApiErrorOptions) {
    super(options.message);
    this.name = 'KubeApiError';
    this.code = options.code;
    this.reason = options.reason;
    this.details = options.details;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/**
 * Why a request got no response.
 * - `connect`: no connection could be made; nothing was sent.
 * - `refused`: the server closed the stream without processing it (GOAWAY, REFUSED_STREAM); equivalent to not sent.
 * - `broken`: the connection or the stream broke after sending; the server may have acted.
 * - `silent`: the server did not answer a PING; it may have acted.
 * - `timeout`: the request's own deadline passed; the server may have acted if `sent`.
 * - `malformed`: the response violates the protocol.
 * - `closed`: the client was closed.
 */
export type TransportFailure = 'connect' | 'refused' | 'broken' | 'silent' | 'timeout' | 'malformed' | 'closed';

/** Thrown when no usable response came: the connection failed, broke, fell silent, or a deadline passed. */
export class TransportError extends Error {
  readonly failure: TransportFailure;
  /** False when the server certainly has not processed the request, so that even a write can be retried. */
  readonly sent: boolean;

  constructor(failure: TransportFailure, message: string, options: { sent: boolean; cause?: unknown }) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'TransportError';
    this.failure = failure;
    this.sent = options.sent;
  }
}

/** Turns a `metav1.Status` into an error; missing fields come from `fallback`. */
export function errorOfStatus(
  status: unknown,
  fallback: { code: number; prefix: string; retryAfterMs?: number },
): KubeApiError {
  const { message, reason, code, details } = isRecord(status) ? status : {};
  const seconds = isRecord(details) ? details['retryAfterSeconds'] : undefined;
  const retryAfterMs = typeof seconds === 'number' ? seconds * 1000 : (fallback.retryAfterMs ?? 0);
  return new KubeApiError({
    code: typeof code === 'number' ? code : fallback.code,
    reason: typeof reason === 'string' ? reason : '',
    message: fallback.prefix + (typeof message === 'string' && message !== '' ? message : `HTTP ${fallback.code}`),
    details,
    retryAfterMs: retryAfterMs > 0 ? retryAfterMs : undefined,
  });
}

function hasReason(error: unknown, ...reasons: string[]): error is KubeApiError {
  return error instanceof KubeApiError && reasons.includes(error.reason);
}

function hasCode(error: unknown, ...codes: number[]): error is KubeApiError {
  return error instanceof KubeApiError && codes.includes(error.code);
}

/** The object, or the kind, does not exist. */
export function isNotFound(error: unknown): boolean {
  return hasCode(error, 404);
}

/** The object changed since it was read; read it again and decide again. */
export function isConflict(error: unknown): boolean {
  return hasCode(error, 409) && !hasReason(error, 'AlreadyExists');
}

/** A create with a name that is taken. */
export function isAlreadyExists(error: unknown): boolean {
  return hasReason(error, 'AlreadyExists');
}

/** The resource version or continue token is older than the server's history (`410 Gone`, reason `Expired` or `Gone`). */
export function isExpired(error: unknown): boolean {
  return hasCode(error, 410) || hasReason(error, 'Expired', 'Gone');
}

/** The object violates its schema or a validation rule. */
export function isInvalid(error: unknown): boolean {
  return hasCode(error, 422) || hasReason(error, 'Invalid');
}

/** The server asked to slow down. */
export function isTooManyRequests(error: unknown): boolean {
  return hasCode(error, 429);
}

/** The server is unreachable or unavailable; the same request may succeed later. */
export function isOutage(error: unknown): boolean {
  if (error instanceof TransportError) return error.failure !== 'closed' && error.failure !== 'malformed';
  return isTooManyRequests(error) || (error instanceof KubeApiError && error.code >= 500);
}

/** No response in time from the server or its backend. The write may have been applied. */
export function isTimeout(error: unknown): boolean {
  if (error instanceof TransportError) return error.failure === 'timeout' || error.failure === 'silent';
  return hasCode(error, 504) || hasReason(error, 'Timeout', 'ServerTimeout');
}

/**
 * The server's cache has not reached the requested resource version yet. Seen after a fail-over to a server that lags, or
 * when etcd was restored from a backup.
 */
export function isTooLargeResourceVersion(error: unknown): boolean {
  if (!(error instanceof KubeApiError) || !isTimeout(error)) return false;
  if (error.message.includes('Too large resource version')) return true;
  const causes = isRecord(error.details) ? error.details['causes'] : undefined;
  return Array.isArray(causes) && causes.some((c) => isRecord(c) && c['reason'] === 'ResourceVersionTooLarge');
}

/** Thrown for an unusable connection configuration; one line that names the file, the field and why. */
export class KubeConfigError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message.replace(/\s*\n\s*/g, ' '), cause === undefined ? undefined : { cause });
    this.name = 'KubeConfigError';
  }
}
