import { z } from 'zod';

/** Where the cluster's defaults stand (reference 6.1). */
export const ENI_CONFIG = { namespace: 'kube-system', name: 'eni-config', key: 'eni_conf' } as const;

/**
 * What the control plane reads of `eni_conf`. Keys that only the node daemon knows are left alone.
 */
const eniConfSchema = z.looseObject({
  vswitches: z.record(z.string(), z.array(z.string())).default({}),
  security_group: z.string().optional(),
  security_groups: z.array(z.string()).max(10).optional(),
});

/** vSwitches and security groups of the cluster, for trunk ENIs. */
export interface EniConfig {
  vSwitchesByZone: Record<string, string[]>;
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
    return { error: `${where}: is not JSON: ${error instanceof Error ? error.message : String(error)}` };
  }
  const parsed = eniConfSchema.safeParse(raw);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return { error: `${where}: ${issue?.path.join('.')}: ${issue?.message}` };
  }
  const { vswitches, security_group: one, security_groups: several } = parsed.data;
  const securityGroupIds = [...new Set([...(several ?? []), ...(one === undefined ? [] : [one])])];
  if (securityGroupIds.length === 0)
    return { error: `${where}: names no security group (security_group or security_groups)` };
  return { config: { vSwitchesByZone: vswitches, securityGroupIds } };
}
