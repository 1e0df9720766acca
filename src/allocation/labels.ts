import type { LabelSelector } from '../crds/pod-networking.ts';

/**
 * Whether labels satisfy a `metav1.LabelSelector`. An empty selector matches everything.
 *
 * @returns undefined when the selector is invalid (an unknown operator), so that the caller can name the object that holds it.
 */
export function matchesSelector(selector: LabelSelector, labels: Record<string, string>): boolean | undefined {
  for (const [key, value] of Object.entries(selector.matchLabels ?? {})) {
    if (labelOf(labels, key) !== value) return false;
  }
  for (const { key, operator, values = [] } of selector.matchExpressions ?? []) {
    const value = labelOf(labels, key);
    switch (operator) {
      case 'In':
        if (value === undefined || !values.includes(value)) return false;
        break;
      case 'NotIn':
        if (value !== undefined && values.includes(value)) return false;
        break;
      case 'Exists':
        if (value === undefined) return false;
        break;
      case 'DoesNotExist':
        if (value !== undefined) return false;
        break;
      default:
        return undefined;
    }
  }
  return true;
}

/** Own properties only: a key such as `constructor` is an ordinary label. */
function labelOf(labels: Record<string, string>, key: string): string | undefined {
  return Object.hasOwn(labels, key) ? labels[key] : undefined;
}

const NAME = /^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;
const PREFIX = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/;
const MAX_PREFIX_LENGTH = 253;
const NEEDS_VALUES: Record<string, boolean> = { In: true, NotIn: true, Exists: false, DoesNotExist: false };

/**
 * What the API server would refuse in a selector of its own kinds but does not validate in a custom resource.
 *
 * @param path of the selector, such as `spec.selector.podSelector`.
 * @returns one line per mistake that names field, value and rule.
 */
export function selectorProblems(selector: LabelSelector, path: string): string[] {
  const problems: string[] = [];
  for (const [key, value] of Object.entries(selector.matchLabels ?? {})) {
    problems.push(...keyProblems(key, `${path}.matchLabels`), ...valueProblems(value, `${path}.matchLabels[${key}]`));
  }
  for (const [at, { key, operator, values = [] }] of (selector.matchExpressions ?? []).entries()) {
    const place = `${path}.matchExpressions[${at}]`;
    problems.push(...keyProblems(key, `${place}.key`));
    const needsValues = Object.hasOwn(NEEDS_VALUES, operator) ? NEEDS_VALUES[operator] : undefined;
    if (needsValues === undefined) {
      problems.push(`${place}.operator: "${operator}" is not one of ${Object.keys(NEEDS_VALUES).join(', ')}`);
    } else if (needsValues && values.length === 0) {
      problems.push(`${place}.values: empty; operator ${operator} needs at least one value`);
    } else if (!needsValues && values.length > 0) {
      problems.push(`${place}.values: must be empty with operator ${operator}`);
    }
    for (const [index, value] of values.entries()) problems.push(...valueProblems(value, `${place}.values[${index}]`));
  }
  return problems;
}

function keyProblems(key: string, place: string): string[] {
  const slash = key.indexOf('/');
  const [prefix, name] = slash < 0 ? [undefined, key] : [key.slice(0, slash), key.slice(slash + 1)];
  const isPrefixRight = prefix === undefined || (prefix.length <= MAX_PREFIX_LENGTH && PREFIX.test(prefix));
  if (isPrefixRight && NAME.test(name)) return [];
  return [
    `${place}: "${key}" is not a label key, which is a name of at most 63 letters, digits, '-', '_' or '.', optionally with a DNS name and '/' before it`,
  ];
}

function valueProblems(value: string, place: string): string[] {
  if (value === '' || NAME.test(value)) return [];
  return [
    `${place}: "${value}" is not a label value, which has at most 63 letters, digits, '-', '_' or '.', and begins and ends with a letter or digit`,
  ];
}
