import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';
import { ConfigError } from '../config/errors.ts';
import { errorMessage } from '../util/errors.ts';

/**
 * What `parseArgs` found wrong, in one sentence. What it says behind that is advice for who writes programs.
 *
 * @param options those that there are, to be named when a flag is none of them.
 */
export function commandLineMistake(error: unknown, options: ParseArgsOptionsConfig = {}): string {
  const [sentence = ''] = errorMessage(error).split(/\.\s/);
  const [, before, word = '', behind] = /^(.*?) '(.*)'(.*)$/.exec(sentence) ?? [];
  const flag = word.replace(/ <value>$/, '');
  switch (`${before} …${behind}`) {
    case 'Unknown option …': {
      const flags = Object.keys(options).map((name) => `--${name}`);
      return `${flag} is not a flag${flags.length === 0 ? '' : `; there are ${flags.join(', ')}`}`;
    }
    case 'Option … argument missing':
      return `${flag} needs a value`;
    case 'Option … argument is ambiguous':
      return `${flag} needs a value; one that begins with a dash is written ${flag}=VALUE`;
    case 'Unexpected argument …':
      return `"${word}" is too much; there are flags only`;
    default:
      return sentence;
  }
}

/**
 * Parses the command line of a program that takes flags only. @throws ConfigError in one line that names the flag.
 */
export function parseFlags<O extends ParseArgsOptionsConfig>(options: O) {
  try {
    return parseArgs({ options, strict: true, allowPositionals: false }).values;
  } catch (error) {
    throw new ConfigError(`command line: ${commandLineMistake(error, options)}`);
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
      throw new ConfigError(`command line: ${commandLineMistake(error, options)}`);
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
