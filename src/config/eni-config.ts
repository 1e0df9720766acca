import { z } from 'zod';
import { errorMessage } from '../util/errors.ts';

/** Where the cluster's defaults stand (reference 6.1). */
export const ENI_CONFIG = { namespace: 'kube-system', name: 'eni-config', key: 'eni_conf' } as const;

const SECURITY_GROUPS_MAX = 10;

const ids = z.union([z.array(z.string()), z.string().transform((id) => [id])]);

/**
 * What the control plane reads of `eni_conf`. Keys that only the node daemon knows are left alone.
 */
const eniConfSchema = z.looseObject({
  vswitches: z
    .union([z.record(z.string(), ids), ids], 'must be a map of zone to vSwitch ids, or a list of vSwitch ids')
    .default({}),
  security_group: z.string().optional(),
  security_groups: z.array(z.string()).optional(),
});

/** vSwitches and security groups of the cluster, for trunk ENIs. */
export interface EniConfig {
  vSwitchesByZone: Record<string, string[]>;
  /** Of a configuration that names no zones; each counts in the zone where it lies. */
  vSwitchesAnywhere: string[];
  securityGroupIds: string[];
}

/**
 * Parses the data of the ConfigMap `eni-config`.
 *
 * @returns the configuration, or one line that names key and rule.
 */
export function parseEniConfig(data: Record<string, string>): { config: EniConfig } | { error: string } {
  const where = `ConfigMap ${ENI_CONFIG.namespace}/${ENI_CONFIG.name}, key ${ENI_CONFIG.key}`;
  const text = data[ENI_CONFIG.key];
  if (text === undefined) return { error: `${where}: is missing` };
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (error) {
    // V8 quotes the text around the mistake, line breaks included.
    return { error: `${where}: is not JSON: ${errorMessage(error).replace(/\s+/g, ' ')}` };
  }
  const parsed = eniConfSchema.safeParse(raw);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const field = issue === undefined || issue.path.length === 0 ? 'top level' : issue.path.join('.');
    return { error: `${where}: ${field}: ${issue?.message}` };
  }
  const { vswitches, security_group: one, security_groups: several } = parsed.data;
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
  return { config: { ...places, securityGroupIds } };
}
