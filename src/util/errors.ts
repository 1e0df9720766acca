/** Proves at compile time that a union is handled completely. Throws only when data violates its schema. */
export function assertNever(value: never): never {
  throw new Error(`unhandled case ${JSON.stringify(value)}`);
}

/** Why a file cannot be used, without the path, which Node appends to its message. */
export function fileProblem(error: unknown): string {
  return errorMessage(error).replace(/, \w+ '[^']*'$/, '');
}

/** A readable single line for any thrown value. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
