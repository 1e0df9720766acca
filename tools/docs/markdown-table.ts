/** A Markdown table with aligned columns. The first row is the header. */
export function markdownTable([head = [], ...rows]: string[][]): string {
  const widths = head.map((_, at) => Math.max(...[head, ...rows].map((row) => columns(row[at] ?? ''))));
  const line = (cells: string[], pad = ' ') =>
    `| ${cells.map((cell, at) => cell + pad.repeat(Math.max(0, (widths[at] ?? 0) - columns(cell)))).join(' | ')} |\n`;
  return [
    line(head),
    line(
      head.map(() => ''),
      '-',
    ),
    ...rows.map((row) => line(row)),
  ].join('');
}

/** Display width: Chinese characters and punctuation count as two. */
function columns(text: string): number {
  const wide = text.match(
    /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6]/g,
  );
  return Array.from(text).length + (wide?.length ?? 0);
}
