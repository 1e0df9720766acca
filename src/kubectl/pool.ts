import type * as z from 'zod';
import { POOL_READY } from '../allocation/pool/conditions.ts';
import { type PoolRules, poolRules } from '../allocation/pool/rules.ts';
import { addressesOf, idleCount, isBound, isIdle } from '../allocation/pool/view.ts';
import { trunkOutlook } from '../allocation/trunk.ts';
import { type NodeAddress, type NodeEni, type TerwayNode, terwayNodeResource } from '../crds/node.ts';
import type { Column } from '../util/terminal/table.ts';
import { poolResponse } from '../wire/admin-channel.ts';
import { type CommandContext, orProblem } from './command.ts';
import { UsageError } from './errors.ts';
import { type ShrinkPlan, shrinkPlan, shrinkTexts } from './pool-shrink.ts';
import { ageText, paragraph, type Report, type Screen, tableLines } from './report.ts';

/** An address of a shared ENI. */
export interface AddressRow {
  eniID: string;
  vSwitchID: string;
  ip: string;
  isPrimary: boolean;
  /** `idle`, `resting`, `bound`, `releasing`, `invalid`, or the state of an ENI that is not in use. */
  state: string;
  /** `namespace/name` */
  pod?: string;
}

/** What the record of a node says about the ENIs that its pods share. */
export interface PoolReport {
  node: string;
  instanceType: string;
  /** Conditions of the pool: type, status, reason and message. */
  conditions: { type: string; status: string; reason: string; message: string }[];
  /** Absent when the node has no pool. */
  size?: {
    idle: number;
    leastIdle: number;
    mostIdle: number;
    enis: number;
    mostEnis: number;
    perEni: number;
    syncPeriodMs: number;
  };
  addresses: AddressRow[];
  /** Calls that were asked for and whose result is not recorded. */
  growing: { eniID: string; vSwitchID: string; ipv4: number; ipv6: number; askedAt: string }[];
  /** What goes if the pods of the node stay as they are. */
  shrink: ShrinkPlan;
  /** Why the last call for an ENI failed. */
  failures: { eniID: string; type: string; message: string; at: string }[];
  /** Pods without an address; absent when the control plane could not be asked. */
  waiting?: { pod: string; reason: string; message: string; since: string }[];
  /** Addresses of pods that are gone, for which the node has not given its word; absent as well. */
  unconfirmed?: { ip: string; pod: string; since: string }[];
}

/** `pool NODE`. 1 when pods wait, or the pool does not serve. */
export async function poolCommand({ cluster, controlPlane, clock }: CommandContext, nodeName: string): Promise<Report> {
  const [node, state] = await Promise.all([
    cluster.find(terwayNodeResource, { name: nodeName }),
    orProblem(controlPlane.ask({ command: 'pool', node: nodeName }, poolResponse)),
  ]);
  if (node === undefined)
    throw new UsageError(`pool: there is no Node CR ${nodeName}; kubectl terway nodes lists them`);
  const found = poolReport(node, 'answer' in state ? state.answer : undefined);
  const { problem } = 'problem' in state ? state : {};
  const isBad = (found.waiting ?? []).length > 0 || found.conditions.some(({ status }) => status === 'False');
  return {
    data: { ...found, ...(problem === undefined ? {} : { problem }) },
    lines: (screen) => [
      ...poolLines(found, screen, clock.now()),
      ...(problem === undefined
        ? []
        : ['', ...paragraph(`Which pods wait, and what rests, is unknown: ${problem}`, screen)]),
    ],
    exitCode: isBad ? 1 : 0,
  };
}

/** Pure. @param state what the leader says; undefined when it could not be asked */
export function poolReport(node: TerwayNode, state: z.output<typeof poolResponse> | undefined): PoolReport {
  const resting = new Set(state?.resting.map(({ ip }) => ip));
  const { networkInterfaces = {}, poolIntents = [], conditions = [] } = node.status ?? {};
  const enis = Object.values(networkInterfaces);
  // Then nothing is kept idle, and nothing goes.
  const isOff = conditions.some(({ type, reason }) => type === POOL_READY && reason === 'PoolOff');
  const rules = poolRules(
    node.spec,
    enis,
    trunkOutlook(node, () => undefined),
    state?.syncPeriodMs,
  );
  return {
    node: node.metadata.name,
    instanceType: node.spec.nodeMetadata?.instanceType ?? '',
    conditions: conditions
      .filter(({ type }) => type.startsWith('Pool'))
      .map(({ type, status, reason, message }) => ({ type, status, reason, message })),
    ...('reason' in rules || isOff ? {} : { size: sizeOf(rules, enis) }),
    addresses: enis.flatMap((eni) => rowsOf(eni, resting)),
    growing: poolIntents.map(({ eniID, vSwitchID, ipv4, ipv6, createdAt: askedAt }) => ({
      ...{ eniID, vSwitchID, ipv4, ipv6, askedAt },
    })),
    shrink: 'reason' in rules || isOff ? {} : shrinkPlan(node.status ?? {}, rules, state?.surplusSince),
    failures: enis.flatMap(({ id: eniID, conditions: failed = {} }) =>
      Object.entries(failed).map(([type, { message = '', observedTime: at = '' }]) => ({ eniID, type, message, at })),
    ),
    ...(state === undefined ? {} : { waiting: state.waiting, unconfirmed: state.unconfirmed }),
  };
}

