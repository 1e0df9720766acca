import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';
import { ConfigError } from '../config/errors.ts';
import { errorMessage } from '../util/errors.ts';

/**
 * Parses the command line. @throws ConfigError in one line that names the flag.
 */
export function parseCommandLine<O extends ParseArgsOptionsConfig>(options: O) {
  try {
    return parseArgs({ options, strict: true, allowPositionals: false }).values;
  } catch (error) {
    throw new ConfigError(`command line: ${errorMessage(error)}`);
  }
}
