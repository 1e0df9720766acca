import { podEniResource } from '../crds/pod-eni.ts';
import { podNetworkingResource } from '../crds/pod-networking.ts';
import { reasonEntry } from '../crds/reasons/catalogue.ts';
import { leaseResource } from '../kube/lease.ts';
import type { Style } from '../util/terminal/style.ts';
import { count, pad } from '../util/terminal/text.ts';
import { type StatusResponse, statusResponse } from '../wire/admin-channel.ts';
import { type CommandContext, orProblem } from './command.ts';
import { holderName, NAME_LABEL } from './control-plane.ts';
import { nodeRows } from './nodes.ts';
import { ageText, paragraph, type Report } from './report.ts';
import { podResource } from './resources.ts';
import { vSwitchRows } from './vswitches.ts';

/** One line of the health check. `unknown`: it could not be checked. */
export interface HealthLine {
  what: string;
  state: 'ok' | 'bad' | 'unknown';
  text: string;
}

const DAY_MS = 86_400_000;
/** A certificate is renewed long before this, so one that expires this soon is not being renewed. */
const CERTIFICATE_WARNING_MS = 7 * DAY_MS;
/** How many names a line lists. */
const NAMED = 5;

/** `status`: a health check in ten lines. 1 when a line is bad. */
export async function statusCommand(context: CommandContext): Promise<Report> {
  const { controlPlane, clock } = context;
  const asked = await orProblem(controlPlane.ask({ command: 'status' }, statusResponse));
  const answer = 'answer' in asked ? asked.answer : undefined;
  const lines: HealthLine[] = [
    await controlPlaneLine(context, answer),
    ...(await networkingLines(context)),
    await podLine(context, answer),
    await nodeLine(context),
    await vSwitchLine(context),
    ...(answer === undefined
      ? [
          line('Orphans', 'unknown', 'the control plane could not be queried'),
          line('Cloud', 'unknown', 'problem' in asked ? asked.problem : ''),
        ]
      : ownLines(answer, clock.now())),
  ];
  return {
    data: { lines, ...(answer === undefined ? {} : { controlPlane: answer }) },
    lines: (screen) => {
      const titleWidth = Math.max(...lines.map(({ what }) => what.length));
      return lines.flatMap(({ what, state, text }) => {
        const mark = PAINT[state](screen.style)(MARKS[state]);
        return paragraph(text, screen, ' '.repeat(titleWidth + 6), `${mark} ${pad(what, titleWidth)}  `);
      });
    },
    exitCode: lines.some(({ state }) => state === 'bad') ? 1 : 0,
  };
}

const MARKS: Record<HealthLine['state'], string> = { ok: 'ok ', bad: 'BAD', unknown: '?  ' };

const PAINT: Record<HealthLine['state'], (style: Style) => (text: string) => string> = {
  ok: (style) => style.green,
  bad: (style) => style.red,
  unknown: (style) => style.yellow,
};

function line(what: string, state: HealthLine['state'], text: string): HealthLine {
  return { what, state, text };
}

function verdict(what: string, isWell: boolean, text: string): HealthLine {
  return line(what, isWell ? 'ok' : 'bad', text);
}

/** The first few, and how many more there are. */
function names(all: readonly string[]): string {
  const more = all.length > NAMED ? ` and ${all.length - NAMED} more` : '';
  return `${all.slice(0, NAMED).join(', ')}${more}`;
}

async function controlPlaneLine(
  { cluster, systemNamespace, controlPlaneName, clock }: CommandContext,
  answer: StatusResponse | undefined,
): Promise<HealthLine> {
  const what = 'Control plane';
  const name = await controlPlaneName();
  const [pods, lease] = await Promise.all([
    cluster.list(podResource, { namespace: systemNamespace, labelSelector: `${NAME_LABEL}=${name}` }),
    cluster.find(leaseResource, { namespace: systemNamespace, name }),
  ]);
  const ready = pods.filter(({ status }) =>
    status.conditions.some(({ type, status: is }) => type === 'Ready' && is === 'True'),
  );
  const replicas =
    pods.length === 0 ? `no pods in ${systemNamespace}` : `${ready.length} of ${count(pods.length, 'replica')} ready`;
  const { holderIdentity = '', renewTime, leaseDurationSeconds = 0 } = lease?.spec ?? {};
  const sinceMs = clock.now() - Date.parse(renewTime ?? '');
  // Allow for a small clock difference: it must not make a lease look expired.
  const isHeld = holderIdentity !== '' && sinceMs < 2 * leaseDurationSeconds * 1000;
  if (!isHeld && answer?.leading !== true) {
    const since = Number.isNaN(sinceMs) ? '' : ` since ${ageText(sinceMs)}`;
    return line(what, 'bad', `${replicas}; nobody leads${since}`);
  }
  const leader = holderName(isHeld ? holderIdentity : answer?.identity);
  return verdict(what, ready.length === pods.length, `${replicas}; ${leader} leads`);
}

