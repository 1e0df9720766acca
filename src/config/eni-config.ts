import * as z from 'zod';
import { errorMessage } from '../util/errors.ts';
import { firstIssue } from '../util/issues.ts';
import { applyMergePatch, isRecord } from '../util/json.ts';
import { type PoolConfig, poolConfSchema } from './pool-config.ts';

/** ConfigMap with the cluster's defaults. */
export const ENI_CONFIG = { namespace: 'kube-system', name: 'eni-config', key: 'eni_conf' } as const;

const SECURITY_GROUPS_MAX = 10;

const ids = z.union([z.array(z.string()), z.string().transform((id) => [id])]);

/**
 * The keys of `eni_conf` that trunks and pods with ENIs of their own need. Keys for the node daemon are ignored.
 */
const eniConfSchema = z.looseObject({
  vswitches: z
    .union([z.record(z.string(), ids), ids], 'must be a map of zone to vSwitch ids, or a list of vSwitch ids')
    .default({}),
  security_group: z.string().optional(),
  security_groups: z.array(z.string()).optional(),
  eni_tags: z.record(z.string(), z.string()).nullish(),
  enable_eni_trunking: z.boolean().nullish(),
  ipam_type: z.string().nullish(),
});

/** What an `eni_conf` asks for, of a cluster or of a node. */
export interface EniConfig {
  vSwitchesByZone: Record<string, string[]>;
  /** From a configuration without zones; each vSwitch is used in the zone it lies in. */
  vSwitchesAnywhere: string[];
  securityGroupIds: string[];
  /** Tags for trunk ENIs, besides those that mark them as the control plane's. */
  tags: Record<string, string>;
  /** `enable_eni_trunking`: whether nodes get a trunk ENI; undefined when the key is absent. */
  trunking: boolean | undefined;
  /** `ipam_type` is `crd`: the control plane gives ordinary pods their addresses; otherwise the node daemon does. */
  isCentral: boolean;
  /** Of shared ENIs alone: trunks and pods with ENIs of their own do without it. */
  pool: ParsedPoolConfig;
}

/** What shared ENIs are to be like, or one line that names ConfigMap, key, value and rule. */
export type ParsedPoolConfig = { config: PoolConfig } | { error: string };

/** The members of an `eni_conf`, or one line that names ConfigMap, key and rule. */
export type EniConf = { conf: Record<string, unknown> } | { error: string };
export type ParsedEniConfig = { config: EniConfig } | { error: string };

/** Name of a ConfigMap in messages. */
export function nameOfConfigMap(name: string): string {
  return `ConfigMap ${ENI_CONFIG.namespace}/${name}`;
}

/**
 * Reads the key `eni_conf` of a ConfigMap.
 *
 * @param name of the ConfigMap, for messages
 */
export function readEniConf(name: string, data: Record<string, string>): EniConf {
  const where = `${nameOfConfigMap(name)}, key ${ENI_CONFIG.key}`;
  const text = data[ENI_CONFIG.key];
  if (text === undefined) return { error: `${where}: is missing` };
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (error) {
    // V8 quotes the text around the error, line breaks included.
    return { error: `${where}: is not JSON: ${errorMessage(error).replace(/\s+/g, ' ')}` };
  }
  return isRecord(raw) ? { conf: raw } : { error: `${where}: must be a JSON object` };
}

/** Parses the data of the ConfigMap `eni-config`. */
export function parseEniConfig(data: Record<string, string>): ParsedEniConfig {
  const read = readEniConf(ENI_CONFIG.name, data);
  return 'error' in read ? read : checkEniConf(nameOfConfigMap(ENI_CONFIG.name), read.conf);
}

/**
 * The configuration of nodes whose label names a ConfigMap. Its `eni_conf` is a merge patch (RFC 7396) over the cluster's.
 *
 * @param over the two that are merged, the cluster's first
 * @param name of the node's ConfigMap, for messages
 */
export function mergeEniConf(over: readonly [EniConf, EniConf], name: string): ParsedEniConfig {
  const [cluster, node] = over;
  if ('error' in cluster) return cluster;
  if ('error' in node) return node;
  return checkEniConf(`${nameOfConfigMap(name)} over ${ENI_CONFIG.name}`, applyMergePatch(cluster.conf, node.conf));
}

function checkEniConf(name: string, raw: unknown): ParsedEniConfig {
  const where = `${name}, key ${ENI_CONFIG.key}`;
  const parsed = eniConfSchema.safeParse(raw);
  if (!parsed.success) {
    return { error: problemOf(where, raw, parsed.error) };
  }
  const {
    vswitches,
    security_group: one,
    security_groups: several,
    eni_tags,
    enable_eni_trunking,
    ipam_type,
  } = parsed.data;
  const named = [...(several ?? []), one ?? ''].filter((id) => id !== '');
  const securityGroupIds = [...new Set(named)];
  if (securityGroupIds.length === 0)
    return { error: `${where}: names no security group (security_group or security_groups)` };
  if (securityGroupIds.length > SECURITY_GROUPS_MAX) {
    return {
      error: `${where}: security_group and security_groups name ${securityGroupIds.length} security groups; an ENI takes at most ${SECURITY_GROUPS_MAX}`,
    };
  }
  const places = Array.isArray(vswitches)
    ? { vSwitchesByZone: {}, vSwitchesAnywhere: vswitches }
    : { vSwitchesByZone: vswitches, vSwitchesAnywhere: [] };
  const pool = poolConfSchema.safeParse(raw);
  return {
    config: {
      ...places,
      securityGroupIds,
      tags: eni_tags ?? {},
      trunking: enable_eni_trunking ?? undefined,
      isCentral: ipam_type === 'crd',
      pool: pool.success ? { config: pool.data } : { error: problemOf(where, raw, pool.error) },
    },
  };
}

function problemOf(where: string, raw: unknown, error: z.ZodError): string {
  const { field, rule } = firstIssue(error);
  return `${where}: ${field}: ${rule}${valueAt(raw, error.issues[0]?.path ?? [])}`;
}

const VALUE_MAX = 80;

/** The refused value. It is safe to print: only keys of the schema get here, and none of them holds a secret. */
function valueAt(raw: unknown, path: readonly PropertyKey[]): string {
  let value = raw;
  for (const key of path) value = isRecord(value) || Array.isArray(value) ? Reflect.get(value, key) : undefined;
  const text = JSON.stringify(value) ?? '';
  return text === '' ? '' : ` (it is ${text.length > VALUE_MAX ? `${text.slice(0, VALUE_MAX)}…` : text})`;
}
