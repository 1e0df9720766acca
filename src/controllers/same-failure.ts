const REQUEST_ID = / \(request id [^)]*\)/g;

/**
 * A failure that repeats differs in its request id only. The words of the first one stay, so that a status is not written
 * anew each time that the cloud is asked.
 *
 * @returns `before` when it says the same, else `now`.
 */
export function withoutNewRequestId(before: string | undefined, now: string): string {
  return before !== undefined && before.replace(REQUEST_ID, '') === now.replace(REQUEST_ID, '') ? before : now;
}
