import { stringify } from 'yaml';
import { createStyle, type Style } from '../util/terminal/style.ts';
import { type Column, layoutTable, renderTable } from '../util/terminal/table.ts';
import { textWidth, wrap } from '../util/terminal/text.ts';

/** Where text is shown. */
export interface Screen {
  /** Columns; infinite when the output is not a terminal. */
  width: number;
  style: Style;
}

/** What a command found: the same data for people and for programs. */
export interface Report {
  data: unknown;
  lines(screen: Screen): string[];
  /** 1: something is wrong. */
  exitCode: 0 | 1;
}

export type OutputFormat = 'table' | 'json' | 'yaml';

/** The text that is written to standard output. */
export function formatReport(report: Report, format: OutputFormat, screen: Screen): string {
  switch (format) {
    case 'json':
      return `${JSON.stringify(report.data, null, 2)}\n`;
    case 'yaml':
      return stringify(report.data, { aliasDuplicateObjects: false });
    case 'table':
      return report
        .lines(screen)
        .map((line) => `${line}\n`)
        .join('');
  }
}

/** A table that fits the screen, and the names of the columns that were left out. */
export function tableLines<R>(columns: readonly Column<R>[], rows: readonly R[], screen: Screen): string[] {
  const layout = layoutTable(columns, rows, screen.width);
  const lines = renderTable(layout, rows, screen.style);
  if (layout.omitted.length === 0) return lines;
  const names = layout.omitted.map(({ title }) => title).join(', ');
  return [...lines, ...paragraph(`Not shown, terminal too narrow: ${names}.`, screen).map(screen.style.dim)];
}

/** Wraps text to the screen. Each line begins with `indent`, the first with `heading` (of the same width) instead. */
export function paragraph(text: string, { width }: Screen, indent = '', heading = indent): string[] {
  const indentWidth = textWidth(indent);
  const [first = '', ...rest] = wrap(text, Math.max(20, width - indentWidth));
  return [heading + first, ...rest.map((line) => indent + line)];
}

/** The screen of a terminal, or of a pipe. */
export function screenOf(options: { isTerminal: boolean; columns: number | undefined; colours: boolean }): Screen {
  const width = options.isTerminal ? (options.columns ?? 80) : Number.POSITIVE_INFINITY;
  return { width, style: createStyle(options.colours) };
}

/** Such as `3s`, `5m`, `2h`, `4d`: the largest unit that is at least two of it. */
export function ageText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}
