import type * as z from 'zod';

/**
 * The first issue of data that a schema refused, in terms of the file that it came from.
 *
 * @returns field, such as `collector.interval`, and rule. Only numbers and enum values are quoted (parse with `reportInput`
 *   for that); a value that may be a secret never is.
 */
export function firstIssue(error: z.ZodError): { field: string; rule: string } {
  const [issue] = error.issues;
  if (issue === undefined) return { field: 'top level', rule: 'is invalid' };
  return { field: issue.path.length === 0 ? 'top level' : issue.path.join('.'), rule: ruleOf(issue) };
}

/** Prefers the schema's own message. */
function ruleOf(issue: z.core.$ZodIssue): string {
  const { message } = issue;
  const [, expected = '', received] = /^Invalid input: expected (\w+), received (\w+)$/.exec(message) ?? [];
  if (received === 'undefined') return 'is missing';
  if (expected === 'int') return `must be a whole number${notThis(issue)}`;
  if (received !== undefined) return `must be of type ${expected}, not ${received}`;
  if (issue.code === 'unrecognized_keys') return `unknown key ${issue.keys.join(', ')}`;
  if (issue.code === 'invalid_value' && message.startsWith('Invalid option'))
    return `must be one of ${issue.values.map((value) => JSON.stringify(value)).join(', ')}${notThis(issue)}`;
  if (issue.code === 'too_small' && message.startsWith('Too small')) {
    if (issue.origin === 'string' && issue.minimum === 1) return 'must not be empty';
    return `must be ${issue.inclusive === false ? 'more than' : 'at least'} ${issue.minimum}${unitOf(issue)}${notThis(issue)}`;
  }
  if (issue.code === 'too_big' && message.startsWith('Too big'))
    return `must be ${issue.inclusive === false ? 'less than' : 'at most'} ${issue.maximum}${unitOf(issue)}${notThis(issue)}`;
  return message;
}

function unitOf({ origin }: { origin: string }): string {
  return origin === 'string' ? ' characters long' : origin === 'array' ? ' entries long' : '';
}

function notThis({ code, input }: z.core.$ZodIssue): string {
  const isTold = typeof input === 'number' || (code === 'invalid_value' && typeof input === 'string');
  return isTold ? `, not ${JSON.stringify(input)}` : '';
}
