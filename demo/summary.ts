import { count, formatDuration, median, pad } from '../src/util/terminal/text.ts';
import type { Move } from './chapter-fixed-address.ts';
import type { Release } from './chapter-release.ts';
import type { Narrator } from './narrator.ts';
import type { PodRow } from './pod-record.ts';
import type { Stage } from './stage.ts';

type Fact = readonly [label: string, text: string];

/** What the tour has shown. */
export interface Shown {
  served: readonly PodRow[];
  move: Move;
  release: Release;
  /** What only this tour has. */
  more?: readonly Fact[];
}

/** What the tour has shown, in a few lines. */
export async function tellSummary(
  narrator: Narrator,
  stage: Stage,
  { served, move, release, more = [] }: Shown,
): Promise<void> {
  await stage.calls.refresh();
  const { latencies } = await stage.lab.cloud.state();
  const times = served.map((row) => row.tookMs);
  const { before, after } = move;
  const calls = stage.calls.totals();
  const total = calls.reduce((sum, [, number]) => sum + number, 0);
  const { style } = narrator.screen;
  const facts: Fact[] = [
    ['Pods served', `${served.length}`],
    [
      'Created → Bind',
      `median ${formatDuration(median(times) ?? 0)}, fastest ${formatDuration(Math.min(...times))}, ` +
        `slowest ${formatDuration(Math.max(...times))}`,
    ],
    ...more,
    ['Fixed pod', after.name],
    ['  before', `${before.address}  ${before.eniId}  VLAN ${before.vlan} on ${before.node}`],
    ['  after', `${after.address}  ${after.eniId}  VLAN ${after.vlan} on ${after.node}`],
    ['Released', `${count(release.enis, 'member ENI')} in ${formatDuration(release.tookMs)}`],
    ['Left in the cloud', `${release.left}, ${count(stage.nodeCount, 'trunk')} of the nodes`],
    ['Cloud calls', `${total}`],
  ];
  const labelWidth = Math.max(...facts.map(([label]) => label.length));
  narrator.chapter(
    'Summary',
    `The simulated cloud takes ${formatDuration(latencies.createMs)} to create an ENI and ` +
      `${formatDuration(latencies.attachMs)} to attach it; the rest is scheduler, API server and control plane.`,
  );
  narrator.lines(...facts.map(([label, text]) => `${style.dim(pad(label, labelWidth))}  ${text}`));
  const numberWidth = Math.max(...calls.map(([, number]) => String(number).length));
  narrator.lines(
    ...calls.map(
      ([action, number]) => `${' '.repeat(labelWidth)}  ${pad(String(number), numberWidth, 'right')} ${action}`,
    ),
  );
}
