import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';
import { ConfigError } from '../config/errors.ts';
import { errorMessage } from '../util/errors.ts';

/**
 * What `parseArgs` found wrong, in one sentence. The rest of its message is advice for programmers.
 *
 * @param options the known flags, listed in the message about an unknown one
 */
export function commandLineMistake(error: unknown, options: ParseArgsOptionsConfig = {}): string {
  const [sentence = ''] = errorMessage(error).split(/\.\s/);
  const [, before, word = '', behind] = /^(.*?) '(.*)'(.*)$/.exec(sentence) ?? [];
  const flag = word.replace(/ <value>$/, '');
  switch (`${before} …${behind}`) {
    case 'Unknown option …': {
      const flags = Object.keys(options).map((name) => `--${name}`);
      return `unknown flag ${flag}${flags.length === 0 ? '' : `; valid flags: ${flags.join(', ')}`}`;
    }
    case 'Option … argument missing':
      return `${flag} needs a value`;
    case 'Option … argument is ambiguous':
      return `${flag} needs a value; write a value that begins with a dash as ${flag}=VALUE`;
    case 'Unexpected argument …':
      return `unexpected argument "${word}"; only flags are accepted`;
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
 * Parses the command line of a program with commands; the first command is the default.
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
      `command line: unknown command "${positionals.join(' ')}"; valid commands: ${commands.join(', ')}`,
    );
  }
  return { values, command };
}
