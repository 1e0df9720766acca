import type { z } from 'zod';

/** What is wrong with a value that a schema has refused: the first field and its rule, in one line. */
export function firstIssue({ issues: [issue] }: z.ZodError): string {
  const field = issue === undefined || issue.path.length === 0 ? 'top level' : issue.path.join('.');
  return `${field}: ${ruleOf(issue)}`;
}

function ruleOf(issue: z.core.$ZodIssue | undefined): string {
  if (issue === undefined) return 'is invalid';
  if (issue.code === 'unrecognized_keys') return `unknown key ${issue.keys.join(', ')}`;
  const [, expected, received] = /^Invalid input: expected (\w+), received (\w+)$/.exec(issue.message) ?? [];
  if (expected === undefined) return issue.message;
  return received === 'undefined' ? 'is missing' : `must be of type ${expected}, not ${received}`;
}
