/**
 * Environment for Node programs: the folder for compiled code, if the test run has one (`scripts/test.ts`). A run starts Node
 * many hundred times, and compiling is half of a start.
 */
export const NODE_CACHE: Readonly<Record<string, string>> = ((path = '') =>
  path === '' ? {} : { NODE_COMPILE_CACHE: path })(process.env['NODE_COMPILE_CACHE']);
