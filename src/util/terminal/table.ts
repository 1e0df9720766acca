import type { Style } from './style.ts';
import { type Keep, pad, shorten, textWidth } from './text.ts';

/** One column of a table of `R`. */
export interface Column<R> {
  title: string;
  value: (row: R) => string;
  align?: 'left' | 'right';
  /** May be shortened to this many columns, losing what `keep` does not name. Without it, it is whole or not there. */
  minWidth?: number;
  keep?: Keep;
  /** What a value commonly takes; a live table has this from the beginning, so that columns do not jump. */
  usualWidth?: number;
  /** Where room is short, the column with the highest number goes first; those without one stay. */
  dropOrder?: number;
  /** Colours a padded cell. */
  paint?: (text: string, row: R) => string;
}

export interface Layout<R> {
  columns: { column: Column<R>; width: number }[];
  /** For which there was no room, in their own order. */
  omitted: Column<R>[];
}

const GAP = '  ';

/**
 * Chooses columns and their widths so that a line takes at most `width` columns: first values are shortened, those
 * that can give most first; then columns are left out by their `dropOrder`. When only those are left that must stay, their values
 * are shortened as far as they may be, and lines may be longer.
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
  // Trailing spaces would wrap on a terminal that becomes narrower.
  return [titles, ...body].map((cells) => cells.join(GAP).trimEnd());
}

function cell<R>(text: string, width: number, column: Column<R>): string {
  return pad(shorten(text, width, column.keep), width, column.align);
}

/** Takes from the one that can give most, one column of the terminal at a time. @returns whether it fits then. */
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
