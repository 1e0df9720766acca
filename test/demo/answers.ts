import { formatDuration } from '../../src/util/terminal/text.ts';

/** Stands for the answer that did not come. */
export const NO_ANSWER = '-';

/** What a client was answered, and when. */
export interface Answer {
  text: string;
  atMs: number;
}

/** Answers alike, one after another. */
interface Stretch {
  text: string;
  count: number;
}

/** Such as `9 × database-0 on node-1, nothing for 3.12 s, 4 × database-0 on node-2`. */
export function describeAnswers(answers: readonly Answer[], nowMs: number): string {
  const told: string[] = [];
  let seen = 0;
  for (const { text, count } of stretches(answers)) {
    const before = answers[seen - 1];
    seen += count;
    if (text !== NO_ANSWER) told.push(`${count} × ${text}`);
    else if (before === undefined) told.push('nothing yet');
    else told.push(`nothing for ${formatDuration((answers[seen]?.atMs ?? nowMs) - before.atMs)}`);
  }
  return told.join(', ');
}

/** The longest time without an answer between two that came, in ms. */
export function longestSilenceMs(answers: readonly Answer[]): number {
  const came = answers.filter(({ text }) => text !== NO_ANSWER);
  return Math.max(0, ...came.map(({ atMs }, at) => atMs - (came[at - 1]?.atMs ?? atMs)));
}

/** What is wrong with what a client saw of a pod that moved; empty when first the one answered and then the other. */
export function answerProblems(answers: readonly Answer[], before: string, after: string): string[] {
  const texts = stretches(answers.filter(({ text }) => text !== NO_ANSWER)).map(({ text }) => text);
  if (texts.length === 2 && texts[0] === before && texts[1] === after) return [];
  return [`the client was answered by ${texts.join(', then ') || 'nobody'}, not by ${before}, then ${after}`];
}

function stretches(answers: readonly Answer[]): Stretch[] {
  const found: Stretch[] = [];
  for (const { text } of answers) {
    const last = found.at(-1);
    if (last?.text === text) last.count += 1;
    else found.push({ text, count: 1 });
  }
  return found;
}
