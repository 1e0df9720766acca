import { describe, expect, test } from 'vitest';
import { describeResponses, longestSilenceMs, NO_RESPONSE, type PodResponse, responseProblems } from './responses.ts';

const A = 'database-0 on node-1';
const B = 'database-0 on node-2';

/** One every second, from 1000 ms on. */
function responses(...texts: string[]): PodResponse[] {
  return texts.map((text, at) => ({ text, atMs: 1000 * (at + 1) }));
}

test('a pod that moved, as its client saw it', () => {
  const seen = responses(A, A, NO_RESPONSE, NO_RESPONSE, B);
  expect(describeResponses(seen, 9000)).toBe(`2 × ${A}, nothing for 3.00 s, 1 × ${B}`);
  expect(longestSilenceMs(seen)).toBe(3000);
  expect(responseProblems(seen, A, B)).toEqual([]);
});

test('a silence that lasts is told until now', () => {
  expect(describeResponses(responses(A, NO_RESPONSE), 5000)).toBe(`1 × ${A}, nothing for 4.00 s`);
  expect(describeResponses(responses(NO_RESPONSE), 5000)).toBe('nothing yet');
  expect(describeResponses([], 5000)).toBe('');
});

describe('it is a problem', () => {
  test.each([
    ['when the new one never responses', [A, A, NO_RESPONSE]],
    ['when the old one responses again', [A, B, A]],
    ['when another one responses', [A, 'web-1 on node-3', B]],
    ['when nobody responses', [NO_RESPONSE]],
  ])('%s', (_, texts) => {
    expect(responseProblems(responses(...texts), A, B)).not.toEqual([]);
  });
});

test('no silence without two responses', () => {
  expect(longestSilenceMs(responses(A))).toBe(0);
  expect(longestSilenceMs([])).toBe(0);
});
