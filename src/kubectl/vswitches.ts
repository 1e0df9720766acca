import { podNetworkingResource } from '../crds/pod-networking.ts';
import type { Column } from '../util/terminal/table.ts';
import type { CommandContext } from './command.ts';
import { type Report, tableLines } from './report.ts';

/** A vSwitch that PodNetworkings name. */
export interface VSwitchRow {
  id: string;
  zone: string;
  /** Free addresses when the cloud was last asked; absent before that. */
  free?: number;
  /** Fixed addresses that wait for their pods. */
  reserved: number;
  full: boolean;
  podNetworkings: string[];
}

/** `vswitches`. 1 when one is full. */
export async function vSwitchesCommand({ cluster }: CommandContext): Promise<Report> {
  const rows = await vSwitchRows({ cluster });
  const columns: Column<VSwitchRow>[] = [
    { title: 'VSWITCH', value: ({ id }) => id },
    { title: 'ZONE', value: ({ zone }) => zone || '-', dropOrder: 1 },
    { title: 'FREE', value: ({ free }) => (free === undefined ? '-' : String(free)), align: 'right' },
    { title: 'RESERVED', value: ({ reserved }) => String(reserved), align: 'right' },
    { title: 'FULL', value: ({ full }) => (full ? 'yes' : 'no') },
    { title: 'PODNETWORKINGS', value: ({ podNetworkings }) => podNetworkings.join(', '), minWidth: 14 },
  ];
  return {
    data: { vSwitches: rows },
    lines: (screen) => {
      if (rows.length === 0) return ['No PodNetworking names a vSwitch.'];
      const painted = columns.map(
        (column): Column<VSwitchRow> =>
          column.title === 'FULL'
            ? { ...column, paint: (text, { full }) => (full ? screen.style.red(text) : text) }
            : column,
      );
      return tableLines(painted, rows, screen);
    },
    exitCode: rows.some(({ full }) => full) ? 1 : 0,
  };
}

/** Every vSwitch that a PodNetworking names, by zone and id. */
export async function vSwitchRows({ cluster }: Pick<CommandContext, 'cluster'>): Promise<VSwitchRow[]> {
  const rows = new Map<string, VSwitchRow>();
  for (const { metadata, spec, status } of await cluster.list(podNetworkingResource)) {
    for (const id of spec.vSwitchOptions ?? []) {
      const row = rows.get(id) ?? { id, zone: '', reserved: 0, full: false, podNetworkings: [] };
      const known = status?.vSwitches?.find((vSwitch) => vSwitch.id === id);
      row.podNetworkings.push(metadata.name);
      row.zone ||= known?.zone ?? '';
      row.reserved += known?.reservedIPCount ?? 0;
      const free = known?.availableIPCount;
      // The figures are of different ages; the lowest is the safe one when addresses run out.
      if (free !== undefined) row.free = Math.min(row.free ?? free, free);
      row.full = row.free === 0;
      rows.set(id, row);
    }
  }
  return [...rows.values()].sort((a, b) => (`${a.zone} ${a.id}` < `${b.zone} ${b.id}` ? -1 : 1));
}
