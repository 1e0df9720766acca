import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseAllDocuments, stringify } from 'yaml';
import * as z from 'zod';
import { microTime } from '../../src/kube/micro-time.ts';
import { renderChart } from '../../tools/product/render-chart.ts';
import type { ClusterAccess } from '../cluster/access.ts';
import { sharedCluster, type TestNamespace, withNamespace } from '../cluster/shared.ts';
import type { ControlPlane, LabNode } from '../harness/lab.ts';
import { type Asked, Plugin } from './plugin.ts';
import { OperatorLab } from './support.ts';

/** How `kubectl terway` finds a control plane, its rights, and its errors for a wrong command line. */

const roleSchema = z.looseObject({
  kind: z.enum(['ClusterRole', 'Role']),
  metadata: z.looseObject({ name: z.string() }),
  rules: z.array(z.looseObject({ resources: z.array(z.string()) })),
});
type Role = z.infer<typeof roleSchema>;

let cluster: ClusterAccess;
let operator: OperatorLab;
let plugin: Plugin;
let node: LabNode;
let namespace: TestNamespace;
let ns: string;
let folder: string;

beforeAll(async () => {
  cluster = await sharedCluster();
  operator = await OperatorLab.start(cluster);
  await operator.startControlPlane();
  plugin = new Plugin(cluster, operator);
  namespace = await withNamespace(cluster, 'kubectl');
  ns = namespace.name;
  folder = await mkdtemp(join(tmpdir(), 'terway-kubectl-'));
  node = await operator.addNode();
  await operator.readyNetworking('web');
});

afterAll(async () => {
  await operator?.close();
  await namespace?.delete();
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
});

test('kubectl finds it on the PATH, and passes on arguments, output and exit code', async () => {
  const status = await plugin.run(['status', '-o', 'json'], { byKubectl: true });
  expect(JSON.parse(status.stdout)).toMatchObject({ controlPlane: { leading: true } });
  expect(status.code).toBe((await plugin.run(['status'])).code);
  expect(await plugin.run(['stauts', '-n', 'web'], { byKubectl: true })).toMatchObject({ code: 2, stdout: '' });
});

describe('a replica that does not lead', () => {
  let second: ControlPlane;

  beforeAll(async () => {
    second = await operator.lab.startControlPlane({
      config: { leaseDuration: '4s', renewDeadline: '3s', retryPeriod: '500ms' },
    });
  });
  afterAll(async () => {
    await second?.process.stop();
  });

  test('reports on itself, and names the leader for the rest', async () => {
    const asked = { socket: second.adminSocket };
    const status = await plugin.json(
      ['status'],
      z.object({ controlPlane: z.object({ leading: z.boolean(), leader: z.string() }) }),
      asked,
    );
    expect(status.data.controlPlane).toMatchObject({
      leading: false,
      leader: expect.stringContaining(`${hostname()}_`),
    });
    const quota = await plugin.run(['quota'], asked);
    expect(quota).toMatchObject({ code: 1, stdout: '' });
    expect(quota.stderr).toContain(`does not lead; the leader is ${status.data.controlPlane.leader}`);
    const admin = await cluster.run(join(plugin.dist, 'terway-controlplane'), [
      ...['admin', 'orphans', '--socket', second.adminSocket],
    ]);
    expect(admin.code).toBe(1);
    expect(JSON.parse(admin.stdout)).toEqual({ error: expect.stringContaining('does not lead') });
  });

  test('a socket that cannot be created is a warning', async () => {
    const file = join(folder, 'file');
    await writeFile(file, '');
    const third = await operator.lab.startControlPlane({ config: { adminSocket: join(file, 'admin.sock') } });
    try {
      expect(await third.process.output()).toContain('no admin channel');
      expect(third.process.isRunning).toBe(true);
    } finally {
      await third.process.stop();
    }
  });

  test('a socket that another replica serves is left to it', async () => {
    const third = await operator.lab.startControlPlane({ config: { adminSocket: second.adminSocket } });
    try {
      expect(await third.process.output()).toContain('another process listens on it');
    } finally {
      await third.process.stop();
    }
    expect((await plugin.run(['quota'], { socket: second.adminSocket })).stderr).toContain('does not lead');
  });
});

