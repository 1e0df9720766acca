import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';
import type { z } from 'zod';
import { errorMessage } from '../util/errors.ts';
import { type ControlPlaneConfig, controlPlaneConfigSchema } from './control-plane.ts';
import { ConfigError } from './errors.ts';
import { firstIssue } from './issues.ts';
import { fromUpstreamKeys } from './upstream-keys.ts';

/**
 * Reads a YAML file and checks it against a schema.
 *
 * @throws ConfigError naming the file, the field and what is wrong with it
 */
export async function readConfigFile<T>(path: string, schema: z.ZodType<T>): Promise<T> {
  return check(path, parseYaml(path, await readText(path)), schema);
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

/** @throws ConfigError */
export async function readText(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((error: unknown) => {
    throw new ConfigError(`${path}: cannot be read: ${errorMessage(error)}`);
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
  const parsed = schema.safeParse(raw ?? {});
  if (parsed.success) return parsed.data;
  throw new ConfigError(`${path}: ${firstIssue(parsed.error)}`);
}
