import { formatDuration } from '../src/util/terminal/text.ts';

/** Stands for a response that did not come. */
export const NO_RESPONSE = '-';

/** A response that a client got, and when. */
export interface PodResponse {
  text: string;
  atMs: number;
}

/** Equal responses in a row. */
interface Stretch {
  text: string;
  count: number;
}

/** Such as `9 × database-0 on node-1, nothing for 3.12 s, 4 × database-0 on node-2`. */
export function describeResponses(responses: readonly PodResponse[], nowMs: number): string {
  const told: string[] = [];
  let seen = 0;
  for (const { text, count } of stretches(responses)) {
    const before = responses[seen - 1];
    seen += count;
    if (text !== NO_RESPONSE) told.push(`${count} × ${text}`);
    else if (before === undefined) told.push('nothing yet');
    else told.push(`nothing for ${formatDuration((responses[seen]?.atMs ?? nowMs) - before.atMs)}`);
  }
  return told.join(', ');
}

/** The longest time between two responses, in ms. */
export function longestSilenceMs(responses: readonly PodResponse[]): number {
  const came = responses.filter(({ text }) => text !== NO_RESPONSE);
  return Math.max(0, ...came.map(({ atMs }, at) => atMs - (came[at - 1]?.atMs ?? atMs)));
}

/** What is wrong with what a client saw of a pod that moved; empty when first the one answered and then the other. */
export function responseProblems(responses: readonly PodResponse[], before: string, after: string): string[] {
  const texts = stretches(responses.filter(({ text }) => text !== NO_RESPONSE)).map(({ text }) => text);
  if (texts.length === 2 && texts[0] === before && texts[1] === after) return [];
  return [`the client was answered by ${texts.join(', then ') || 'nobody'}, not by ${before}, then ${after}`];
}

function stretches(responses: readonly PodResponse[]): Stretch[] {
  const found: Stretch[] = [];
  for (const { text } of responses) {
    const last = found.at(-1);
    if (last?.text === text) last.count += 1;
    else found.push({ text, count: 1 });
  }
  return found;
}
