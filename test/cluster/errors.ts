import { ToolError } from '../../tools/errors.ts';

/** The test cluster was used or kept wrongly, or a command in it failed. */
export class TestClusterError extends ToolError {
  override readonly name: string = 'TestClusterError';
}

/** The state directory belongs to a cluster that runs, or holds files that no test cluster wrote. */
export class StateDirInUseError extends TestClusterError {
  override readonly name = 'StateDirInUseError';
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
