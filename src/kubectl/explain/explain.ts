import { type Column, layoutTable, renderTable } from '../../util/terminal/table.ts';
import { pad } from '../../util/terminal/text.ts';
import type { CommandContext } from '../command.ts';
import { paragraph, type Report, type Screen } from '../report.ts';
import { choiceOf, refusals } from './choice.ts';
import { clockTime, type TimelineEntry, timelineOf } from './timeline.ts';
import { type Verdict, verdictOf } from './verdict.ts';
import { type ExplainView, gatherExplainView, sharedAddressesOf } from './view.ts';

const GAP = '  ';

/** `explain pod`: what happened to a pod's network, and why it waits. 1 for a pod that does not work. */
export async function explainCommand(
  context: CommandContext,
  key: { namespace: string; name: string },
): Promise<Report> {
  const view = await gatherExplainView(context, key);
  const timeline = timelineOf(view);
  const verdict = verdictOf(view);
  const summary = summaryOf(view);
  return {
    data: { pod: `${key.namespace}/${key.name}`, ...summary, timeline, verdict },
    lines: (screen) => [
      ...Object.entries(summary).flatMap(([title, text]) => summaryLines(title, text, screen)),
      ...(timeline.length === 0 ? [] : ['', ...timelineLines(timeline, screen)]),
      '',
      ...verdictLines(verdict, screen),
    ],
    exitCode: verdict.well ? 0 : 1,
  };
}

interface Summary {
  state: string;
  interfaces: string[];
  podNetworking: string;
  notPickedBy?: string[];
}

function summaryOf(view: ExplainView): Summary {
  const { pod, podEni, namespace, name } = view;
  const where = pod === undefined || pod.spec.nodeName === '' ? '' : ` on ${pod.spec.nodeName}`;
  const ip = pod === undefined || pod.status.podIP === '' ? '' : `, ${pod.status.podIP}`;
  const state = pod === undefined ? 'does not exist' : `${pod.status.phase || 'Unknown'}${where}${ip}`;
  const interfaces = (podEni?.spec.allocations ?? []).map((allocation) => {
    const { eni, ipv4, ipv6, interface: device = 'eth0', allocationType } = allocation;
    const vlan = podEni?.status?.eniInfos?.[eni.id]?.vid;
    const parts = [
      ...[eni.id || 'no ENI yet', ipv4, ipv6, eni.vSwitchID],
      ...[vlan === undefined ? undefined : `VLAN ${vlan}`, allocationType?.type === 'Fixed' ? 'fixed' : undefined],
    ];
    return `${device}: ${podEni?.status?.phase || 'Initial'}, ${parts.filter((part) => (part ?? '') !== '').join(', ')}`;
  });
  const { eniID, ips = [], vSwitchID } = sharedAddressesOf(view) ?? {};
  if (eniID !== undefined) interfaces.push(`eth0: shared, ${[eniID, ...ips, vSwitchID].join(', ')}`);
  const choice = choiceOf(view);
  const recorded = podEni?.spec.allocations?.flatMap(({ intent }) => intent?.networking ?? []).join(', ') ?? '';
  const networking = recorded === '' ? choiceText(choice) : recorded;
  const isRefused = podEni === undefined && choice?.kind === 'none' && pod?.spec.hostNetwork === false;
  return {
    state: `${namespace}/${name} ${state}`,
    interfaces,
    podNetworking: networking,
    ...(isRefused ? { notPickedBy: refusals(view) } : {}),
  };
}

function choiceText(choice: ReturnType<typeof choiceOf>): string {
  if (choice === undefined || choice.kind === 'none') return 'none';
  if (choice.kind === 'invalidRequest') return 'none, as the request is wrong';
  if (choice.kind !== 'matched') return choice.name;
  const behind = choice.others.length === 0 ? '' : ` (behind it: ${choice.others.join(', ')})`;
  return `${choice.wanted.map(({ networking }) => networking.metadata.name).join(', ')}${behind}`;
}

const TITLES: Record<keyof Summary, string> = {
  state: 'Pod',
  interfaces: 'Interface',
  podNetworking: 'PodNetworking',
  notPickedBy: 'Not picked by',
};

function summaryLines(title: string, text: string | string[], screen: Screen): string[] {
  const heading = (title in TITLES ? TITLES[title as keyof Summary] : title).padEnd(15);
  const indent = ' '.repeat(heading.length);
  return [text].flat().flatMap((each) => paragraph(each, screen, indent, screen.style.bold(heading)));
}

/** Never shortened, but wrapped: request ids and remedies stand at the end of a message. */
function timelineLines(timeline: readonly TimelineEntry[], screen: Screen): string[] {
  const [first] = timeline;
  const startMs = Date.parse(first?.time ?? '');
  const columns: Column<TimelineEntry>[] = [
    { title: `UTC ${first?.time.slice(0, 10)}`, value: ({ time }) => clockTime(time) },
    { title: 'AFTER', value: ({ time }) => afterText(Date.parse(time) - startMs), align: 'right' },
    { title: 'WHO', value: ({ source }) => source },
  ];
  const layout = layoutTable(columns, timeline, Number.POSITIVE_INFINITY);
  const width = layout.columns.reduce((sum, column) => sum + column.width + GAP.length, 0);
  const [titles = '', ...rows] = renderTable(layout, timeline, screen.style);
  const { style } = screen;
  return [
    `${pad(titles, width)}${style.dim('WHAT')}`,
    ...timeline.flatMap(({ what, bad }, at) => {
      const lines = paragraph(what, screen, ' '.repeat(width), pad(rows[at] ?? '', width));
      if (!bad) return lines;
      return lines.map((line) => line.slice(0, width) + style.yellow(line.slice(width)));
    }),
  ];
}

function afterText(ms: number): string {
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms % 1000 === 0 ? 0 : 1)}s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m${seconds % 60}s`;
  return `${Math.floor(seconds / 3600)}h${Math.floor((seconds % 3600) / 60)}m`;
}

function verdictLines({ well, text, reason, cause, remedy }: Verdict, screen: Screen): string[] {
  const { style } = screen;
  const paint = well ? style.green : style.red;
  const about = (title: string, words: string | undefined) =>
    words === undefined ? [] : paragraph(`${title}: ${words}`, screen, '  ');
  return [
    ...paragraph(reason === undefined ? text : `${reason}. ${text}`, screen).map(paint),
    ...about('Cause', cause),
    ...about('Remedy', remedy),
  ];
}
