import { constants, copyFile, cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { stringify } from 'yaml';
import * as z from 'zod';
import { buildTools, TOOLS } from '../../../src/datapath/test-support/datapath-lab.ts';
import type { CommandResult } from '../../cluster/command.ts';
import { type TestNamespace, withNamespace } from '../../cluster/shared.ts';
import { podTemplate, readyNetworking } from '../../e2e/nodes/support.ts';
import { ZONES } from '../../harness/lab.ts';
import { NodeLab, type WiredNode } from '../../harness/node-lab.ts';

/**
 * kill -9 of the agent at every request to the kernel of ADD and of DEL, before it is made and before its answer comes back:
 * enumerated, not sampled. The next agent must leave the node as it was, without a DEL by the runtime. Where the agent writes
 * nothing between an answer and its next request, these two moments leave the same on the node, and one of them is enough.
 */

/** On the node; the rest of its root is the machine's. */
const DIRECTORY = '/opt/agent-under-test';
const NODE_BINARY = join(DIRECTORY, 'node');
const RECORDS = '/var/lib/terway-agent/pods';
const NETNS = 'crash';
const POD = 'victim';

let lab: NodeLab;
let node: WiredNode;
let namespace: TestNamespace;
let baseline: string;
let running: { done: Promise<CommandResult>; stop: AbortController } | undefined;

beforeAll(async () => {
  lab = await NodeLab.start({ nodes: [{ zone: ZONES[0] }], latencies: { attachMs: 100, detachMs: 100 } });
  await lab.product.installControlPlane();
  node = lab.node('node-1');
  namespace = await withNamespace(lab.cluster, 'agent-crash');
  await readyNetworking(lab, 'crash');
  await prepare();
  // The kubelet cannot run it, as the runtime is not told of the plugin; its PodENI is what counts.
  const { metadata, spec } = podTemplate({ networking: 'crash' });
  await lab.api.create(`/api/v1/namespaces/${namespace.name}/pods`, {
    metadata: { ...metadata, name: POD },
    spec: { ...spec, nodeName: node.name, tolerations: [{ operator: 'Exists' }] },
  });
  await node.real.exec('ip', ['netns', 'add', NETNS]);
  await startAgent();
  const added = await plugin('ADD');
  expect(added.code, added.stdout).toBe(0);
  expect((await plugin('DEL')).code).toBe(0);
  await stopAgent();
  await startAgent();
  baseline = await kernelState();
}, 900_000);

afterAll(async () => {
  await stopAgent();
  await lab?.close();
}, 60_000);

/** Files of the node, seen from the machine. */
const onNode = (path: string) => `/proc/${node.real.pid}/root${path}`;

async function prepare(): Promise<void> {
  await mkdir(onNode(DIRECTORY), { recursive: true });
  for (const file of ['terway-agent.mjs', 'terway-cni', 'terway.bpf.o']) {
    await copyFile(join(lab.product.distDir, file), onNode(join(DIRECTORY, file)));
  }
  await copyFile(join(lab.product.distDir, 'terway-kernel'), onNode(join(DIRECTORY, 'terway-kernel.real')));
  await buildTools();
  await copyFile(TOOLS.frames, onNode(join(DIRECTORY, 'frames')));
  // Where this checkout is may be hidden from nodes, as their /tmp is their own.
  await copyFile(process.execPath, onNode(NODE_BINARY), constants.COPYFILE_FICLONE);
  const lock = `[ "$1" = --lock ] && exec ${DIRECTORY}/terway-kernel.real --lock`;
  const launcher = `#!/bin/sh\n${lock}\nexec ${DIRECTORY}/frames kernel-trap ${DIRECTORY} ${RECORDS} ${DIRECTORY}/terway-kernel.real "$@"\n`;
  await writeFile(onNode(join(DIRECTORY, 'terway-kernel')), launcher, { mode: 0o755 });
  await cp(join(lab.product.distDir, 'chunks'), onNode(join(DIRECTORY, 'chunks')), { recursive: true });
  const config = {
    syncPeriod: '1h',
    addTimeout: '60s',
    paths: { cniBin: `${DIRECTORY}/bin`, cniConf: `${DIRECTORY}/net.d` },
  };
  await writeFile(onNode(join(DIRECTORY, 'agent.yaml')), stringify(config));
  // The agent's token must say on which node it is, and this agent has no pod.
  const { metadata } = z
    .object({ metadata: z.object({ uid: z.string() }) })
    .parse(await lab.api.get(`/api/v1/nodes/${node.name}`));
  const path = await lab.cluster.writeKubeconfig({
    serviceAccount: { namespace: 'kube-system', name: 'terway-agent' },
    boundTo: { apiVersion: 'v1', kind: 'Node', name: node.name, uid: metadata.uid },
  });
  const kubeconfig = await readFile(path, 'utf8');
  const server = lab.cluster.hub?.serverUrl ?? '';
  await writeFile(onNode(join(DIRECTORY, 'kubeconfig')), kubeconfig.replace(/https:\/\/127\.0\.0\.1:\d+/, server));
}

/** Starts an agent and waits until it has looked at the node. */
async function startAgent(): Promise<void> {
  const stop = new AbortController();
  const done = node.real.exec(
    'env',
    [
      ...[`NODE_NAME=${node.name}`, `NODE_IP=${node.real.internalIp}`, NODE_BINARY],
      ...[`${DIRECTORY}/terway-agent.mjs`, '--config', `${DIRECTORY}/agent.yaml`],
      ...['--kubeconfig', `${DIRECTORY}/kubeconfig`],
    ],
    { signal: stop.signal },
  );
  done.catch(() => undefined);
  running = { done, stop };
  const ready = 'until busybox wget -q -O /dev/null http://127.0.0.1:9196/readyz 2>/dev/null; do sleep 0.1; done';
  const failed = done.then(({ code, stdout, stderr }) => {
    throw new Error(`the agent ended with ${code}: ${stdout}${stderr}`);
  });
  failed.catch(() => undefined);
  // Which of the two ends the other's wait.
  const enough = new AbortController();
  const answered = node.real.exec('timeout', ['30', 'sh', '-c', ready], { signal: enough.signal });
  try {
    expect((await Promise.race([answered, failed])).code, 'the agent to be ready').toBe(0);
  } finally {
    enough.abort(new Error('enough'));
    await answered.catch(() => undefined);
  }
}

async function stopAgent(): Promise<void> {
  running?.stop.abort(new Error('enough'));
  await running?.done.catch(() => undefined);
  running = undefined;
}

/** Runs the plugin as the runtime does. */
function plugin(command: 'ADD' | 'DEL'): Promise<CommandResult> {
  const args = `K8S_POD_NAMESPACE=${namespace.name};K8S_POD_NAME=${POD}`;
  return node.real.exec(
    'env',
    [
      ...[`CNI_COMMAND=${command}`, 'CNI_CONTAINERID=crash', `CNI_NETNS=/run/netns/${NETNS}`, 'CNI_IFNAME=eth0'],
      ...[`CNI_ARGS=${args}`, `${DIRECTORY}/bin/terway`],
    ],
    { input: JSON.stringify({ cniVersion: '1.1.0', name: 'terway', type: 'terway' }) },
  );
}

/** Everything that ADD could leave: on the node, in the pod's namespace, in maps and on disk. */
const LOOK = `set -e
look() { echo "# $*"; "$@"; }
look ip -oneline link
look ip -oneline address show scope global
look ip rule
look ip route show table all
look ip neigh show nud permanent
look tc qdisc show
look tc filter show dev eth1 egress
look tc filter show dev eth1 ingress
look ip -netns ${NETNS} -oneline link
look ip -netns ${NETNS} route show table all
for map in /sys/fs/bpf/terway/maps/*tag4* /sys/fs/bpf/terway/maps/*veths*; do
  look /usr/sbin/bpftool -j map dump pinned "$map"
done
look ls ${RECORDS}`;

async function kernelState(): Promise<string> {
  const { stdout, stderr, code } = await node.real.exec('sh', ['-c', LOOK]);
  expect(code, stderr).toBe(0);
  // What the kernel adds by itself comes when duplicate address detection is over; what counts up is no state.
  const lines = stdout.split('\n').filter((line) => !line.includes('proto kernel'));
  return lines.join('\n').replace(/ (id|expires|users|refcnt) \S+/g, '');
}

/** Arms the trap; 0 only counts. */
async function arm({ at, when }: Moment): Promise<void> {
  await writeFile(onNode(join(DIRECTORY, 'arm')), `${at} ${when} ${Math.random()}`);
}

async function disarm(): Promise<void> {
  await rm(onNode(join(DIRECTORY, 'arm')), { force: true });
}

/** A moment at which the agent is ended; requests count from 1. */
interface Moment {
  at: number;
  when: 'before' | 'after';
}

/** All moments of a command that leave something different behind. */
async function momentsOf(command: 'ADD' | 'DEL'): Promise<Moment[]> {
  await arm({ at: 0, when: 'before' });
  expect((await plugin(command)).code).toBe(0);
  await disarm();
  const requests = (await readFile(onNode(join(DIRECTORY, 'count')), 'utf8')).trim().split('\n');
  expect(requests.length).toBeGreaterThan(3);
  return requests.flatMap((_, index): Moment[] => [
    { at: index + 1, when: 'before' },
    ...(requests[index + 1] === 'same' ? [] : [{ at: index + 1, when: 'after' as const }]),
  ]);
}

test.each(['ADD', 'DEL'] as const)(
  'at every request of %s: the next agent leaves no trace',
  async (command) => {
    if (command === 'DEL') expect((await plugin('ADD')).code).toBe(0);
    const moments = await momentsOf(command);
    if (command === 'ADD') expect((await plugin('DEL')).code).toBe(0);
    for (const moment of moments) {
      const label = `${moment.when} request ${moment.at}`;
      if (command === 'DEL') expect((await plugin('ADD')).code, label).toBe(0);
      await arm(moment);
      const killed = await plugin(command);
      // The runtime is told that nobody answered.
      expect([killed.code, JSON.parse(killed.stdout)], label).toMatchObject([1, { code: 11 }]);
      await running?.done.catch(() => undefined);
      await disarm();
      await startAgent();
      expect(await kernelState(), label).toBe(baseline);
    }
    // And what it was about still works.
    expect((await plugin('ADD')).code).toBe(0);
    expect((await plugin('DEL')).code).toBe(0);
    expect((await plugin('DEL')).code).toBe(0);
    const last = moments.at(-1)?.at ?? 0;
    process.stdout.write(`${command}: killed at ${moments.length} moments of ${last} requests\n`);
  },
  900_000,
);

test('uninstall takes everything of the agent from the node', async () => {
  expect((await plugin('ADD')).code).toBe(0);
  await stopAgent();
  const { code, stderr } = await node.real.exec('env', [
    ...[`NODE_IP=${node.real.internalIp}`, NODE_BINARY, `${DIRECTORY}/terway-agent.mjs`, 'uninstall'],
    ...['--config', `${DIRECTORY}/agent.yaml`],
  ]);
  expect([code, stderr]).toEqual([0, '']);
  const found = async (command: string, ...args: string[]) => (await node.real.exec(command, args)).stdout;
  expect(await found('ip', '-oneline', 'link')).not.toContain('cali');
  expect(await found('ip', 'rule')).not.toContain('proto 84');
  expect(await found('ip', 'route', 'show', 'table', 'all', 'proto', '84')).toBe('');
  expect(await found('tc', 'filter', 'show', 'dev', 'eth1', 'egress')).not.toContain('trunk_egress');
  expect(await found('tc', 'filter', 'show', 'dev', 'eth1', 'ingress')).not.toContain('trunk_ingress');
  expect(
    await found('sh', '-c', `ls -A /sys/fs/bpf/terway ${DIRECTORY}/bin ${DIRECTORY}/net.d 2>/dev/null | grep -v :`),
  ).toBe('\n\n');
});
