import { LABEL_EXCLUSIVE_MODE } from '../crds/names.ts';
import { isRecord } from '../util/json.ts';
import type { IncomingPod, NodeSelectorTerm } from './pod.ts';

/** Well-known label that holds the zone of a node. */
export const LABEL_ZONE = 'topology.kubernetes.io/zone';

/**
 * Whether the pod can only run on nodes that provide whole ENIs, by its nodeSelector or by every term of its affinity.
 */
export function asksForExclusiveNode({ spec }: IncomingPod): boolean {
  if (isExclusiveValue(spec.nodeSelector?.[LABEL_EXCLUSIVE_MODE])) return true;
  const terms = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [];
  const effective = terms.filter((term) => !isEmpty(term));
  return effective.length > 0 && effective.every(asksForExclusive);
}

function asksForExclusive({ matchExpressions }: NodeSelectorTerm): boolean {
  return (matchExpressions ?? []).some(
    ({ key, operator, values }) =>
      key === LABEL_EXCLUSIVE_MODE &&
      operator === 'In' &&
      (values ?? []).length > 0 &&
      (values ?? []).every(isExclusiveValue),
  );
}

function isExclusiveValue(value: string | undefined): boolean {
  return value?.toLowerCase() === 'enionly';
}

/** A term without requirements matches nothing; adding a requirement would make it match. */
function isEmpty({ matchExpressions, matchFields }: NodeSelectorTerm): boolean {
  return (matchExpressions ?? []).length === 0 && (matchFields ?? []).length === 0;
}

/**
 * Restricts a pod to zones. Each term of its required node affinity gets the requirement, because terms are
 * alternatives. A pod that already has it is left unchanged.
 *
 * @param spec of the raw pod; it is modified.
 */
export function requireZones(spec: Record<string, unknown>, zones: readonly string[]): void {
  const requirement = { key: LABEL_ZONE, operator: 'In', values: [...zones].sort() };
  const affinity = childOf(spec, 'affinity');
  const nodeAffinity = childOf(affinity, 'nodeAffinity');
  const required = childOf(nodeAffinity, 'requiredDuringSchedulingIgnoredDuringExecution');
  const terms = required['nodeSelectorTerms'];
  if (!Array.isArray(terms) || terms.length === 0) {
    required['nodeSelectorTerms'] = [{ matchExpressions: [requirement] }];
    return;
  }
  for (const term of terms) {
    if (!isRecord(term)) continue;
    const expressions: unknown = term['matchExpressions'];
    const fields: unknown = term['matchFields'];
    const present: unknown[] = Array.isArray(expressions) ? expressions : [];
    if (present.length === 0 && !(Array.isArray(fields) && fields.length > 0)) continue;
    if (present.some((other) => saysTheSame(other, requirement))) continue;
    term['matchExpressions'] = [...present, requirement];
  }
}

function saysTheSame(other: unknown, { key, operator, values }: { key: string; operator: string; values: string[] }) {
  if (!isRecord(other) || other['key'] !== key || other['operator'] !== operator) return false;
  const theirs: unknown = other['values'];
  return Array.isArray(theirs) && [...new Set(theirs.map(String))].sort().join() === values.join();
}

/** The object under `key`, created if missing. */
export function childOf(parent: Record<string, unknown>, key: string): Record<string, unknown> {
  const child = parent[key];
  if (isRecord(child)) return child;
  const made: Record<string, unknown> = {};
  parent[key] = made;
  return made;
}
