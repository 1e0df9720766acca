import stringWidth from 'string-width';

const ELLIPSIS = '…';
const graphemes = new Intl.Segmenter();

/** The part of a text that stays when it is shortened. */
export type Keep = 'start' | 'end' | 'both';

/** Width of the text in terminal columns: two for a Chinese character, none for colours. */
export function textWidth(text: string): number {
  return stringWidth(text);
}

/** Shortens the text to at most `width` columns. Expects text without colours. */
export function shorten(text: string, width: number, keep: Keep = 'start'): string {
  if (textWidth(text) <= width) return text;
  const room = width - 1;
  if (room < 0) return '';
  const characters = Array.from(graphemes.segment(text), ({ segment }) => segment);
  const headRoom = keep === 'start' ? room : keep === 'end' ? 0 : Math.floor(room / 2);
  const head = fitting(characters, headRoom);
  const tail = fitting(characters.toReversed(), room - headRoom).toReversed();
  return [...head, ELLIPSIS, ...tail].join('');
}

/** The longest prefix that fits into `width` columns. */
function fitting(characters: readonly string[], width: number): string[] {
  let used = 0;
  const end = characters.findIndex((character) => {
    used += textWidth(character);
    return used > width;
  });
  return characters.slice(0, end < 0 ? characters.length : end);
}

/** Pads with spaces to `width` columns. */
export function pad(text: string, width: number, align: 'left' | 'right' = 'left'): string {
  const spaces = ' '.repeat(Math.max(0, width - textWidth(text)));
  return align === 'left' ? text + spaces : spaces + text;
}

/** Breaks a paragraph at spaces into lines of at most `width` columns; a longer word gets its own line. */
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

/** The median; undefined for an empty list. */
export function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((left, right) => left - right);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.ceil(sorted.length / 2) - 1];
  return upper === undefined || lower === undefined ? undefined : (upper + lower) / 2;
}
