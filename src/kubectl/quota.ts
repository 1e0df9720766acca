import type * as z from 'zod';
import type { Column } from '../util/terminal/table.ts';
import { quotaResponse } from '../wire/admin-channel.ts';
import type { CommandContext } from './command.ts';
import { type Report, tableLines } from './report.ts';

/** `quota`: calls of this minute by API. 1 when calls wait. */
export async function quotaCommand({
  controlPlane,
  clock,
}: Pick<CommandContext, 'controlPlane' | 'clock'>): Promise<Report> {
  const answer = await controlPlane.ask({ command: 'quota' }, quotaResponse);
  const columns: Column<(typeof answer.apis)[number]>[] = [
    { title: 'API', value: ({ api }) => api },
    { title: 'LIMIT', value: ({ limitPerMinute }) => String(limitPerMinute), align: 'right' },
    { title: 'LEARNT', value: learnt, align: 'right' },
    { title: 'USED', value: ({ usedThisMinute }) => String(usedThisMinute), align: 'right' },
    { title: 'WAITING', value: ({ waiting }) => String(waiting), align: 'right' },
    {
      title: 'NEXT MINUTE',
      value: ({ nextMinuteAt }) => `${Math.max(0, Math.ceil((Date.parse(nextMinuteAt) - clock.now()) / 1000))}s`,
      align: 'right',
      dropOrder: 1,
    },
  ];
  return {
    data: answer,
    lines: (screen) => {
      const painted = columns.map((column): (typeof columns)[number] =>
        column.title === 'WAITING'
          ? { ...column, paint: (text, { waiting }) => (waiting > 0 ? screen.style.yellow(text) : text) }
          : column,
      );
      return tableLines(painted, answer.apis, screen);
    },
    exitCode: answer.apis.some(({ waiting }) => waiting > 0) ? 1 : 0,
  };
}

/** What the cloud accepts by its refusals. */
function learnt({ learntPerMinute, learntPerSecond }: z.infer<typeof quotaResponse>['apis'][number]): string {
  const limits = [
    ...(learntPerMinute === undefined ? [] : [`${learntPerMinute}/min`]),
    ...(learntPerSecond === undefined ? [] : [`${learntPerSecond}/s`]),
  ];
  return limits.length === 0 ? '-' : limits.join(' ');
}
