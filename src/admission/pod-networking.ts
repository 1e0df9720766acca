import { selectorProblems } from '../allocation/labels.ts';
import type { NetworkDefaults } from '../allocation/match.ts';
import { type PodNetworking, podNetworkingSchema } from '../crds/pod-networking.ts';
import { diffJsonPatch } from '../kube/json-patch.ts';
import { cloneJson, jsonEqual } from '../kube/patch.ts';
import { firstIssue } from '../util/issues.ts';
import { childOf } from './node-choice.ts';
import { UNCHANGED, type Verdict } from './review.ts';

/** Configuration of the control plane that affects PodNetworkings. */
export interface NetworkingRules {
  enableTrunk: boolean;
  /** Owner kinds besides StatefulSet whose pods keep their names. */
  stableNameKinds: readonly string[];
  injectResources: boolean;
}

/** Fills missing vSwitches and security groups from the cluster's defaults. */
export function defaultNetworking(
  raw: Record<string, unknown>,
  defaults: NetworkDefaults | { message: string },
): Verdict {
  const parsed = podNetworkingSchema.safeParse(raw);
  // Schema errors are reported by the API server, and missing fields by the validation.
  if (!parsed.success || 'message' in defaults) return UNCHANGED;
  const { spec } = parsed.data;
  const changed = cloneJson(raw);
  const target = childOf(changed, 'spec');
  if ((spec.vSwitchOptions ?? []).length === 0) target['vSwitchOptions'] = defaults.vSwitchOptions;
  if ((spec.securityGroupIDs ?? []).length === 0) target['securityGroupIDs'] = defaults.securityGroupIDs;
  return { kind: 'allowed', patch: diffJsonPatch(raw, changed), warnings: [] };
}

/**
 * Checks what the CRD schema cannot express. Does not check whether vSwitches and security groups exist: they may be
 * created later, and the status reports it.
 *
 * @param before the object that is replaced. An update that leaves the spec unchanged is allowed whatever is wrong with
 * it.
 * @param missing why the cluster has no defaults, for a PodNetworking that needs them.
 */
export function validateNetworking(
  raw: Record<string, unknown>,
  before: Record<string, unknown> | undefined,
  rules: NetworkingRules,
  missing: string | undefined,
): Verdict {
  if (before !== undefined && jsonEqual(raw['spec'], before['spec'])) return UNCHANGED;
  const parsed = podNetworkingSchema.safeParse(raw);
  if (!parsed.success) {
    const { field, rule } = firstIssue(parsed.error);
    return { kind: 'denied', code: 422, message: `${field}: ${rule}` };
  }
  const problems = problemsOf(parsed.data, rules, missing);
  if (problems.length > 0) return { kind: 'denied', code: 422, message: problems.join('; ') };
  return { kind: 'allowed', patch: [], warnings: warningsOf(parsed.data, rules) };
}

function problemsOf(
  { spec }: PodNetworking,
  { injectResources }: NetworkingRules,
  missing: string | undefined,
): string[] {
  const problems: string[] = [];
  const because = missing === undefined ? '' : `, and there is no default: ${missing}`;
  for (const [field, what] of [
    ['vSwitchOptions', 'vSwitch'],
    ['securityGroupIDs', 'security group'],
  ] as const) {
    if ((spec[field] ?? []).length === 0) problems.push(`spec.${field}: empty; name at least one ${what}${because}`);
  }
  const { podSelector, namespaceSelector } = spec.selector ?? {};
  for (const [name, selector] of Object.entries({ podSelector, namespaceSelector })) {
    if (selector !== undefined) problems.push(...selectorProblems(selector, `spec.selector.${name}`));
  }
  const { eniType } = spec.eniOptions;
  if (!injectResources && podSelector === undefined && namespaceSelector === undefined && eniType !== 'Default') {
    problems.push(
      `spec.eniOptions.eniType: ${eniType} needs a selector while webhook.injectResources is false; use Default or set spec.selector`,
    );
  }
  return problems;
}

function warningsOf({ spec }: PodNetworking, { enableTrunk }: NetworkingRules): string[] {
  const warnings: string[] = [];
  if (spec.eniOptions.eniType === 'Trunk' && !enableTrunk) {
    warnings.push(
      'spec.eniOptions.eniType: Trunk, but enableTrunk is false in the configuration: its pods will be denied',
    );
  }
  const selectors = Object.values(spec.selector ?? {});
  const isEmpty = (selector: (typeof selectors)[number]) =>
    Object.keys(selector?.matchLabels ?? {}).length === 0 && (selector?.matchExpressions ?? []).length === 0;
  if (selectors.length > 0 && selectors.every(isEmpty))
    warnings.push('spec.selector: selects every pod of the cluster');
  return warnings;
}
