import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';
import type { z } from 'zod';
import { errorMessage } from '../util/errors.ts';
import { ConfigError } from './errors.ts';

/**
 * Reads a YAML file and checks it against a schema.
 *
 * @throws ConfigError naming the file, the field and what is wrong with it
 */
export async function readConfigFile<T>(path: string, schema: z.ZodType<T>): Promise<T> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new ConfigError(`${path}: cannot be read: ${errorMessage(error)}`);
  });
  let raw: unknown;
  try {
    raw = parse(text);
  } catch (error) {
    // What follows the first line is a picture of the place.
    const [line = ''] = errorMessage(error).split('\n');
    throw new ConfigError(`${path}: is not YAML: ${line.replace(/:$/, '')}`);
  }
  const parsed = schema.safeParse(raw ?? {});
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const field = issue === undefined || issue.path.length === 0 ? 'top level' : issue.path.join('.');
  throw new ConfigError(`${path}: ${field}: ${describe(issue)}`);
}

function describe(issue: z.core.$ZodIssue | undefined): string {
  if (issue === undefined) return 'is invalid';
  if (issue.code === 'unrecognized_keys') return `unknown key ${issue.keys.join(', ')}`;
  const [, expected, received] = /^Invalid input: expected (\w+), received (\w+)$/.exec(issue.message) ?? [];
  if (expected === undefined) return issue.message;
  return received === 'undefined' ? 'is missing' : `must be of type ${expected}, not ${received}`;
}
