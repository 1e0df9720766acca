import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createStyle } from '../util/terminal/style.ts';
import { textWidth } from '../util/terminal/text.ts';
import { ageText, formatReport, paragraph, screenOf, tableLines } from './report.ts';

const rows = [
  { name: 'node-1.cn-hangzhou.compute.internal', why: 'a long text that says why this is as it is', zone: 'z' },
];
const columns = [
  { title: 'NAME', value: (row: (typeof rows)[number]) => row.name, minWidth: 8 },
  { title: 'ZONE', value: (row: (typeof rows)[number]) => row.zone, dropOrder: 1 },
  { title: 'WHY', value: (row: (typeof rows)[number]) => row.why, minWidth: 8 },
];

test('a table is never wider than the terminal, and names the columns that were left out', () => {
  const screen = (width: number) => ({ width, style: createStyle(false) });
  fc.assert(
    fc.property(fc.integer({ min: 24, max: 200 }), (width) => {
      for (const line of tableLines(columns, rows, screen(width))) expect(textWidth(line)).toBeLessThanOrEqual(width);
    }),
  );
  expect(tableLines(columns, rows, screen(18)).join(' ')).toContain('Not shown, terminal too narrow: ZONE.');
});

test('output to a pipe is complete and without colours', () => {
  const screen = screenOf({ isTerminal: false, columns: 20, colours: false });
  expect(tableLines(columns, rows, screen)[1]).toBe(`${rows[0]?.name}  z     ${rows[0]?.why}`);
});

test('all formats show the same data', () => {
  const report = { data: { a: [1] }, lines: () => ['a', 'b'], exitCode: 0 as const };
  const screen = screenOf({ isTerminal: true, columns: undefined, colours: false });
  expect(screen.width).toBe(80);
  expect(formatReport(report, 'json', screen)).toBe('{\n  "a": [\n    1\n  ]\n}\n');
  expect(formatReport(report, 'yaml', screen)).toBe('a:\n  - 1\n');
  expect(formatReport(report, 'table', screen)).toBe('a\nb\n');
});

test('a heading stands before the first line, and the others under it', () => {
  const screen = { width: 30, style: createStyle(false) };
  expect(paragraph('one two three four five six seven', screen, '     ', 'Pod: ')).toEqual([
    'Pod: one two three four five',
    '     six seven',
  ]);
});

test('ages are in the largest unit of which there are two', () => {
  expect([0, 119, 120, 7199, 7200, 172_799, 172_800].map((seconds) => ageText(seconds * 1000))).toEqual([
    ...['0s', '119s', '2m', '119m', '2h', '47h', '2d'],
  ]);
});
