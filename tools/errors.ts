/** Base class of every error that tools, labs and the test cluster throw on purpose. The message is one line for a person. */
export class ToolError extends Error {
  override readonly name: string = 'ToolError';
}

/** A program that the build or the start needs is missing or too old. The message says which, and what to do. */
export class MissingToolError extends ToolError {
  override readonly name = 'MissingToolError';
}

/** `go build` failed. The message ends with its last lines of output. */
export class BuildFailedError extends ToolError {
  override readonly name = 'BuildFailedError';
}

/** A component ended, or was not ready in time. `logTail` has the most useful lines of its log. */
export class ComponentFailedError extends ToolError {
  override readonly name = 'ComponentFailedError';
  readonly component: string;
  readonly logTail: readonly string[];

  constructor(component: string, what: string, logTail: readonly string[], options?: ErrorOptions) {
    super(`${component} ${what}${logTail.length > 0 ? `: ${logTail.join(' | ')}` : ''}`, options);
    this.component = component;
    this.logTail = logTail;
  }
}

/** A condition did not come true before its deadline. */
export class DeadlineError extends ToolError {
  override readonly name = 'DeadlineError';
}
