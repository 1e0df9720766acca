/** Base of everything that the test cluster throws on purpose; the message is one line for a person. */
export class TestClusterError extends Error {
  override readonly name: string = 'TestClusterError';
}

/** A program that the build or the start needs is absent or too old; the message says which, and what to do. */
export class MissingToolError extends TestClusterError {
  override readonly name = 'MissingToolError';
}

/** `go build` failed; the message ends with its last lines. */
export class BuildFailedError extends TestClusterError {
  override readonly name = 'BuildFailedError';
}

/** A component ended, or did not become ready in time; `logTail` has the lines of its log that matter most. */
export class ComponentFailedError extends TestClusterError {
  override readonly name = 'ComponentFailedError';
  readonly component: string;
  readonly logTail: readonly string[];

  constructor(component: string, what: string, logTail: readonly string[], options?: ErrorOptions) {
    super(`${component} ${what}${logTail.length > 0 ? `: ${logTail.join(' | ')}` : ''}`, options);
    this.component = component;
    this.logTail = logTail;
  }
}

/** The state directory belongs to a cluster that runs, or holds files that no test cluster wrote. */
export class StateDirInUseError extends TestClusterError {
  override readonly name = 'StateDirInUseError';
}

/** A condition did not come true before its deadline. */
export class DeadlineError extends TestClusterError {
  override readonly name = 'DeadlineError';
}

/** The API server answered with something other than 2xx. */
export class ApiStatusError extends TestClusterError {
  override readonly name = 'ApiStatusError';
  readonly status: number;
  /** `metav1.Status.reason`, such as `NotFound` or `AlreadyExists`; empty when the body was no Status. */
  readonly reason: string;
  readonly retryAfterMs: number | undefined;

  constructor(request: string, status: number, reason: string, message: string, retryAfterMs?: number) {
    super(`${request}: ${status} ${reason}${message === '' ? '' : `: ${message}`}`);
    this.status = status;
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
  }
}
