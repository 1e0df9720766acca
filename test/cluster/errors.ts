import { ToolError } from '../../tools/errors.ts';

/** Misuse of the test cluster, or a failed command in it. */
export class TestClusterError extends ToolError {
  override readonly name: string = 'TestClusterError';
}

/** The state directory belongs to a running cluster, or has files that no test cluster wrote. */
export class StateDirInUseError extends TestClusterError {
  override readonly name = 'StateDirInUseError';
}

/** The API server responded with a status other than 2xx. */
export class ApiStatusError extends TestClusterError {
  override readonly name = 'ApiStatusError';
  readonly status: number;
  /** `metav1.Status.reason`, such as `NotFound` or `AlreadyExists`. Empty when the body was not a Status. */
  readonly reason: string;
  readonly retryAfterMs: number | undefined;

  constructor(request: string, status: number, reason: string, message: string, retryAfterMs?: number) {
    super(`${request}: ${status} ${reason}${message === '' ? '' : `: ${message}`}`);
    this.status = status;
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
  }
}
