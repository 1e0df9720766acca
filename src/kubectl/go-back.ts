import { type TerwayNode, terwayNodeResource } from '../crds/node.ts';
import { type PodEni, podEniResource } from '../crds/pod-eni.ts';
import { keyOf } from '../kube/types.ts';
import { type StatusResponse, statusResponse } from '../wire/admin-channel.ts';
import { type CommandContext, orProblem } from './command.ts';
import { ageText, paragraph, type Report } from './report.ts';

/** What Terway's control plane would not know of. */
export interface GoBackReport {
  /** PodENIs whose ENI is on its way. */
  podEnis: { name: string; phase: string }[];
  /** Calls of pools whose result is not recorded. */
  intents: { node: string; eniID: string; askedAt: string }[];
  /** Pools may still ask for more; undefined when no control plane could be asked. */
  mayGrow?: boolean;
}

/** `go-back --check`: whether Terway's control plane can take over. 0 when nothing is under way, and nothing new begins. */
export async function goBackCommand({ cluster, controlPlane, clock }: CommandContext): Promise<Report> {
  // First whether anything new may begin, then what has begun.
  const asked = await orProblem(controlPlane.ask({ command: 'status' }, statusResponse));
  const [podEnis, nodes] = await Promise.all([cluster.list(podEniResource), cluster.list(terwayNodeResource)]);
  const found = goBackReport(podEnis, nodes, 'answer' in asked ? asked.answer : undefined);
  const lines = goBackLines(found, clock.now());
  const isReady = lines.length === 0;
  const problem = 'problem' in asked ? asked.problem : undefined;
  return {
    data: { ready: isReady, ...found, ...(problem === undefined ? {} : { problem }) },
    lines: (screen) => [
      ...lines.flatMap((line) => paragraph(line, screen, '  ')),
      ...(isReady ? [screen.style.green('Nothing is under way: Terway’s control plane can take over.')] : []),
      ...(problem === undefined
        ? []
        : paragraph(`Whether a control plane runs that asks for more is unknown: ${problem}`, screen)),
    ],
    exitCode: isReady ? 0 : 1,
  };
}

/** Pure. @param status what a control plane says; undefined when none could be asked */
export function goBackReport(
  podEnis: readonly PodEni[],
  nodes: readonly TerwayNode[],
  status: StatusResponse | undefined,
): GoBackReport {
  return {
    podEnis: podEnis.flatMap(({ metadata, status: { phase = '' } = {} }) =>
      phase === 'Bind' || phase === 'Unbind' ? [] : [{ name: keyOf(metadata), phase: phase || 'new' }],
    ),
    intents: nodes.flatMap(({ metadata: { name: node }, status: { poolIntents = [] } = {} }) =>
      poolIntents.map(({ eniID, createdAt: askedAt }) => ({ node, eniID, askedAt })),
    ),
    ...(status === undefined ? {} : { mayGrow: status.poolGrowth }),
  };
}

/** Why it is too early, for people; empty when it is not. */
export function goBackLines({ podEnis, intents, mayGrow }: GoBackReport, nowMs: number): string[] {
  return [
    ...podEnis.map(({ name, phase }) => `PodENI ${name} is ${phase}: wait until it is Bind or Unbind.`),
    ...intents.map(({ node, eniID, askedAt }) => {
      const what = eniID === '' ? 'a new ENI' : `addresses for ${eniID}`;
      return `Node ${node} has asked for ${what} ${ageText(nowMs - Date.parse(askedAt))} ago: wait until that is recorded.`;
    }),
    ...(mayGrow === true
      ? ['Pools ask for more at any moment: set poolGrowth to false in the configuration of the control plane.']
      : []),
  ];
}
