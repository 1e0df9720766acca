const REQUEST_ID = / \(request id [^)]*\)/g;

/** A repeated failure differs only in its request id. */
export function withoutRequestId(text: string): string {
  return text.replace(REQUEST_ID, '');
}

/**
 * Keeps the first of equal messages, so that a status is not rewritten for every new request id.
 *
 * @returns `before` when it says the same, else `now`.
 */
export function withoutNewRequestId(before: string | undefined, now: string): string {
  return before !== undefined && withoutRequestId(before) === withoutRequestId(now) ? before : now;
}
