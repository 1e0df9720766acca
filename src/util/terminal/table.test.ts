import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { createStyle } from './style.ts';
import { type Column, layoutTable, renderTable } from './table.ts';
import { textWidth } from './text.ts';

interface Row {
  name: string;
  id: string;
  note: string;
}

const COLUMNS: Column<Row>[] = [
  { title: 'NAME', value: (row) => row.name },
  { title: 'ID', value: (row) => row.id, minWidth: 5, keep: 'end' },
  { title: 'NOTE', value: (row) => row.note, dropOrder: 1 },
];
const ROW: Row = { name: 'web', id: 'eni-0123456789', note: 'all is well' };

const lines = (width: number) => renderTable(layoutTable(COLUMNS, [ROW], width), [ROW], createStyle(false));

test('long values are shortened first, then columns are left out', () => {
  expect(lines(40)).toEqual(['NAME  ID              NOTE', 'web   eni-0123456789  all is well']);
  expect(lines(24)).toEqual(['NAME  ID     NOTE', 'web   …6789  all is well']);
  expect(lines(23)).toEqual(['NAME  ID', 'web   eni-0123456789']);
  expect(layoutTable(COLUMNS, [ROW], 23).omitted.map(({ title }) => title)).toEqual(['NOTE']);
});

test('mandatory columns stay even when they do not fit', () => {
  expect(lines(1)).toEqual(['NAME  ID', 'web   …6789']);
});

test('numbers are aligned right', () => {
  const column: Column<number> = { title: 'VLAN', value: String, align: 'right' };
  expect(renderTable(layoutTable([column], [7, 42], 80), [7, 42], createStyle(false))).toEqual([
    'VLAN',
    '   7',
    '  42',
  ]);
});

test('columns are aligned with Chinese values too', () => {
  const rows: Row[] = [{ name: '网页', id: 'eni-1', note: '一切正常' }, ROW];
  const [titles, chinese = '', latin = ''] = renderTable(layoutTable(COLUMNS, rows, 80), rows, createStyle(false));
  expect(titles).toBe('NAME  ID              NOTE');
  expect(textWidth(chinese.slice(0, chinese.indexOf('一')))).toBe(latin.indexOf('all'));
});

test('a table never exceeds its width if it can fit', () => {
  const text = fc.oneof(
    fc.string(),
    fc.string({ unit: fc.constantFrom('a', '网', 'e', '\u0301', '…', '👩', '\u200d', '🔬', 'ｱ', 'ﾞ') }),
  );
  // The name may not be shortened: at most 12 columns.
  const name = text.map((value) => Array.from(value).slice(0, 6).join(''));
  const rows = fc.array(fc.record({ name, id: text, note: text }));
  // 12 + 2 + 5: the mandatory columns at their minimum.
  fc.assert(
    fc.property(rows, fc.integer({ min: 19, max: 200 }), (some, width) => {
      const layout = layoutTable(COLUMNS, some, width);
      const columns = layout.columns.reduce((sum, each) => sum + each.width, 0) + 2 * (layout.columns.length - 1);
      expect(columns).toBeLessThanOrEqual(width);
      expect(layout.columns.length + layout.omitted.length).toBe(COLUMNS.length);
      for (const line of renderTable(layout, some, createStyle(false)))
        expect(textWidth(line)).toBeLessThanOrEqual(width);
    }),
  );
});
