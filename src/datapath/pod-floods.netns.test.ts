import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as z from 'zod';
import { AGENT_FLAGS } from '../../scripts/launch-flags.ts';
import { buildTools, DatapathLab, run, TOOLS } from './test-support/datapath-lab.ts';
import { ScriptedPort } from './test-support/ports.ts';
import type { PodAttachment } from './types.ts';

/* What a pod with NET_ADMIN can fill its own namespace with, and what that does to the agent and to the other pods. */

const nameOf = ({ netnsPath }: PodAttachment) => netnsPath.slice('/run/netns/'.length);

const numbers = (count: number) => Array.from({ length: count }, (_, at) => at);
const ipv4 = (net: number, at: number) => `${net}.${(at >> 16) & 255}.${(at >> 8) & 255}.${at & 255}`;
const ipv6 = (at: number) => `fd55::${(at >> 16).toString(16)}:${(at & 0xffff).toString(16)}`;

/** Lines for `ip -batch`, by kind. */
const FLOODS = {
  neighbours: () =>
    numbers(300_000).map((at) => `neigh add ${ipv4(44, at)} lladdr 02:00:00:00:00:01 dev eth0 nud permanent`),
  routes: () => numbers(60_000).map((at) => `route add ${ipv4(45, at)}/32 dev eth0 proto 84`),
  'routes of IPv6': () => numbers(60_000).map((at) => `-6 route add ${ipv6(at)}/128 dev eth0 proto 84`),
  addresses: () => numbers(3000).map((at) => `addr add ${ipv6(at)}/128 dev eth0 nodad`),
  rules: () => numbers(4000).map((at) => `rule add from ${ipv4(46, at)} lookup 77 pref 512 protocol 84`),
  links: () => numbers(500).map((at) => `link add a${at} type veth peer name b${at}`),
} as const;

const isIpv6 = (line: string) => line.startsWith('-6 ');

/** `ip -batch` as a pod would run it; options stand before the commands. */
function flood(pod: PodAttachment, kind: keyof typeof FLOODS): void {
  const lines = FLOODS[kind]();
  const family = lines[0] !== undefined && isIpv6(lines[0]) ? ['-6'] : [];
  const path = join(lab.directory, `${nameOf(pod)}.batch`);
  writeFileSync(path, lines.map((line) => `${line.replace(/^-6 /, '')}\n`).join(''));
  run('ip', ...family, '-n', nameOf(pod), '-batch', path);
}

function qdiscs(pod: PodAttachment): void {
  const lines = numbers(500).flatMap((at) => {
    const minor = (at + 1).toString(16);
    return [
      `class add dev eth0 parent 1: classid 1:${minor} htb rate 1mbit`,
      `qdisc add dev eth0 parent 1:${minor} pfifo limit 1`,
      `filter add dev eth0 parent 1: protocol ip pref ${at + 1} u32 match ip dst ${ipv4(47, at)} flowid 1:${minor}`,
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
const pods = new Map<string, PodAttachment>();
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
  for (const [at, kind] of [...Object.keys(FLOODS), 'qdiscs and filters'].entries()) {
    const pod = lab.pod([lab.member(20 + at, 120 + at)]);
    pods.set(kind, pod);
    await datapath.add(pod);
  }
  others = [lab.pod([lab.member(5, 101)]), lab.pod([lab.shared(6)])];
  for (const pod of others) await datapath.add(pod);
  for (const [kind, pod] of pods) {
    if (kind in FLOODS) flood(pod, kind as keyof typeof FLOODS);
    else qdiscs(pod);
  }
}, 300_000);

afterAll(() => {
  lab?.[Symbol.dispose]();
});

function syncProcess(known: PodAttachment[]) {
  const task = {
    helper: TOOLS.helper,
    object: TOOLS.object,
    nodeNetns: lab.netnsPath(lab.node),
    settings: lab.settings(),
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
  test.each([...Object.keys(FLOODS), 'qdiscs and filters'])(
    'with %s: the agent stays under its memory limit and mends what the other pods lack',
    (kind) => {
      const flooded = pods.get(kind);
      if (flooded === undefined) throw new Error(kind);
      lab.ip('route', 'flush', 'table', '911');
      const { outcome, peakMb } = syncProcess([flooded, ...others]);
      expect(outcome.error).toBeUndefined();
      expect(outcome.failed).toEqual([]);
      expect(peakMb).toBeLessThan(120);
      expect(lab.ip('route', 'show', 'table', '911')).toContain('10.0.0.5');
    },
  );

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
