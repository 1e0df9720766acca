import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as z from 'zod';
import { AGENT_FLAGS } from '../../tools/product/launch-flags.ts';
import { buildTools, DatapathLab, run, runWith, TOOLS } from './test-support/datapath-lab.ts';
import { FLOOD_KINDS, type FloodKind, floodCommand, ipv4Of, numbers } from './test-support/floods.ts';
import { ScriptedPort } from './test-support/ports.ts';
import type { PodAttachment } from './types.ts';

/* What a pod with NET_ADMIN can fill its own namespace with, and what that does to the agent and to the other pods. */

const nameOf = ({ netnsPath }: PodAttachment) => netnsPath.slice('/run/netns/'.length);

const QDISCS = 'qdiscs and filters';
const KINDS = [...FLOOD_KINDS, QDISCS] as const;

function flood(kind: FloodKind, pod: PodAttachment): void {
  const { command, args, input } = floodCommand(kind, nameOf(pod));
  runWith(input, command, ...args);
}

function qdiscs(pod: PodAttachment): void {
  const lines = numbers(500).flatMap((at) => {
    const minor = (at + 1).toString(16);
    return [
      `class add dev eth0 parent 1: classid 1:${minor} htb rate 1mbit`,
      `qdisc add dev eth0 parent 1:${minor} pfifo limit 1`,
      `filter add dev eth0 parent 1: protocol ip pref ${at + 1} u32 match ip dst ${ipv4Of(47, at)} flowid 1:${minor}`,
    ];
  });
  const path = join(lab.directory, `${nameOf(pod)}.tc`);
  writeFileSync(path, ['qdisc add dev eth0 root handle 1: htb', ...lines].map((line) => `${line}\n`).join(''));
  run('tc', '-n', nameOf(pod), '-batch', path);
}

const outcomeSchema = z.object({
  outcome: z.looseObject({
    error: z.string().optional(),
    failed: z.array(z.looseObject({ pod: z.string().optional(), message: z.string() })).default([]),
    inPods: z.array(z.looseObject({ pod: z.string().optional(), message: z.string() })).default([]),
  }),
  peakMb: z.number(),
});

let lab: DatapathLab;
let program: string;
const pods = new Map<(typeof KINDS)[number], PodAttachment>();
let others: PodAttachment[];

beforeAll(async () => {
  await buildTools();
  lab = new DatapathLab();
  program = join(lab.directory, 'sync-process.mjs');
  await build({
    entryPoints: [join(import.meta.dirname, 'test-support/sync-process.ts')],
    outfile: program,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    logLevel: 'error',
  });
  await using datapath = lab.datapath();
  for (const [at, kind] of KINDS.entries()) {
    const pod = lab.pod([lab.member(20 + at, 120 + at)]);
    pods.set(kind, pod);
    await datapath.add(pod);
  }
  others = [lab.pod([lab.member(5, 101)]), lab.pod([lab.shared(6)])];
  for (const pod of others) await datapath.add(pod);
  for (const [kind, pod] of pods) {
    if (kind === QDISCS) qdiscs(pod);
    else flood(kind, pod);
  }
}, 300_000);

afterAll(() => {
  lab?.[Symbol.dispose]();
});

function syncProcess(known: PodAttachment[], at = lab) {
  const task = {
    helper: TOOLS.helper,
    object: TOOLS.object,
    nodeNetns: at.netnsPath(at.node),
    settings: at.settings(),
    pods: known,
    times: 5,
  };
  const { stdout, stderr } = spawnSync(process.execPath, [...AGENT_FLAGS, program], {
    encoding: 'utf8',
    input: JSON.stringify(task),
  });
  if (stdout === '') throw new Error(stderr);
  return outcomeSchema.parse(JSON.parse(stdout));
}

describe('a pod that floods its own namespace', () => {
  test.each(KINDS)('with %s: the agent stays under its memory limit and mends what the other pods lack', (kind) => {
    const flooded = pods.get(kind);
    if (flooded === undefined) throw new Error(kind);
    lab.ip('route', 'flush', 'table', '911');
    const { outcome, peakMb } = syncProcess([flooded, ...others]);
    expect(outcome.error).toBeUndefined();
    expect(outcome.failed).toEqual([]);
    expect(peakMb).toBeLessThan(120);
    expect(lab.ip('route', 'show', 'table', '911')).toContain('10.0.0.5');
  });

  test('all of them at once: others are added and removed meanwhile', async () => {
    await using datapath = lab.datapath();
    const all = [...pods.values(), ...others];
    const syncing = datapath.sync(() => all);
    const fresh = lab.pod([lab.member(7, 103)]);
    await datapath.add(fresh);
    expect(await datapath.check(fresh)).toEqual([]);
    await datapath.remove(fresh);
    expect((await syncing).failed).toEqual([]);
    for (const pod of others) expect(await datapath.check(pod)).toEqual([]);
    for (const pod of pods.values()) await datapath.remove(pod);
    expect((await datapath.sync(() => others)).failed).toEqual([]);
  }, 60_000);
});

test('a process of the host network that floods the tables of the node ends a look early, and no more', () => {
  using own = new DatapathLab();
  const pod = own.pod([own.member(5, 101)]);
  const lines = numbers(200_000).map((at) => `route add ${ipv4Of(45, at)}/32 dev eni1 table 911 proto 84`);
  expect(syncProcess([pod], own).outcome.error).toBeUndefined();
  runWith(`${lines.join('\n')}\n`, 'ip', '-n', own.node, '-batch', '-');
  const { outcome, peakMb } = syncProcess([pod], own);
  expect(JSON.stringify(outcome)).toContain('more than 8388608 bytes of objects in the namespace');
  expect(peakMb).toBeLessThan(120);
  own.ip('route', 'flush', 'table', '911');
  expect(syncProcess([pod], own).outcome).toMatchObject({ failed: [] });
  expect(own.ip('route', 'show', 'table', '911')).toContain('10.0.0.5');
}, 120_000);

describe('an error in the namespace of one pod', () => {
  test.each([
    ['every request is refused', 'eio'],
    ['the namespace is gone', 'gone'],
  ])('%s: the sync goes on for the others, and names the pod', async (_, how) => {
    using own = new DatapathLab();
    const scripted = new ScriptedPort(own.port());
    await using datapath = own.datapath({}, scripted);
    const broken = own.pod([own.member(5, 101)]);
    const healthy = own.pod([own.member(6, 102)]);
    for (const pod of [broken, healthy]) await datapath.add(pod);
    own.ip('route', 'flush', 'table', '911');
    if (how === 'gone') run('ip', 'netns', 'del', nameOf(broken));
    else {
      scripted.onRequest = (count, _operation, fields) => {
        if (fields.includes(broken.netnsPath)) scripted.failAt = count;
      };
    }
    const report = await datapath.sync(() => [broken, healthy]);
    const told = [...report.failed, ...(report.inPods ?? [])];
    expect(told.map(({ pod }) => pod)).toContain(`default/${broken.name}`);
    expect(told.map(({ pod }) => pod)).not.toContain(`default/${healthy.name}`);
    expect(own.ip('route', 'show', 'table', '911')).toContain('10.0.0.6');
    expect(await datapath.check(healthy)).toEqual([]);
    if (how === 'eio') expect(own.ip('route', 'show', 'table', '911')).toContain('10.0.0.5');
  });
});