describe('without a socket', () => {
  const PODS = '/api/v1/namespaces/kube-system/pods';
  let asked: Asked;

  beforeAll(async () => {
    const bin = join(folder, 'bin');
    await mkdir(bin, { recursive: true });
    // No node of this cluster runs containers: what exec would run in the pod is run here.
    await writeFile(
      join(bin, 'kubectl'),
      `#!/bin/sh
case " $* " in *" exec "*)
  echo "$@" >> ${folder}/exec.log
  while [ "$1" != -- ]; do shift; done
  shift 2
  exec ${plugin.dist}/terway-controlplane "$@" --socket ${operator.controlPlane.adminSocket};;
esac
exec "$(PATH="\${PATH#*:}"; command -v kubectl)" "$@"
`,
    );
    await chmod(join(bin, 'kubectl'), 0o755);
    asked = { socket: '', path: [bin] };
  });

  /** A pod of the control plane, as the chart labels it. */
  async function withReplica(pod: string, name: string, work: () => Promise<void>): Promise<void> {
    await operator.lab.api.create(PODS, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name: pod,
        labels: {
          'app.kubernetes.io/name': name,
          'app.kubernetes.io/part-of': 'terway-controlplane',
          'app.kubernetes.io/component': 'control-plane',
        },
      },
      spec: {
        nodeName: node.name,
        hostNetwork: true,
        containers: [{ name: 'controlplane', image: 'registry.k8s.io/pause:3.10' }],
      },
    });
    try {
      await work();
    } finally {
      await operator.strip(`${PODS}/${pod}`);
    }
  }

  test('the leader is found by its lease and asked through kubectl exec', async () => {
    const noPod = await plugin.run(['quota'], asked);
    expect(noPod.code).toBe(1);
    expect(noPod.stderr).toContain(`held by ${hostname()}, which is no pod`);
    await withReplica(hostname(), 'terway-controlplane', async () => {
      const quota = await plugin.run(['quota'], asked);
      expect(quota).toMatchObject({ code: 0, stderr: '' });
      expect(quota.stdout).toMatch(/^API +LIMIT +LEARNT +USED/);
      expect(await readFile(join(folder, 'exec.log'), 'utf8')).toBe(
        `exec --namespace kube-system ${hostname()} --container controlplane -- terway-controlplane admin quota\n`,
      );
    });
  });

  test('a control plane of another name is found by its pods; of several one is chosen', async () => {
    await withReplica('edge-0', 'edge-network', async () => {
      const noLease = await plugin.run(['quota'], asked);
      expect(noLease.stderr).toContain('there is no lease kube-system/edge-network');
      await operator.lab.apply(
        stringify({
          apiVersion: 'coordination.k8s.io/v1',
          kind: 'Lease',
          metadata: { name: 'edge-network', namespace: 'kube-system' },
          spec: { holderIdentity: 'edge-0_1', leaseDurationSeconds: 15, renewTime: microTime(Date.now()) },
        }),
      );
      try {
        expect(await plugin.run(['quota'], asked)).toMatchObject({ code: 0, stderr: '' });
        expect((await plugin.run(['status'], asked)).stdout).toMatch(
          /Control plane +0 of 1 replica ready; edge-0 leads/,
        );
        await withReplica('web-0', 'web-network', async () => {
          const several = await plugin.run(['quota'], asked);
          expect(several).toMatchObject({ code: 1, stdout: '' });
          expect(several.stderr).toContain(
            'kube-system has several control planes: edge-network, web-network; choose one with --control-plane',
          );
          const chosen = await plugin.run(['quota', '--control-plane', 'edge-network'], asked);
          expect(chosen).toMatchObject({ code: 0, stderr: '' });
        });
      } finally {
        await operator.lab.api.delete('/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/edge-network');
      }
    });
  });

  describe('under the chart’s roles for operators', () => {
    let roles: Role[];
    let kubeconfig: string;

    beforeAll(async () => {
      const serviceAccount = { namespace: ns, name: 'operator' };
      await operator.lab.api.create(`/api/v1/namespaces/${ns}/serviceaccounts`, {
        apiVersion: 'v1',
        kind: 'ServiceAccount',
        metadata: { name: serviceAccount.name },
      });
      const manifest = await renderChart(
        {
          'rbac.operator': { create: true, subjects: [{ kind: 'ServiceAccount', ...serviceAccount }] },
          'controlPlane.config.nodeConfigMaps': ['special-nodes'],
        },
        ['--show-only', 'templates/operator.yaml'],
      );
      await operator.lab.apply(manifest);
      roles = parseAllDocuments(manifest).flatMap((document) => roleSchema.safeParse(document.toJS()).data ?? []);
      kubeconfig = await cluster.writeKubeconfig({ serviceAccount });
      await operator.createPod(ns, 'web-0', { node: node.name, networking: 'web' });
      await operator.bound(ns, 'web-0');
      await operator.lab.api.patch(`/api/v1/nodes/${node.name}`, 'merge', {
        metadata: { labels: { 'terway-config': 'special-nodes' } },
      });
    });

    const bundle = () => ['bundle', '-o', join(folder, 'operator.tar.gz')];
    const asOperator = async (args: readonly string[], how: Asked = {}) => {
      const { code, stdout, stderr } = await plugin.run([...args, '--kubeconfig', kubeconfig], how);
      return { code, stdout, text: `${stdout}${stderr}` };
    };

    test('every command does its work, and little else is allowed', async () => {
      await withReplica(hostname(), 'terway-controlplane', async () => {
        for (const command of [
          ...[['status'], ['explain', 'pod', `${ns}/web-0`], ['nodes'], ['vswitches'], ['gc', '--plan'], ['quota']],
          ['pool', node.name],
          ...[['adopt'], bundle(), ['uninstall', '--check']],
        ]) {
          // One finds the leader; the others need not, as exec does not reach a pod here anyway.
          const answer = await asOperator(command, command[0] === 'quota' ? asked : {});
          expect(answer.code, `${command[0]}: ${answer.text}`).toBeLessThan(2);
          expect(answer.stdout, command[0]).not.toBe('');
          expect(answer.text, command[0]).not.toMatch(/forbidden/i);
        }
      });
      const may = async (...words: string[]) =>
        (await cluster.run('kubectl', ['--kubeconfig', kubeconfig, 'auth', 'can-i', ...words])).stdout.trim();
      // Over WebSockets exec is a GET, and the API server asks for both.
      for (const verb of ['get', 'create']) {
        expect(await may(verb, 'pods', '--subresource=exec', '-n', 'kube-system')).toBe('yes');
        expect(await may(verb, 'pods', '--subresource=exec', '-n', ns)).toBe('no');
      }
      expect(await may('get', 'secrets', '-n', 'kube-system')).toBe('no');
      expect(await may('delete', 'pods', '-n', 'kube-system')).toBe('no');
      expect(await may('patch', 'podenis.network.alibabacloud.com', '-n', ns)).toBe('no');
    });

    test('each rule is needed: without it a command says what is forbidden', async () => {
      /** What a command that needs the resource is told. Everything is in a bundle, but for what concerns one pod. */
      const withoutRightTo: Readonly<Record<string, () => Promise<{ text: string }>>> = {
        events: () => asOperator(['explain', 'pod', `${ns}/web-0`]),
        'pods, namespaces': () => asOperator(['explain', 'pod', `${ns}/web-0`]),
        leases: () => asOperator(['quota'], asked),
        // By the real exec, which comes as far as the API server's permission here.
        'pods/exec': () => asOperator(['quota'], { socket: '' }),
      };
      await withReplica(hostname(), 'terway-controlplane', async () => {
        for (const role of roles) {
          for (const [at, { resources }] of role.rules.entries()) {
            const what = resources.join(', ');
            await operator.lab.apply(stringify({ ...role, rules: role.rules.filter((_rule, index) => index !== at) }));
            const { text } = await (withoutRightTo[what] ?? (() => asOperator(bundle())))();
            expect(text, `${role.kind} ${role.metadata.name} without ${what}`).toMatch(/forbidden/i);
            await operator.lab.apply(stringify(role));
          }
        }
      });
    });
  });
});

