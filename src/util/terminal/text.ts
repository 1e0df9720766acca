import { stripVTControlCharacters } from 'node:util';

const ELLIPSIS = '…';

/** Which part of a text says most, and stays when it has to be shortened. */
export type Keep = 'start' | 'end' | 'both';

/** Columns that the text takes; colours take none. What the product writes is one column per code point. */
export function textWidth(text: string): number {
  return Array.from(stripVTControlCharacters(text)).length;
}

/** The text, if need be shortened to `width` columns; without colours in it. */
export function shorten(text: string, width: number, keep: Keep = 'start'): string {
  const characters = Array.from(text);
  if (characters.length <= width) return text;
  const room = width - 1;
  if (room < 0) return '';
  const head = keep === 'start' ? room : keep === 'end' ? 0 : Math.floor(room / 2);
  const tail = room - head;
  return `${characters.slice(0, head).join('')}${ELLIPSIS}${tail === 0 ? '' : characters.slice(-tail).join('')}`;
}

/** Fills up with spaces to `width` columns. */
export function pad(text: string, width: number, align: 'left' | 'right' = 'left'): string {
  const spaces = ' '.repeat(Math.max(0, width - textWidth(text)));
  return align === 'left' ? text + spaces : spaces + text;
}

/** Breaks a paragraph at spaces into lines of at most `width` columns; a longer word has a line of its own. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/)) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (line === '' || textWidth(longer) <= width) line = longer;
    else {
      lines.push(line);
      line = word;
    }
  }
  return line === '' ? lines : [...lines, line];
}

/** Such as `0.31 s`, `1.94 s`, `12.3 s`, `2 min 5 s`. */
export function formatDuration(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 9.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** Such as `1 pod`, `2 pods`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

/** The middle value, or the mean of the two middle ones; undefined of nothing. */
export function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((left, right) => left - right);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.ceil(sorted.length / 2) - 1];
  return upper === undefined || lower === undefined ? undefined : (upper + lower) / 2;
}
