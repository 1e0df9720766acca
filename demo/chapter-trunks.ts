import { type Column, layoutTable, renderTable } from '../src/util/terminal/table.ts';
import { count } from '../src/util/terminal/text.ts';
import type { Narrator } from './narrator.ts';
import type { NodeRow } from './node-book.ts';
import type { Stage } from './stage.ts';

const TRUNK_TIMEOUT_MS = 60_000;

const COLUMNS: readonly Column<NodeRow>[] = [
  { title: 'NODE', value: (row) => row.name },
  { title: 'TYPE', value: (row) => row.instanceType, dropOrder: 1 },
  { title: 'ZONE', value: (row) => row.zone },
  { title: 'INSTANCE', value: (row) => row.instanceId, minWidth: 12, keep: 'end' },
  { title: 'TRUNK', value: (row) => row.trunkId, minWidth: 12, keep: 'end' },
  { title: 'MEMBERS', value: (row) => row.members, align: 'right' },
];

export interface TrunkOptions {
  /** Installs what makes the trunks. */
  install?: () => Promise<void>;
  /** Called once there are trunks. @returns the name of each one's device, by node */
  plugged?: (nodes: readonly NodeRow[]) => Promise<ReadonlyMap<string, string>>;
}

/** Waits until every node has its trunk, and shows them. */
export async function tellTrunks(narrator: Narrator, stage: Stage, options: TrunkOptions = {}): Promise<void> {
  narrator.chapter(
    'A trunk for every node',
    'One trunk ENI per node carries the member ENIs of its pods and tells them apart by VLAN id. How many it can ' +
      'carry becomes the node resource aliyun/member-eni, so that the scheduler never sends more pods than fit.',
  );
  await options.install?.();
  const nodes = await narrator.step(`${count(stage.nodeCount, 'trunk ENI')} created and attached`, () =>
    stage.nodes.untilTrunks(stage.nodeCount, {
      signal: stage.signal,
      timeoutMs: TRUNK_TIMEOUT_MS,
      problem: () => {
        const open = stage.nodes.rows().filter((row) => row.trunkId === '' || row.members === '');
        return `these nodes have no trunk or no aliyun/member-eni: ${open.map((row) => row.name).join(', ')}`;
      },
    }),
  );
  const devices = await options.plugged?.(nodes);
  const device: Column<NodeRow> = { title: 'DEVICE', value: (row) => devices?.get(row.name) ?? '' };
  const columns = devices === undefined ? COLUMNS : [...COLUMNS, device];
  const layout = layoutTable(columns, nodes, narrator.width);
  narrator.lines('', ...renderTable(layout, nodes, narrator.screen.style));
}
