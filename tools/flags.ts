import { type ParseArgsConfig, parseArgs } from 'node:util';
import { errorMessage } from '../src/util/errors.ts';

/** The flags of a tool's command line. Ends the process with one line and status 2 when they are wrong. */
export function readFlags<Options extends NonNullable<ParseArgsConfig['options']>>(
  options: Options,
): ReturnType<typeof parseArgs<{ options: Options }>>['values'] {
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    const valid = Object.keys(options).map((name) => `--${name}`);
    process.stderr.write(`${errorMessage(error).split('. ')[0]}; valid flags: ${valid.join(', ')}\n`);
    process.exit(2);
  }
}
