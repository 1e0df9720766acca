import type { Column } from '../util/terminal/table.ts';
import { count } from '../util/terminal/text.ts';
import { adoptResponse } from '../wire/admin-channel.ts';
import type { CommandContext } from './command.ts';
import { paragraph, type Report, tableLines } from './report.ts';

/** `adopt`: what another control plane created, and whether this one manages it. 1 when something is not adopted. */
export async function adoptCommand({ controlPlane }: CommandContext, { apply }: { apply: boolean }): Promise<Report> {
  const answer = await controlPlane.ask({ command: 'adopt', apply }, adoptResponse);
  const { adoptees, ownRecords } = answer;
  const columns: Column<(typeof adoptees)[number]>[] = [
    { title: 'KIND', value: ({ kind }) => kind },
    { title: 'NAME', value: ({ name }) => name, minWidth: 16, keep: 'end' },
    { title: 'ENIS', value: ({ eniIDs }) => eniIDs.join(',') || '-', minWidth: 12, dropOrder: 1 },
    { title: 'STATE', value: ({ state }) => state },
  ];
  const hindered = adoptees.filter(({ state }) => state !== 'adopted').length;
  return {
    data: answer,
    lines: (screen) => {
      const own = `${count(ownRecords, 'PodENI')} created by this control plane.`;
      if (adoptees.length === 0) return paragraph(`Nothing created by another control plane; ${own}`, screen);
      const looked = apply && hindered > 0 ? ' The records that are not adopted are being checked again.' : '';
      const hindrances = adoptees.flatMap(({ name, hindrance }) =>
        hindrance === undefined ? [] : paragraph(`${name}: ${hindrance}`, screen, '    ', '  '),
      );
      return [
        ...tableLines(columns, adoptees, screen),
        ...(hindrances.length === 0 ? [] : ['', 'Blocked by:', ...hindrances]),
        '',
        ...paragraph(`${adoptees.length - hindered} adopted, ${hindered} not; ${own}${looked}`, screen),
      ];
    },
    exitCode: hindered > 0 ? 1 : 0,
  };
}
