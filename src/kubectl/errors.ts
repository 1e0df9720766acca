/** The command line is wrong. The message says what is, and what there is instead. */
export class UsageError extends Error {
  override name = 'UsageError';
}

/** No answer of a leading control plane could be had. */
export class NoControlPlaneError extends Error {
  override name = 'NoControlPlaneError';
}
