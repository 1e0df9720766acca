const REQUEST_ID = / \(request id [^)]*\)/g;

/** A failure that repeats differs in its request id only. */
export function withoutRequestId(text: string): string {
  return text.replace(REQUEST_ID, '');
}

/**
 * The words of the first of equal failures stay, so that a status is not written anew each time that the cloud is asked.
 *
 * @returns `before` when it says the same, else `now`.
 */
export function withoutNewRequestId(before: string | undefined, now: string): string {
  return before !== undefined && withoutRequestId(before) === withoutRequestId(now) ? before : now;
}
