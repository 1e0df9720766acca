import type { Reason } from '../crds/reasons/catalogue.ts';
import { type Condition, setCondition } from '../kube/conditions.ts';

/** A condition as a controller sets it. */
export interface StatedCondition {
  type: string;
  status: 'True' | 'False' | 'Unknown';
  reason: Reason;
  message: string;
}

/** {@link setCondition} with a reason from the catalogue and the observed generation. */
export function stateCondition(
  conditions: Condition[] | undefined,
  { metadata }: { metadata: { generation?: number | undefined } },
  stated: StatedCondition,
  nowMs: number,
): Condition[] {
  const { generation } = metadata;
  const observed = generation === undefined ? {} : { observedGeneration: generation };
  return setCondition(conditions, { ...stated, ...observed }, nowMs);
}
