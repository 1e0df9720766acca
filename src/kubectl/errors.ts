/** The command line is wrong. The message says what is wrong and what is valid. */
export class UsageError extends Error {
  override name = 'UsageError';
}

/** The leading control plane could not be queried. */
export class NoControlPlaneError extends Error {
  override name = 'NoControlPlaneError';
}
