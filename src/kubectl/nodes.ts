import { targetOf } from '../allocation/lifecycle.ts';
import { attachedTrunk, eniLimitOf, isExclusive } from '../allocation/node-mode.ts';
import { ANNOTATION_TRUNK_ON, LABEL_NODE } from '../crds/names.ts';
import { terwayNodeResource } from '../crds/node.ts';
import { type NodeRuntime, nodeRuntimeResource } from '../crds/node-runtime.ts';
import { type PodEni, podEniResource } from '../crds/pod-eni.ts';
import type { Column } from '../util/terminal/table.ts';
import { statusResponse } from '../wire/admin-channel.ts';
import { type CommandContext, orProblem } from './command.ts';
import { ageText, paragraph, type Report, tableLines } from './report.ts';
import { coreNodeResource } from './resources.ts';

/** One node as the network sees it. */
export interface NodeRow {
  name: string;
  zone: string;
  instanceID: string;
  instanceType: string;
  /** `trunk`, `exclusive`, or `none` for an instance without member ENIs. */
  mode: string;
  trunkENIID?: string;
  /** Why there is no trunk: reason and message of the condition. */
  trunkProblem?: string;
  /** ENIs of pods that are attached to the node or being attached. */
  used: number;
  limit: number;
  /** Pods that wait for the node or one of its slots; absent when the control plane could not be queried. */
  waiting?: number;
  /** The node agent's latest report about a pod. */
  agentSeenAt?: string;
}

/** `nodes`. 1 when a node that should have a trunk has none. */
export async function nodesCommand(context: CommandContext): Promise<Report> {
  const { rows, problem } = await nodeRows(context);
  const { clock } = context;
  const columns: Column<NodeRow>[] = [
    { title: 'NODE', value: ({ name }) => name, minWidth: 12, keep: 'end' },
    { title: 'ZONE', value: ({ zone }) => zone || '-', dropOrder: 3 },
    { title: 'INSTANCE', value: ({ instanceID }) => instanceID || '-', dropOrder: 4 },
    { title: 'TYPE', value: ({ instanceType }) => instanceType || '-', dropOrder: 5 },
    { title: 'MODE', value: ({ mode }) => mode },
    { title: 'TRUNK', value: ({ trunkENIID, trunkProblem }) => trunkENIID ?? trunkProblem ?? '-', minWidth: 16 },
    { title: 'MEMBERS', value: ({ used, limit }) => `${used}/${limit}`, align: 'right' },
    { title: 'WAITING', value: ({ waiting }) => (waiting === undefined ? '?' : String(waiting)), align: 'right' },
    {
      title: 'AGENT SEEN',
      value: ({ agentSeenAt }) => (agentSeenAt === undefined ? '-' : ageText(clock.now() - Date.parse(agentSeenAt))),
      align: 'right',
      dropOrder: 2,
    },
  ];
  return {
    data: { nodes: rows, ...(problem === undefined ? {} : { problem }) },
    lines: (screen) => {
      const { style } = screen;
      const painted = columns.map((column): Column<NodeRow> => {
        if (column.title === 'TRUNK') {
          return {
            ...column,
            paint: (text, { trunkProblem }) => (trunkProblem === undefined ? text : style.red(text)),
          };
        }
        if (column.title !== 'WAITING') return column;
        return { ...column, paint: (text, { waiting = 0 }) => (waiting > 0 ? style.yellow(text) : text) };
      });
      return [
        ...(rows.length === 0 ? ['There are no nodes.'] : tableLines(painted, rows, screen)),
        ...(problem === undefined ? [] : ['', ...paragraph(`WAITING is unknown: ${problem}`, screen)]),
      ];
    },
    exitCode: rows.some(({ trunkProblem }) => trunkProblem !== undefined) ? 1 : 0,
  };
}

/** Every node of the cluster, by name. */
export async function nodeRows({
  cluster,
  controlPlane,
}: Pick<CommandContext, 'cluster' | 'controlPlane'>): Promise<{ rows: NodeRow[]; problem?: string }> {
  const [cores, records, runtimes, podEnis, status] = await Promise.all([
    cluster.list(coreNodeResource),
    cluster.list(terwayNodeResource),
    cluster.list(nodeRuntimeResource),
    cluster.list(podEniResource),
    orProblem(controlPlane.ask({ command: 'status' }, statusResponse)),
  ]);
  const waitingOf =
    'answer' in status && status.answer.leading
      ? (name: string) => {
          const places = status.answer.waiting.filter(
            (place) => ['node', 'slot'].includes(place.waitsFor) && place.name === name,
          );
          return { waiting: places.reduce((sum, { count }) => sum + count, 0) };
        }
      : () => ({});
  const used = enisByNode(podEnis);
  const rows = cores.map(({ metadata }): NodeRow => {
    const { name } = metadata;
    const record = records.find((candidate) => candidate.metadata.name === name);
    const { instanceID = '', instanceType = '', zoneID = '' } = record?.spec.nodeMetadata ?? {};
    const exclusive = isExclusive(metadata.labels);
    const limit = exclusive ? record && eniLimitOf(record) : record?.spec.nodeCap?.memberAdapterLimit;
    const trunk = record && (attachedTrunk(record)?.id ?? metadata.annotations?.[ANNOTATION_TRUNK_ON]);
    const condition = record?.status?.conditions?.find(({ type }) => type === 'TrunkReady');
    const noTrunk = condition?.reason === 'TrunkNotSupported';
    const problem = exclusive || noTrunk || (trunk ?? '') !== '' ? undefined : (condition?.reason ?? 'NoRecord');
    const seenAt = latestWord(runtimes.find((runtime) => runtime.metadata.name === name));
    return {
      name,
      zone: zoneID,
      instanceID,
      instanceType,
      mode: exclusive ? 'exclusive' : noTrunk ? 'none' : 'trunk',
      ...(trunk === undefined || trunk === '' ? {} : { trunkENIID: trunk }),
      ...(problem === undefined
        ? {}
        : { trunkProblem: `${problem}${condition === undefined ? '' : `: ${condition.message}`}` }),
      used: used.get(name) ?? 0,
      limit: limit ?? 0,
      ...waitingOf(name),
      ...(seenAt === undefined ? {} : { agentSeenAt: seenAt }),
    };
  });
  rows.sort((a, b) => (a.name < b.name ? -1 : 1));
  return { rows, ...('problem' in status ? { problem: status.problem } : {}) };
}

function enisByNode(podEnis: readonly PodEni[]): Map<string, number> {
  const used = new Map<string, number>();
  for (const podEni of podEnis) {
    if (podEni.status?.phase === 'Unbind') continue;
    const name = targetOf(podEni)?.nodeName || podEni.metadata.labels?.[LABEL_NODE] || '';
    used.set(name, (used.get(name) ?? 0) + (podEni.spec.allocations?.length ?? 0));
  }
  return used;
}

function latestWord(runtime: NodeRuntime | undefined): string | undefined {
  return Object.values(runtime?.status?.pods ?? {})
    .flatMap(({ status }) => Object.values(status ?? {}).map(({ lastUpdateTime }) => lastUpdateTime ?? ''))
    .filter((text) => text !== '')
    .sort()
    .at(-1);
}
