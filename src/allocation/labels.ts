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

/** A key such as `constructor` is a label like any other. */
function labelOf(labels: Record<string, string>, key: string): string | undefined {
  return Object.hasOwn(labels, key) ? labels[key] : undefined;
}
