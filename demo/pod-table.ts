import type { Style } from '../src/util/terminal/style.ts';
import { type Column, layoutTable, renderTable } from '../src/util/terminal/table.ts';
import { formatDuration, pad } from '../src/util/terminal/text.ts';
import type { CloudCalls } from './cloud-calls.ts';
import type { PodRow } from './pod-record.ts';

/** Deployment, hash of the template, five characters. */
const USUAL_NAME = 20;
const LONGEST_PHASE = 'Detaching'.length;

/** Marks that say at a glance how far a pod is. */
export function phaseMark(row: PodRow): string {
  switch (row.phase) {
    case 'Running':
      return '●';
    case 'Bind':
      return row.served ? '●' : '◐';
    case 'gone':
      return '○';
    default:
      return '◐';
  }
}

/** Columns that a chapter can do without, as they say nothing new in it. */
export type Omissible = 'VSWITCH' | 'TIME';

/** The columns of pods and their PodENIs, in the order of what matters. */
export function podColumns(
  calls: Pick<CloudCalls, 'ofEni'>,
  style: Style,
  omit: readonly Omissible[] = [],
): Column<PodRow>[] {
  const byPhase = (text: string, row: PodRow) => {
    if (row.phase === 'gone') return style.dim(text);
    return isDone(row) ? style.green(text) : style.yellow(text);
  };
  const quiet = (text: string, row: PodRow) => (row.phase === 'gone' ? style.dim(text) : text);
  const columns: Column<PodRow>[] = [
    { title: 'POD', value: (row) => row.name, usualWidth: USUAL_NAME, minWidth: 14, keep: 'both', paint: quiet },
    { title: 'PHASE', value: (row) => `${phaseMark(row)} ${row.phase}`, usualWidth: LONGEST_PHASE + 2, paint: byPhase },
    { title: 'NODE', value: (row) => row.node, usualWidth: 6, minWidth: 9, keep: 'end', paint: quiet },
    { title: 'ADDRESS', value: (row) => row.address, usualWidth: 10, paint: quiet },
    {
      title: 'VSWITCH',
      value: (row) => row.vSwitch,
      usualWidth: 13,
      minWidth: 9,
      keep: 'end',
      dropOrder: 3,
      paint: quiet,
    },
    { title: 'MEMBER ENI', value: (row) => row.eniId, usualWidth: 24, minWidth: 10, keep: 'end', paint: quiet },
    {
      title: 'TRUNK',
      value: (row) => row.trunkId,
      usualWidth: 24,
      minWidth: 10,
      keep: 'end',
      dropOrder: 2,
      paint: quiet,
    },
    { title: 'VLAN', value: (row) => row.vlan, align: 'right', paint: quiet },
    { title: 'TIME', value: timeOf, usualWidth: 6, align: 'right', paint: quiet },
    { title: 'CLOUD CALLS', value: (row) => calls.ofEni(row.eniId), usualWidth: 18, dropOrder: 1, paint: quiet },
  ];
  return columns.filter(({ title }) => !omit.some((each) => each === title));
}

/** The table of pods as long as they change. */
export function livePodTable(
  rows: readonly PodRow[],
  columns: readonly Column<PodRow>[],
  width: number,
  style: Style,
): string[] {
  return renderTable(layoutTable(columns, rows, width, { live: true }), rows, style);
}

/** The table of pods with all columns: those for which there is no room are in further tables below it. */
export function wholePodTable(
  rows: readonly PodRow[],
  columns: readonly Column<PodRow>[],
  width: number,
  style: Style,
): string[] {
  const lines: string[] = [];
  const [key] = columns;
  for (let open = [...columns]; key !== undefined && open.length > 0; ) {
    const layout = layoutTable(open, rows, width);
    lines.push(...(lines.length === 0 ? [] : ['']), ...renderTable(layout, rows, style));
    open = layout.omitted.length === 0 ? [] : [key, ...layout.omitted];
    // No column but the key had room: there is no getting further.
    if (layout.columns.length <= 1) break;
  }
  return lines;
}

/** One line about a change, for a log. */
export function podLine(row: PodRow, calls: Pick<CloudCalls, 'ofEni'>): string {
  const facts = [
    row.node === '' ? '' : `on ${row.node}`,
    row.address,
    row.eniId,
    row.vlan === '' ? '' : `VLAN ${row.vlan}`,
    isDone(row) ? `after ${formatDuration(row.tookMs)}` : '',
    calls.ofEni(row.eniId),
  ];
  const told = facts.filter((fact) => fact !== '').join(', ');
  return `${pad(row.name, USUAL_NAME)}  ${phaseMark(row)} ${told === '' ? row.phase : `${row.phase.padEnd(LONGEST_PHASE)}  ${told}`}`;
}

function isDone({ phase, served }: PodRow): boolean {
  return served && (phase === 'Bind' || phase === 'Running');
}

function timeOf(row: PodRow): string {
  return row.phase === 'gone' || row.phase === 'Deleting' ? '' : formatDuration(row.tookMs);
}
