import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';
import { ConfigError } from '../config/errors.ts';
import { errorMessage } from '../util/errors.ts';

/**
 * Parses the command line of a program that takes flags only. @throws ConfigError in one line that names the flag.
 */
export function parseFlags<O extends ParseArgsOptionsConfig>(options: O) {
  try {
    return parseArgs({ options, strict: true, allowPositionals: false }).values;
  } catch (error) {
    throw new ConfigError(`command line: ${errorMessage(error)}`);
  }
}

/**
 * Parses the command line of a program with commands; without one it is the first.
 *
 * @throws ConfigError in one line that names the flag or the command
 */
export function parseCommandLine<O extends ParseArgsOptionsConfig, C extends string>(
  options: O,
  commands: readonly [C, ...C[]],
) {
  const parse = () => {
    try {
      return parseArgs({ options, strict: true, allowPositionals: true });
    } catch (error) {
      throw new ConfigError(`command line: ${errorMessage(error)}`);
    }
  };
  const { values, positionals } = parse();
  const [word = commands[0], ...rest] = positionals;
  const command = commands.find((known) => known === word);
  if (command === undefined || rest.length > 0) {
    throw new ConfigError(
      `command line: "${positionals.join(' ')}" is not a command; there are ${commands.join(', ')}`,
    );
  }
  return { values, command };
}
