import type { Column } from '../util/terminal/table.ts';
import { quotaResponse } from '../wire/admin-channel.ts';
import type { CommandContext } from './command.ts';
import { type Report, tableLines } from './report.ts';

/** `quota`: calls in this minute by API. 1 when calls wait. */
export async function quotaCommand({ controlPlane, clock }: CommandContext): Promise<Report> {
  const answer = await controlPlane.ask({ command: 'quota' }, quotaResponse);
  const columns: Column<(typeof answer.apis)[number]>[] = [
    { title: 'API', value: ({ api }) => api },
    { title: 'LIMIT', value: ({ limitPerMinute }) => String(limitPerMinute), align: 'right' },
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
