import { rfc3339 } from '../util/clock.ts';

/** `metav1.Condition`. */
export interface Condition {
  type: string;
  status: 'True' | 'False' | 'Unknown';
  reason: string;
  message: string;
  lastTransitionTime: string;
  observedGeneration?: number | undefined;
}

/** A condition as its observer states it; the transition time is added by {@link setCondition}. */
export type ConditionInput = Omit<Condition, 'lastTransitionTime'>;

/** The condition of that type, or undefined. */
export function findCondition(conditions: readonly Condition[] | undefined, type: string): Condition | undefined {
  return conditions?.find((condition) => condition.type === type);
}

/**
 * Sets one condition in a list, without changing the argument. `lastTransitionTime` changes only with the status. When
 * nothing differs, the same array is returned, so an identity comparison tells whether a write is needed.
 *
 * @param nowMs wall-clock time in milliseconds since the epoch
 */
export function setCondition(conditions: Condition[] | undefined, input: ConditionInput, nowMs: number): Condition[] {
  const list = conditions ?? [];
  const index = list.findIndex((condition) => condition.type === input.type);
  const previous = list[index];
  if (previous === undefined) return [...list, { ...input, lastTransitionTime: rfc3339(nowMs) }];
  if (
    previous.status === input.status &&
    previous.reason === input.reason &&
    previous.message === input.message &&
    previous.observedGeneration === input.observedGeneration
  ) {
    return list;
  }
  const lastTransitionTime = previous.status === input.status ? previous.lastTransitionTime : rfc3339(nowMs);
  return list.with(index, { ...input, lastTransitionTime });
}
