/** For waits that end in another way; the clock knows that no timer is so long. */
export const NEVER_MS = Number.MAX_SAFE_INTEGER;
