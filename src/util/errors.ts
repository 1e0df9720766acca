/** Proves at compile time that a union was handled completely. Thrown only if data escaped its schema. */
export function assertNever(value: never): never {
  throw new Error(`unhandled case ${JSON.stringify(value)}`);
}

/** Why a file cannot be used, without its path, which Node repeats at the end. */
export function fileProblem(error: unknown): string {
  return errorMessage(error).replace(/, \w+ '[^']*'$/, '');
}

/** A readable single line for anything that was thrown. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
