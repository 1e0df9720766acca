/** A step in the kernel that failed. */
export class DatapathError extends Error {
  /** What was being done, such as `add route 10.0.0.7/32 dev cali0a1b2c3d4e5`. */
  readonly step: string;
  /** Positive errno of the kernel; undefined where no system call failed. */
  readonly errno: number | undefined;

  constructor(step: string, message: string, options: { errno?: number | undefined; cause?: unknown } = {}) {
    super(`${step}: ${message}`, options.cause === undefined ? {} : { cause: options.cause });
    this.name = 'DatapathError';
    this.step = step;
    this.errno = options.errno;
  }
}
