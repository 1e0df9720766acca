import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';
import type * as z from 'zod';
import { errorMessage, fileProblem } from '../util/errors.ts';
import { firstIssue } from '../util/issues.ts';
import { type ControlPlaneConfig, controlPlaneConfigSchema } from './control-plane.ts';
import { ConfigError } from './errors.ts';
import { fromUpstreamKeys } from './upstream-keys.ts';

/**
 * Reads a YAML file and checks it against a schema.
 *
 * @param flag that names the file, for messages
 * @throws ConfigError naming the file, the field and what is wrong with it
 */
export async function readConfigFile<T>(path: string, schema: z.ZodType<T>, flag: string): Promise<T> {
  return check(path, parseYaml(path, await readText(path, flag)), schema);
}

/** A configuration, and what of it has no effect. */
export interface ReadConfig {
  config: ControlPlaneConfig;
  /** A line per key of upstream's that is accepted and changes nothing. */
  notes: string[];
}

/**
 * Checks the text of the control plane's configuration; one that was written for upstream's is understood.
 *
 * @param path for messages
 * @throws ConfigError naming the file, the field and what is wrong with it
 */
export function parseControlPlaneConfig(path: string, text: string): ReadConfig {
  const { raw, notes } = fromUpstreamKeys(parseYaml(path, text) ?? {});
  return { config: check(path, raw, controlPlaneConfigSchema), notes };
}

/**
 * @param flag that names the file, for messages
 * @throws ConfigError
 */
export async function readText(path: string, flag: string): Promise<string> {
  return readFile(path, 'utf8').catch((error: unknown) => {
    throw new ConfigError(`${path}: cannot be read: ${fileProblem(error)}; ${flag} names another file`);
  });
}

function parseYaml(path: string, text: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    // What follows the first line is a picture of the place.
    const [line = ''] = errorMessage(error).split('\n');
    throw new ConfigError(`${path}: is not YAML: ${line.replace(/:$/, '')}`);
  }
}

function check<T>(path: string, raw: unknown, schema: z.ZodType<T>): T {
  const parsed = schema.safeParse(raw ?? {}, { reportInput: true });
  if (parsed.success) return parsed.data;
  const { field, rule } = firstIssue(parsed.error);
  throw new ConfigError(`${path}: ${field}: ${rule}`);
}
