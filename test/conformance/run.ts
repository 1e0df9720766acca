/**
 * Runs Kubernetes' own network specs on the nodes of a lab, with a member ENI for every pod, and once more with all pods on shared
 * ENIs: `node test/conformance/run.ts`. Exits 1 when a spec fails.
 *
 *   --record        writes docs/reference/conformance.md from this run
 *   --pods KIND     runs them with `members` or `shared` only; records nothing
 *   --focus REGEX   runs only the specs that match; may be repeated; records nothing
 */
import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { markdownTable } from '../../tools/docs/markdown-table.ts';
import { ToolError } from '../../tools/errors.ts';
import { readFlags } from '../../tools/flags.ts';
import { KUBERNETES_VERSION } from '../../tools/programs/kubernetes.ts';
import { ADDITIONAL, CONFORMANCE, NOT_RUN } from './selections.ts';
import { ConformanceCluster, type PodNetwork, type SpecResult } from './suite.ts';

const root = join(import.meta.dirname, '..', '..');
const REPORT_DIR = join(root, 'dist', 'conformance');
const PAGE = join(root, 'docs', 'reference', 'conformance.md');

const KINDS = ['members', 'shared'] as const satisfies readonly PodNetwork[];
const NAMES: Readonly<Record<PodNetwork, string>> = { members: 'pods with member ENIs', shared: 'pods on shared ENIs' };

const MARKS = { passed: '✓', failed: '✗', skipped: '–' } as const;

class EndedBySignal extends Error {
  constructor(name: string) {
    super(`ended by ${name}`);
  }
}

interface Section {
  title: string;
  results: readonly SpecResult[];
}

async function main(): Promise<void> {
  const flags = readFlags({
    record: { type: 'boolean', default: false },
    pods: { type: 'string' },
    focus: { type: 'string', multiple: true },
  });
  const kinds = KINDS.filter((kind) => flags.pods === undefined || flags.pods === kind);
  if (kinds.length === 0) throw new ToolError(`--pods: expected ${KINDS.join(' or ')}, got ${flags.pods}`);
  const stop = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort(new EndedBySignal(name)));
  const log = (line: string) => process.stdout.write(`${line}\n`);
  const started = performance.now();
  const sections: Section[] = [];
  const notRun = new Set<string>();
  for (const pods of kinds) {
    await using cluster = await ConformanceCluster.start({ pods, signal: stop.signal, log });
    const run = async (title: string, selection: Parameters<typeof cluster.run>[0]): Promise<void> => {
      const named = `${title}; ${NAMES[pods]}`;
      log(`\n${named}`);
      sections.push({ title: named, results: await cluster.run(selection, join(REPORT_DIR, pods)) });
    };
    if (flags.focus !== undefined) {
      await run('Chosen specs', { focus: flags.focus });
      continue;
    }
    await run('Conformance', CONFORMANCE);
    await run('Host ports, node ports, session affinity, traffic policies, dual stack', ADDITIONAL);
    for (const name of await cluster.list({ focus: CONFORMANCE.focus }, join(REPORT_DIR, pods))) notRun.add(name);
  }
  const serial = [...notRun].filter((name) => NOT_RUN.test(name));
  log(summary(sections, serial));
  const all = sections.flatMap(({ results }) => results);
  if (all.length === 0) throw new ToolError(`no spec matches --focus ${flags.focus?.join(' --focus ')}`);
  const count = (state: SpecResult['state']) => all.filter((result) => result.state === state).length;
  log(`JUnit files and logs: dist/conformance; ${((performance.now() - started) / 60_000).toFixed(1)} minutes`);
  if (flags.record && flags.focus === undefined && flags.pods === undefined) await record(sections, serial);
  log(`${count('passed')} passed, ${count('failed')} failed, ${count('skipped')} skipped`);
  // A run in which nothing passed is not a success either.
  process.exitCode = count('failed') === 0 && count('passed') > 0 ? 0 : 1;
}

function summary(sections: readonly Section[], notRun: readonly string[]): string {
  const lines = sections.flatMap(({ title, results }) => [
    `\n${title}`,
    ...results.flatMap(({ name, state, seconds, message }) => [
      `  ${MARKS[state]} ${seconds.toFixed(0).padStart(4)} s  ${name}`,
      ...(state === 'passed' ? [] : [`          ${message.split('\n')[0]}`]),
    ]),
  ]);
  return [
    ...lines,
    `\nNot run, as they need the cluster for themselves or take very long${notRun.length === 0 ? ': none' : ''}`,
    ...notRun.map((name) => `  ${name}`),
  ].join('\n');
}

async function record(sections: readonly Section[], notRun: readonly string[]): Promise<void> {
  const { stdout } = await promisify(execFile)('git', ['rev-parse', '--short', 'HEAD'], { cwd: root });
  const parts = sections.map(({ title, results }) => {
    const rows = results.map(({ name, state, seconds, message }) => [
      name.replaceAll('|', '\\|'),
      state === 'passed' ? 'passed' : `${state}: ${(message.split('\n')[0] ?? '').replaceAll('|', '\\|')}`,
      seconds.toFixed(0),
    ]);
    return `## ${title}\n\n${markdownTable([['spec', 'result', 'seconds'], ...rows])}`;
  });
  const text = `# Kubernetes' own network specs

Written by \`make conformance RECORD=1\` on ${new Date().toISOString().slice(0, 10)} at commit ${stdout.trim()}: the e2e suite of Kubernetes ${KUBERNETES_VERSION} on three
nodes of the laboratory with kubelet, containerd and kube-proxy (nftables), dual stack. In one cluster every pod had a member ENI of
the simulated cloud, in another one all shared the ENIs of their nodes; the suite ran on a machine of the VPC beside the cluster.

The suite was started with \`--provider=skeleton --allowed-not-ready-nodes=0 --num-nodes=3\` and

    ${focusOf(CONFORMANCE)}
    ${focusOf(ADDITIONAL)}

${parts.join('\n')}
## Not run

Conformance specs that need the cluster for themselves, or take very long: ${notRun.length === 0 ? 'there are none.' : `\n\n${notRun.map((name) => `- ${name}`).join('\n')}`}
`;
  await mkdir(join(PAGE, '..'), { recursive: true });
  await writeFile(PAGE, text);
}

function focusOf({ focus, skip = [] }: { focus: readonly string[]; skip?: readonly string[] }): string {
  return [...focus.map((text) => `--ginkgo.focus='${text}'`), ...skip.map((text) => `--ginkgo.skip='${text}'`)].join(
    ' ',
  );
}

try {
  await main();
} catch (error) {
  if (!(error instanceof ToolError || error instanceof EndedBySignal)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
