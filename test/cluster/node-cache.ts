/**
 * Environment for programs that run in Node: where it keeps compiled code, if the run has such a place (`scripts/test.ts`).
 * A run starts them many hundred times, and compiling is half of a start.
 */
export const NODE_CACHE: Readonly<Record<string, string>> = ((path = '') =>
  path === '' ? {} : { NODE_COMPILE_CACHE: path })(process.env['NODE_COMPILE_CACHE']);
