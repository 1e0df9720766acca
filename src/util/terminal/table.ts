import type { Style } from './style.ts';
import { type Keep, pad, shorten, textWidth } from './text.ts';

/** One column of a table of `R`. */
export interface Column<R> {
  title: string;
  value: (row: R) => string;
  align?: 'left' | 'right';
  /** May be shortened to this many columns, keeping the part that `keep` names. Without it, the value is never shortened. */
  minWidth?: number;
  keep?: Keep;
  /** Typical width of a value; a live table starts with it so that columns do not jump. */
  usualWidth?: number;
  /** When space is short, the column with the highest number is dropped first; those without one stay. */
  dropOrder?: number;
  /** Colours a padded cell. */
  paint?: (text: string, row: R) => string;
}

export interface Layout<R> {
  columns: { column: Column<R>; width: number }[];
  /** Columns that were left out, in their original order. */
  omitted: Column<R>[];
}

const GAP = '  ';

/**
 * Chooses columns and their widths so that a line has at most `width` characters. Values are shortened first, the longest
 * slack first; then columns are left out by `dropOrder`. Mandatory columns are shortened as far as allowed, and lines may
 * still be too long.
 */
export function layoutTable<R>(
  columns: readonly Column<R>[],
  rows: readonly R[],
  width: number,
  options: { live?: boolean } = {},
): Layout<R> {
  const usualWidth = (column: Column<R>) => (options.live === true ? (column.usualWidth ?? 0) : 0);
  const omitted = new Set<Column<R>>();
  for (;;) {
    const kept = columns.filter((column) => !omitted.has(column));
    const sized = kept.map((column) => ({
      column,
      width: Math.max(textWidth(column.title), usualWidth(column), ...rows.map((row) => textWidth(column.value(row)))),
    }));
    const fits = shrink(sized, width);
    const victim = fits ? undefined : droppable(kept);
    if (victim === undefined) return { columns: sized, omitted: columns.filter((column) => omitted.has(column)) };
    omitted.add(victim);
  }
}

/** The lines of a table: titles, then rows. */
export function renderTable<R>(layout: Layout<R>, rows: readonly R[], style: Style): string[] {
  const { columns } = layout;
  const titles = columns.map(({ column, width }) => style.dim(cell(column.title, width, column)));
  const body = rows.map((row) =>
    columns.map(({ column, width }) => {
      const text = cell(column.value(row), width, column);
      return column.paint === undefined ? text : column.paint(text, row);
    }),
  );
  // Trailing spaces would wrap when the terminal gets narrower.
  return [titles, ...body].map((cells) => cells.join(GAP).trimEnd());
}

function cell<R>(text: string, width: number, column: Column<R>): string {
  return pad(shorten(text, width, column.keep), width, column.align);
}

/** Shrinks the column with the most slack, one character at a time. @returns whether the line fits */
function shrink<R>(sized: { column: Column<R>; width: number }[], width: number): boolean {
  let excess = sized.reduce((sum, each) => sum + each.width, 0) + GAP.length * (sized.length - 1) - width;
  while (excess > 0) {
    let giver: { column: Column<R>; width: number } | undefined;
    let mostToGive = 0;
    for (const each of sized) {
      const toGive = each.width - Math.max(each.column.minWidth ?? each.width, textWidth(each.column.title));
      if (toGive > mostToGive) {
        giver = each;
        mostToGive = toGive;
      }
    }
    if (giver === undefined) return false;
    giver.width -= 1;
    excess -= 1;
  }
  return true;
}

function droppable<R>(columns: readonly Column<R>[]): Column<R> | undefined {
  let first: Column<R> | undefined;
  for (const column of columns) {
    if (column.dropOrder !== undefined && column.dropOrder > (first?.dropOrder ?? 0)) first = column;
  }
  return first;
}
