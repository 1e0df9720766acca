import { formatDuration, pad, wrap } from '../src/util/terminal/text.ts';
import { type Narrator, spinnerFrame } from './narrator.ts';
import { type PodRecord, type PodRow, podRow } from './pod-record.ts';
import { livePodTable, type Omissible, podColumns, podLine, wholePodTable } from './pod-table.ts';
import type { Stage } from './stage.ts';

const TIME_WIDTH = 7;

export interface LivePodsOptions {
  /** The records to show, now. */
  records: () => readonly PodRecord[];
  omit?: readonly Omissible[];
  /** How far it is, in a line below the table, and perhaps more below that. */
  progress: () => string | readonly string[];
}

/**
 * Shows the pods while `run` is under way: a table that changes in place, or, in a log, a line per change. The table as
 * it is at the end stays.
 */
export async function withLivePods<T>(
  narrator: Narrator,
  stage: Stage,
  options: LivePodsOptions,
  run: () => Promise<T>,
): Promise<T> {
  const { screen } = narrator;
  const columns = podColumns(stage.calls, screen.style, options.omit);
  const rows = () => options.records().map((record) => podRow(record, performance.now(), stage.goal));
  const end = screen.live(({ width }) => {
    const below = [options.progress()].flat().flatMap((text) => wrap(text, width - 4));
    const marked = below.map((line, at) => `${at === 0 ? spinnerFrame() : ' '} ${line}`);
    return [...livePodTable(rows(), columns, width - 2, screen.style), '', ...marked].map(indented);
  });
  const stopTelling = screen.isLive ? () => undefined : tellChanges(narrator, stage, rows);
  try {
    const result = await run();
    // So that the calls are complete in what stays.
    await stage.calls.refresh();
    end();
    stopTelling();
    if (!screen.isLive) narrator.lines('');
    narrator.lines(...wholePodTable(rows(), columns, narrator.width, screen.style), '');
    return result;
  } finally {
    end();
    stopTelling();
  }
}

/** Says what changes from now on, each with the time since now. */
function tellChanges(narrator: Narrator, stage: Stage, rows: () => PodRow[]): () => void {
  const startMs = performance.now();
  const told = new Map(rows().map((row) => [row.name, stateOf(row)]));
  return stage.pods.changes.subscribe(() => {
    for (const row of rows()) {
      const state = stateOf(row);
      // A pod without a node, and a PodENI without an ENI, become more within milliseconds.
      if (told.get(row.name) === state || row.node === '' || (row.phase === 'Initial' && row.eniId === '')) continue;
      told.set(row.name, state);
      const elapsed = pad(formatDuration(performance.now() - startMs), TIME_WIDTH, 'right');
      narrator.lines(`${elapsed}  ${podLine(row, stage.calls)}`);
    }
  });
}

function stateOf(row: PodRow): string {
  return [row.phase, row.node, row.eniId].join();
}

function indented(line: string): string {
  return line === '' ? '' : `  ${line}`;
}
