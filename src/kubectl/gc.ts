import type { Column } from '../util/terminal/table.ts';
import { count } from '../util/terminal/text.ts';
import { orphansResponse } from '../wire/admin-channel.ts';
import type { CommandContext } from './command.ts';
import { ageText, paragraph, type Report, tableLines } from './report.ts';

/**
 * `gc`: ENIs that no object in the cluster refers to. `apply` releases those that the collector would release. 1 when a
 * release failed or the brake is on.
 */
export async function gcCommand(
  { controlPlane, clock }: CommandContext,
  { apply, overrideBrake }: { apply: boolean; overrideBrake: boolean },
): Promise<Report> {
  const answer = await controlPlane.ask({ command: 'orphans', apply, overrideBrake }, orphansResponse);
  const outcomes = new Map((answer.released ?? []).map((release) => [release.eniID, release]));
  const verdict = ({ eniID, decision, why }: (typeof answer.orphans)[number]) => {
    const outcome = outcomes.get(eniID);
    if (outcome === undefined) return { word: decision, why };
    if (outcome.error !== undefined) return { word: 'failed', why: outcome.error };
    return outcome.call === 'detach'
      ? { word: 'detached', why: 'a later round of the collector deletes it' }
      : { word: 'deleted', why };
  };
  const columns: Column<(typeof answer.orphans)[number]>[] = [
    { title: 'ENI', value: ({ eniID }) => eniID },
    { title: 'TYPE', value: ({ type }) => type, dropOrder: 3 },
    { title: 'STATUS', value: ({ status }) => status },
    { title: 'ADDRESS', value: ({ ip }) => ip, dropOrder: 2 },
    { title: 'MADE FOR', value: ({ madeFor }) => madeFor ?? '-', minWidth: 12, keep: 'end', dropOrder: 1 },
    {
      title: 'AGE',
      value: ({ createdAt }) => (createdAt === undefined ? '-' : ageText(clock.now() - Date.parse(createdAt))),
    },
    { title: apply ? 'DONE' : 'PLAN', value: (row) => verdict(row).word },
    { title: 'WHY', value: (row) => verdict(row).why, minWidth: 16 },
  ];
  const failed = [...outcomes.values()].filter(({ error }) => error !== undefined).length;
  return {
    data: answer,
    lines: (screen) => {
      const { orphans, listed } = answer;
      const brake = answer.braked
        ? paragraph(
            `The brake is on: ${orphans.length} of ${count(listed, 'ENI')} look orphaned, so the cluster has probably lost its records (was etcd restored?). ${overrideBrake ? 'It was overridden.' : 'If they really are orphans: gc --apply --override-brake.'}`,
            screen,
          ).map(screen.style.red)
        : [];
      if (orphans.length === 0)
        return [`No orphans: each of the ${count(listed, 'ENI')} with the tags of this cluster has an owner.`];
      return [...tableLines(columns, orphans, screen), ...(brake.length === 0 ? [] : ['', ...brake])];
    },
    exitCode: failed > 0 || (answer.braked && !overrideBrake) ? 1 : 0,
  };
}
