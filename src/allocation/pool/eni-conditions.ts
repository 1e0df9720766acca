import type { NodeEni } from '../../crds/node.ts';
import { rfc3339 } from '../../util/clock.ts';
import { withoutRequestId } from '../../util/same-failure.ts';
import type { Operation } from '../operation.ts';

/** The record's bound for a message. */
const LONGEST_MESSAGE = 256;

/**
 * The record of an ENI with the conditions that Terway's daemon prints when a pod gets no address: `InsufficientIP` and `OperationErr`.
 * They stay until a later call for the ENI succeeds, and keep the time of the first of equal failures. Pure.
 *
 * @param operation the last call for the ENI
 */
export function withOutcome(eni: NodeEni, operation: Operation | undefined): NodeEni {
  if (operation === undefined || operation.state === 'running') return eni;
  if (operation.state === 'succeeded') {
    if (eni.conditions === undefined) return eni;
    const { conditions: _ended, ...rest } = eni;
    return rest;
  }
  const { kind, message } = operation.failure;
  // Somebody else gave the address back, which is what was wanted.
  if (kind === 'unassigned') return eni;
  const type = kind === 'exhausted' ? 'InsufficientIP' : 'OperationErr';
  const before = eni.conditions?.[type]?.message;
  const text = message.slice(0, LONGEST_MESSAGE);
  if (before !== undefined && withoutRequestId(before) === withoutRequestId(text)) return eni;
  const condition = { observedTime: rfc3339(operation.atMs), message: text };
  return { ...eni, conditions: { ...eni.conditions, [type]: condition } };
}
