/**
 * Runs the benchmarks and prints every figure next to its budget and upstream's. Exits with 1 when a budget is missed.
 * `--only NAME[,NAME]` runs some of the sections; `node` selects all node sections, `pool` those of shared ENIs. `--runs 3` runs them three times and takes the
 * median; `--write` writes the results to docs/performance.json, from which `make generate` fills the tables in the docs.
 * `--releases`, `--pods`, `--networkings`, `--churn-seconds` and those that begin with `--pool` shrink the large sections for quick runs.
 */
import { rm } from 'node:fs/promises';
import { type Cluster, startCluster } from '../test/cluster/cluster.ts';
import { realNodeSupport } from '../test/cluster/real-nodes/support.ts';
import { createStateDir } from '../test/cluster/shared.ts';
import { readFlags } from '../tools/flags.ts';
import { ControlPlaneBench } from './control-plane-bench.ts';
import { controlPlaneSections } from './control-plane-sections.ts';
import { measureCni } from './node-cni.ts';
import { measureDrain, measurePacketCost, measureStrayTags, measureSync } from './node-packets.ts';
import { measureRepair } from './node-repair.ts';
import { medians, writePerformance } from './performance.ts';
import { measureColdNode, measureIdleAddress, measurePoolRestart, measureReplacements } from './pools.ts';
import { formatMeasure, formatTable, isMet, type Measure, type Report } from './report.ts';

const flags = readFlags({
  only: { type: 'string' },
  runs: { type: 'string', default: '1' },
  json: { type: 'boolean', default: false },
  write: { type: 'boolean', default: false },
  'throttled-pods': { type: 'string', default: '900' },
  releases: { type: 'string', default: '2000' },
  pods: { type: 'string', default: '20000' },
  networkings: { type: 'string', default: '500' },
  'churn-seconds': { type: 'string', default: '60' },
  'pool-rounds': { type: 'string', default: '300' },
  'pool-nodes': { type: 'string', default: '500' },
  'pool-replacements': { type: 'string', default: '1000' },
  'pool-records': { type: 'string', default: '5000' },
});
const only = flags.only?.split(',');

let measures: Measure[] = [];
const say = (line: string) => process.stderr.write(`${line}\n`);

function record(measure: Measure): void {
  measures.push(measure);
  say(`  ${formatMeasure(measure)}`);
}

const report: Report = { record, say };

const sections = controlPlaneSections(report, {
  throttledPods: amount('throttled-pods'),
  releases: amount('releases'),
  pods: amount('pods'),
  networkings: amount('networkings'),
  churnSeconds: amount('churn-seconds'),
});

/** Sections of pods that share ENIs, each with its own cluster. */
const poolSections: Record<string, (cluster: Cluster) => Promise<void>> = {
  'pool-idle': (cluster) => measureIdleAddress(cluster, report, amount('pool-rounds')),
  'pool-cold': (cluster) => measureColdNode(cluster, report),
  'pool-replace': (cluster) =>
    measureReplacements(cluster, report, {
      nodes: amount('pool-nodes'),
      pods: amount('pool-replacements'),
      perSecond: 100,
    }),
  'pool-restart': (cluster) => measurePoolRestart(cluster, report, amount('pool-records')),
};

/** Node sections, each with its own namespaces or cluster. */
const nodeSections: Record<string, () => Promise<void>> = {
  'node-sync': () => measureSync(report),
  'node-drain': () => measureDrain(report),
  'node-repair': () => measureRepair(report),
  'node-tags': () => measureStrayTags(report),
  // The kernel removes thousands of links in the background, so no section that needs the same lock may follow directly.
  'node-packets': () => measurePacketCost(report),
  'node-cni': () => withStateDir((stateDir) => measureCni(report, stateDir)),
};

const AMOUNTS = [
  ...(['throttled-pods', 'releases', 'pods', 'networkings', 'churn-seconds'] as const),
  ...(['pool-rounds', 'pool-nodes', 'pool-replacements', 'pool-records'] as const),
];

/** Sizes of the large sections. */
function amount(flag: (typeof AMOUNTS)[number]): number {
  return Number(flags[flag]);
}

/** Why a flag has no whole number from 1 to `most`, in one line; undefined when it has. */
function wrongNumber(flag: (typeof AMOUNTS)[number] | 'runs', most: number): string | undefined {
  const value = Number(flags[flag]);
  return Number.isInteger(value) && value >= 1 && value <= most
    ? undefined
    : `--${flag}: expected 1 to ${most}, got ${flags[flag]}`;
}

function isChosen(name: string): boolean {
  if (only === undefined || only.includes(name)) return true;
  return (name in nodeSections && only.includes('node')) || (name in poolSections && only.includes('pool'));
}

async function withStateDir(work: (stateDir: string) => Promise<void>): Promise<void> {
  const stateDir = await createStateDir();
  try {
    await work(stateDir);
  } finally {
    await rm(stateDir, { recursive: true, force: true });
  }
}

function startBareCluster(stateDir: string): Promise<Cluster> {
  return startCluster({ stateDir, features: { scheduler: false, controllerManager: false } });
}

async function measureControlPlane(stateDir: string): Promise<void> {
  await using cluster = await startBareCluster(stateDir);
  await using bench = await ControlPlaneBench.start(cluster);
  for (const [name, section] of Object.entries(sections)) {
    if (!isChosen(name)) continue;
    say(name);
    await section(bench);
  }
}

async function measurePools(): Promise<void> {
  for (const [name, section] of Object.entries(poolSections)) {
    if (!isChosen(name)) continue;
    say(name);
    await withStateDir(async (stateDir) => {
      await using cluster = await startBareCluster(stateDir);
      await section(cluster);
    });
  }
}

async function measureNode(): Promise<void> {
  const support = await realNodeSupport();
  if (!support.supported) {
    say(`node sections skipped: ${support.reason}`);
    return;
  }
  for (const [name, section] of Object.entries(nodeSections)) {
    if (!isChosen(name)) continue;
    say(name);
    await section();
  }
}

const groups = { node: nodeSections, pool: poolSections };
const known = [sections, ...Object.values(groups), groups].flatMap((one) => Object.keys(one));
const unknown = only?.find((name) => !known.includes(name));
if (unknown !== undefined) {
  say(`unknown section ${unknown}; valid sections: ${known.join(', ')}`);
  process.exit(2);
}
const wrong =
  wrongNumber('runs', 9) ?? AMOUNTS.map((flag) => wrongNumber(flag, 100_000)).find((why) => why !== undefined);
if (wrong !== undefined) {
  say(wrong);
  process.exit(2);
}
const runs = Number(flags.runs);
const all: Measure[][] = [];
for (let run = 1; run <= runs; run += 1) {
  if (runs > 1) say(`run ${run} of ${runs}`);
  measures = [];
  if (Object.keys(sections).some(isChosen)) await withStateDir(measureControlPlane);
  await measurePools();
  if (Object.keys(nodeSections).some(isChosen)) await measureNode();
  all.push(measures);
  // After each run, so that one that fails loses nothing of those before.
  if (flags.write) await writePerformance(medians(all));
}
const found = medians(all);
process.stdout.write(`${flags.json ? JSON.stringify(found, undefined, 2) : formatTable(found)}\n`);
process.exitCode = found.every(isMet) ? 0 : 1;