async function networkingLines({ cluster }: CommandContext): Promise<HealthLine[]> {
  const networkings = await cluster.list(podNetworkingResource);
  const sick = networkings.filter(({ status }) => status?.status !== 'Ready');
  const words = sick.map(({ metadata, status }) => {
    const ready = status?.conditions?.find(({ type }) => type === 'Ready');
    return `${metadata.name} (${ready?.reason ?? status?.message ?? 'not checked yet'})`;
  });
  const text =
    sick.length === 0
      ? `${networkings.length}, all Ready`
      : `${sick.length} of ${networkings.length} not Ready: ${names(words)}`;
  const moving = networkings.filter(
    ({ status }) => (status?.rollout?.changing ?? 0) + (status?.rollout?.outdated ?? 0) > 0,
  );
  return [
    verdict('PodNetworkings', sick.length === 0, text),
    ...(moving.length === 0
      ? []
      : [line('Rollouts', 'ok', `security groups change for ${names(moving.map(({ metadata }) => metadata.name))}`)]),
  ];
}

async function podLine({ cluster }: CommandContext, answer: StatusResponse | undefined): Promise<HealthLine> {
  const byReason = new Map<string, number>();
  const add = (reason: string, pods: number) => byReason.set(reason, (byReason.get(reason) ?? 0) + pods);
  const podEnis = await cluster.list(podEniResource);
  const recorded = new Set<string>();
  let bound = 0;
  for (const { metadata, status } of podEnis) {
    recorded.add(`${metadata.namespace}/${metadata.name}`);
    const ready = status?.conditions?.find(({ type }) => type === 'Ready');
    if (reasonEntry(ready?.reason ?? '')?.pod !== undefined && ready?.status === 'False') add(ready.reason, 1);
    else if (status?.phase === 'Bind') bound += 1;
  }
  for (const { waitsFor, name, count: all, pods } of answer?.waiting ?? []) {
    const known = pods.filter((key) => recorded.has(key)).length;
    if (all > known) add(`for ${PLACES[waitsFor] ?? waitsFor} ${name}`, all - known);
  }
  const waiting = [...byReason].sort((a, b) => b[1] - a[1]).map(([reason, pods]) => `${pods} ${reason}`);
  const total = [...byReason.values()].reduce((sum, pods) => sum + pods, 0);
  const also = total === 0 ? 'none waits' : `${total} waiting: ${names(waiting)}`;
  return verdict('Pods', total === 0, `${bound} with their ENI, ${also}`);
}

const PLACES: Record<string, string> = {
  node: 'node',
  slot: 'a slot of',
  vSwitch: 'an address in',
  networking: 'PodNetworking',
};

async function nodeLine(context: CommandContext): Promise<HealthLine> {
  const { rows } = await nodeRows(context);
  const without = rows.filter(({ trunkProblem }) => trunkProblem !== undefined);
  const words = without.map(({ name, trunkProblem = '' }) => `${name} (${trunkProblem.split(':')[0]})`);
  const text =
    without.length === 0
      ? `${rows.length}, all set up`
      : `${without.length} of ${rows.length} without trunk: ${names(words)}`;
  return verdict('Nodes', without.length === 0, text);
}

async function vSwitchLine(context: CommandContext): Promise<HealthLine> {
  const rows = await vSwitchRows(context);
  const full = rows.filter((row) => row.full);
  const free = rows.reduce((sum, row) => sum + (row.free ?? 0), 0);
  const text =
    full.length === 0
      ? `${rows.length}, ${free} free addresses`
      : `${full.length} of ${rows.length} full: ${names(full.map(({ id }) => id))}`;
  return verdict('vSwitches', full.length === 0, text);
}

/** Lines that only the control plane can answer. */
function ownLines(answer: StatusResponse, nowMs: number): HealthLine[] {
  const lines: HealthLine[] = [];
  const { collector, degradation, configurationProblem, certificateEndsAt, queues, inFlight = 0 } = answer;
  if (!answer.leading)
    lines.push(line('Orphans', 'unknown', `${answer.identity} does not lead; ask ${answer.leader || 'the leader'}`));
  else if (collector === undefined) lines.push(line('Orphans', 'unknown', 'the collector has not run yet'));
  else {
    const braked = collector.braked ? ', too many at once, so none is released (kubectl terway gc)' : '';
    lines.push(
      verdict(
        'Orphans',
        !collector.braked,
        `${collector.orphans}${braked}; looked ${ageText(nowMs - Date.parse(collector.endedAt))} ago`,
      ),
    );
  }
  const levels: Record<string, string> = {
    '': 'no restriction',
    l1: 'l1: nothing is released',
    l0: 'l0: not called',
  };
  const waiting = queues.reduce((sum, queue) => sum + queue.waiting, 0);
  const work = answer.leading ? `; ${count(inFlight, 'ENI')} in progress, ${waiting} keys queued` : '';
  lines.push(verdict('Cloud', degradation === '', `${levels[degradation] ?? degradation}${work}`));
  lines.push(
    verdict('Configuration', configurationProblem === undefined, configurationProblem ?? 'the file is in force'),
  );
  if (certificateEndsAt !== undefined) {
    const leftMs = Date.parse(certificateEndsAt) - nowMs;
    const text = leftMs < 0 ? `ended ${ageText(-leftMs)} ago` : `ends in ${ageText(leftMs)}`;
    lines.push(verdict('Certificate', leftMs > CERTIFICATE_WARNING_MS, `of the webhook ${text}`));
  }
  if (answer.problem !== undefined) lines.push(line('Replica', 'bad', answer.problem));
  return lines;
}
