import { describe, expect, test } from 'vitest';
import { createStyle, wantsColours } from './style.ts';
import { count, formatDuration, median, pad, shorten, textWidth, wrap } from './text.ts';

describe('shorten', () => {
  test.each([
    ['eni-bp112yn7qppa7kcqrp35', 10, 'end', '…a7kcqrp35'],
    ['web-86dd5b8fc4-7zk9n', 12, 'both', 'web-8…-7zk9n'],
    ['web-86dd5b8fc4-7zk9n', 8, 'start', 'web-86d…'],
    ['node-1', 6, 'start', 'node-1'],
    ['node-1', 1, 'both', '…'],
    ['node-1', 0, 'both', ''],
    ['生产环境交换机', 14, 'start', '生产环境交换机'],
    ['生产环境交换机', 13, 'start', '生产环境交换…'],
    ['生产环境交换机', 12, 'start', '生产环境交…'],
    ['生产环境交换机', 5, 'end', '…换机'],
    ['生产环境交换机', 9, 'both', '生产…换机'],
    ['cafe\u0301-1', 5, 'start', 'cafe\u0301…'],
    ['👩‍🔬👩‍🔬', 3, 'end', '…👩‍🔬'],
  ] as const)('%s to %i columns, keeping the %s', (text, width, keep, expected) => {
    expect(shorten(text, width, keep)).toBe(expected);
  });
});

test('colours have no width, also for padding', () => {
  const style = createStyle(true);
  expect(textWidth(style.bold(style.green('● Bind')))).toBe(6);
  expect(textWidth(pad(style.green('1'), 4, 'right'))).toBe(4);
});

test('a Chinese character is two columns wide, and a combining one has no width', () => {
  expect(textWidth('可用区')).toBe(6);
  expect(textWidth(pad('可用区', 8))).toBe(8);
  expect(textWidth('e\u0301')).toBe(1);
  expect(wrap('交换机 没有 空闲地址', 11)).toEqual(['交换机 没有', '空闲地址']);
});

test('without colours text is unchanged', () => {
  expect(createStyle(false).red('✗')).toBe('✗');
});

test.each([
  [true, {}, true],
  [false, {}, false],
  [true, { NO_COLOR: '1' }, false],
  [true, { NO_COLOR: '' }, true],
  [true, { TERM: 'dumb' }, false],
])('colours on a terminal: %s, with %o: %s', (isTerminal, environment, expected) => {
  expect(wantsColours(isTerminal, environment)).toBe(expected);
});

test('paragraphs break at spaces; an overlong word stays whole', () => {
  expect(wrap('a trunk for every node', 9)).toEqual(['a trunk', 'for every', 'node']);
  expect(wrap('see eni-bp112yn7qppa7kcqrp35 there', 10)).toEqual(['see', 'eni-bp112yn7qppa7kcqrp35', 'there']);
  expect(wrap('', 10)).toEqual([]);
});

test.each([
  [0, '0.00 s'],
  [2084, '2.08 s'],
  [9994, '9.99 s'],
  [9996, '10.0 s'],
  [59_949, '59.9 s'],
  [59_960, '1 min 0 s'],
  [125_400, '2 min 5 s'],
])('%i ms read as %s', (ms, expected) => {
  expect(formatDuration(ms)).toBe(expected);
});

test('counts with their noun, and the median', () => {
  expect([count(0, 'pod'), count(1, 'pod'), count(2, 'pod')]).toEqual(['0 pods', '1 pod', '2 pods']);
  expect([median([3, 1, 2]), median([4, 1, 2, 3]), median([])]).toEqual([2, 2.5, undefined]);
});