function sizeOf({ families, knobs, limits }: PoolRules, enis: readonly NodeEni[]): NonNullable<PoolReport['size']> {
  const idle = idleCount({ enis: Object.fromEntries(enis.map((eni) => [eni.id, eni])) }, families);
  const perEni = Math.min(...families.map((family) => limits.perEni[family]));
  const { leastIdle, mostIdle, syncPeriodMs } = knobs;
  return { idle, leastIdle, mostIdle, enis: enis.length, mostEnis: limits.enis, perEni, syncPeriodMs };
}

function rowsOf(eni: NodeEni, resting: ReadonlySet<string>): AddressRow[] {
  return addressesOf(eni).map((address) => {
    const state = stateOf(address, resting);
    return {
      eniID: eni.id,
      vSwitchID: eni.vSwitchID ?? '',
      ip: address.ip,
      isPrimary: address.primary,
      state: eni.status === 'InUse' || state === 'bound' ? state : eni.status,
      ...(isBound(address) ? { pod: address.podID ?? '' } : {}),
    };
  });
}

function stateOf(address: NodeAddress, resting: ReadonlySet<string>): string {
  if (address.status === 'Invalid') return 'invalid';
  if (isBound(address)) return 'bound';
  if (!isIdle(address)) return 'releasing';
  return resting.has(address.ip) ? 'resting' : 'idle';
}

/** For people. */
export function poolLines(report: PoolReport, screen: Screen, nowMs: number): string[] {
  const { conditions, size, growing, failures, waiting = [], unconfirmed = [], addresses } = report;
  const { style } = screen;
  const line = (title: string, text: string) => {
    const heading = title.padEnd(10);
    return paragraph(text, screen, ' '.repeat(heading.length), style.bold(heading));
  };
  const ago = (time: string) => `${ageText(nowMs - Date.parse(time))} ago`;
  const columns: Column<AddressRow>[] = [
    { title: 'ENI', value: ({ eniID }) => eniID },
    { title: 'VSWITCH', value: ({ vSwitchID }) => vSwitchID, dropOrder: 1 },
    { title: 'ADDRESS', value: ({ ip, isPrimary }) => (isPrimary ? `${ip} (primary)` : ip) },
    { title: 'STATE', value: ({ state }) => state },
    { title: 'POD', value: ({ pod = '-' }) => pod, minWidth: 12 },
  ];
  return [
    ...line('Node', `${report.node}, ${report.instanceType}`),
    ...(size === undefined
      ? []
      : [
          ...line('ENIs', `${size.enis} of ${size.mostEnis}, each with up to ${size.perEni} addresses`),
          ...line('Idle', `${size.idle}; at least ${size.leastIdle} and at most ${size.mostIdle} are kept`),
        ]),
    ...conditions.flatMap(({ type, status, reason, message }) =>
      line('Says', `${type}=${status} ${reason}: ${message}`).map(status === 'False' ? style.red : (text) => text),
    ),
    ...growing.flatMap(({ eniID, vSwitchID, ipv4, ipv6, askedAt }) => {
      const where = eniID === '' ? `a new ENI in ${vSwitchID}` : eniID;
      return line('Growing', `${where}: ${countText(ipv4, ipv6)}, asked for ${ago(askedAt)}`);
    }),
    ...shrinkTexts(report.shrink, size?.syncPeriodMs, nowMs).flatMap((text) => line('Shrinks', text)),
    ...failures.flatMap(({ eniID, type, message, at }) => line('Failed', `${eniID} ${type} ${ago(at)}: ${message}`)),
    ...waiting.flatMap(({ pod, reason, message, since }) =>
      line('Waiting', `${pod}, for ${ageText(nowMs - Date.parse(since))}: ${reason}: ${message}`).map(style.yellow),
    ),
    ...unconfirmed.flatMap(({ ip, pod, since }) => {
      const age = ageText(nowMs - Date.parse(since));
      return line('Held', `${ip}, as the node has not said for ${age} that the sandbox of ${pod} is gone`).map(
        style.yellow,
      );
    }),
    '',
    ...(addresses.length === 0 ? ['The node has no shared ENI.'] : tableLines(columns, addresses, screen)),
  ];
}

function countText(ipv4: number, ipv6: number): string {
  const counts = [ipv4 === 0 ? '' : `${ipv4} IPv4`, ipv6 === 0 ? '' : `${ipv6} IPv6`].filter((text) => text !== '');
  return `${counts.join(' and ')} addresses`;
}
