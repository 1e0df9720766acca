/** Base of everything that tools, laboratories and the test cluster throw on purpose; the message is one line for a person. */
export class ToolError extends Error {
  override readonly name: string = 'ToolError';
}

/** A program that the build or the start needs is absent or too old; the message says which, and what to do. */
export class MissingToolError extends ToolError {
  override readonly name = 'MissingToolError';
}

/** `go build` failed; the message ends with its last lines. */
export class BuildFailedError extends ToolError {
  override readonly name = 'BuildFailedError';
}

/** A component ended, or did not become ready in time; `logTail` has the lines of its log that matter most. */
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
