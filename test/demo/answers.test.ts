import { describe, expect, test } from 'vitest';
import { type Answer, answerProblems, describeAnswers, longestSilenceMs, NO_ANSWER } from './answers.ts';

const A = 'database-0 on node-1';
const B = 'database-0 on node-2';

/** One every second, from 1000 ms on. */
function answers(...texts: string[]): Answer[] {
  return texts.map((text, at) => ({ text, atMs: 1000 * (at + 1) }));
}

test('a pod that moved, as its client saw it', () => {
  const seen = answers(A, A, NO_ANSWER, NO_ANSWER, B);
  expect(describeAnswers(seen, 9000)).toBe(`2 × ${A}, nothing for 3.00 s, 1 × ${B}`);
  expect(longestSilenceMs(seen)).toBe(3000);
  expect(answerProblems(seen, A, B)).toEqual([]);
});

test('a silence that lasts is told until now', () => {
  expect(describeAnswers(answers(A, NO_ANSWER), 5000)).toBe(`1 × ${A}, nothing for 4.00 s`);
  expect(describeAnswers(answers(NO_ANSWER), 5000)).toBe('nothing yet');
  expect(describeAnswers([], 5000)).toBe('');
});

describe('it is a problem', () => {
  test.each([
    ['when the new one never answers', [A, A, NO_ANSWER]],
    ['when the old one answers again', [A, B, A]],
    ['when another one answers', [A, 'web-1 on node-3', B]],
    ['when nobody answers', [NO_ANSWER]],
  ])('%s', (_, texts) => {
    expect(answerProblems(answers(...texts), A, B)).not.toEqual([]);
  });
});

test('no silence without two answers', () => {
  expect(longestSilenceMs(answers(A))).toBe(0);
  expect(longestSilenceMs([])).toBe(0);
});