describe('a wrong command line is reported, with exit code 2', () => {
  test.each([
    [['toString'], /unknown command "toString"/],
    [['stauts'], /unknown command "stauts"; valid commands: status, explain/],
    [['status', 'now'], /status takes no arguments; unexpected argument "now"/],
    [['gc'], /gc needs either --plan or --apply/],
    [['gc', '--plan', '--override-brake'], /--override-brake is only valid with --apply/],
    [['status', '--apply'], /status has no flag --apply/],
    [['explain'], /explain needs an argument/],
    [['explain', 'node', 'a'], /cannot explain "node"/],
    [['explain', 'pod', 'a/b/c'], /write explain pod NAMESPACE\/NAME/],
    [['explain', 'pod', 'a/b', '-n', 'c'], /are different namespaces/],
    [['uninstall'], /uninstall needs --check/],
    [['nodes', '-o', 'wide'], /-o wide: valid formats: table, json, yaml/],
    [['nodes', '--colour'], /unknown flag --colour\n/],
    [['bundle', '-o', '/nowhere/bundle.tar.gz'], /bundle -o \/nowhere\/bundle.tar.gz: cannot be written: ENOENT/],
  ])('%j', async (args, message) => {
    const { code, stdout, stderr } = await plugin.run(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(message);
  });

  test('help is not an error', async () => {
    const all = await plugin.run(['--help']);
    expect(all).toMatchObject({ code: 0, stderr: '' });
    for (const [, command = ''] of all.stdout.matchAll(/^ {2}([a-z]+) /gm)) {
      expect((await plugin.run([command, '--help'])).stdout).toMatch(new RegExp(`^kubectl terway ${command}`));
    }
    expect((await plugin.run([])).code).toBe(2);
  });
});
