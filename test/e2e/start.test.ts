import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { pollUntil } from '../../tools/machine/poll.ts';
import { chooseFreePorts } from '../../tools/machine/ports.ts';
import { sharedCluster } from '../cluster/shared.ts';
import { ControlPlaneLab } from '../harness/lab.ts';
import { LabProcess } from '../harness/process.ts';

/** Messages of a start that fails or must wait. Each must help the reader find the mistake. */

const CONFIG = {
  regionID: 'cn-hangzhou',
  clusterID: 'c1',
  vpcID: 'vpc-bp1lab',
  metricsBindAddress: '0',
  webhook: { enabled: false },
};
const CREDENTIAL = { accessKey: 'LTAI5tKey', accessSecret: 'Sesame' };

let lab: ControlPlaneLab;
let started = 0;

beforeAll(async () => {
  lab = await ControlPlaneLab.start({ cluster: await sharedCluster() });
});

afterAll(async () => {
  await lab?.close();
});

/** Writes the files that are given as text or object, and starts the executable on them. */
async function start(files: { config?: unknown; credential?: unknown; kubeconfig?: unknown; flags?: string[] }) {
  started += 1;
  const run = started;
  const write = async (name: string, content: unknown) => {
    const path = join(lab.stateDir, `${run}-${name}`);
    await writeFile(path, typeof content === 'string' ? content : stringify(content));
    return path;
  };
  const { config = CONFIG, credential = CREDENTIAL, kubeconfig, flags = [] } = files;
  return LabProcess.start({
    name: `start-${run}`,
    script: join(lab.stateDir, 'dist', 'terway-controlplane.mjs'),
    args: [
      ...['--config', await write('config', config)],
      ...['--credential', await write('credential', credential)],
      ...[
        '--kubeconfig',
        kubeconfig === undefined ? lab.cluster.kubeconfigPath : await write('kubeconfig', kubeconfig),
      ],
      ...flags,
    ],
    logPath: join(lab.stateDir, `start-${run}.log`),
  });
}

describe.concurrent('#64: one line says what is wrong with', () => {
  const needed =
    'must hold accessKey and accessSecret (securityToken if temporary), or ecsRamRole, or rrsa with roleARN, oidcProviderARN and oidcTokenFile';
  test.each([
    [
      'a flag',
      { flags: ['--confg', 'x'] },
      'command line: unknown flag --confg; valid flags: --config, --credential, --kubeconfig, --help',
    ],
    ['a config that is no YAML', { config: 'regionID: [' }, /config: is not YAML: .* at line 1, column \d+$/],
    [
      'an unknown key',
      { config: { ...CONFIG, podENIMaxConcurent: 5 } },
      'config: top level: unknown key podENIMaxConcurent',
    ],
    [
      'an unknown key further down',
      { config: { ...CONFIG, collector: { intervall: '5s' } } },
      'config: collector: unknown key intervall',
    ],
    [
      'a key that is neither configured nor found',
      // Nobody listens at port 9 of this machine.
      { config: { ...CONFIG, vpcID: undefined, healthzBindAddress: '0', metadataEndpoint: 'http://127.0.0.1:9' } },
      /vpcID: is not configured and was not found: .*ack-cluster-profile has no vpcid; no answer from http:\/\/127/,
    ],
    [
      'a value of another type',
      { config: { ...CONFIG, podENIMaxConcurrent: 'many' } },
      'config: podENIMaxConcurrent: must be of type number, not string',
    ],
    [
      'a bare number for a duration',
      { config: { ...CONFIG, leaseDuration: 15 } },
      'config: leaseDuration: must be a Go duration such as 15s or 2m',
    ],
    [
      'a duration',
      { config: { ...CONFIG, leaseDuration: '15x' } },
      'config: leaseDuration: "15x" is not a positive Go duration such as 15s or 2m',
    ],
    [
      'two durations together',
      { config: { ...CONFIG, leaseDuration: '5s' } },
      'config: renewDeadline: must be shorter than leaseDuration',
    ],
    ['a VPC', { config: { ...CONFIG, vpcID: 'bp1lab' } }, 'config: vpcID: must look like vpc-bp1…'],
    [
      'an endpoint',
      { config: { ...CONFIG, endpoints: { ecs: '127.0.0.1' } } },
      'config: endpoints.ecs: must be http://HOST[:PORT] or https://HOST[:PORT]',
    ],
    ['an empty credential', { credential: '' }, `credential: top level: ${needed}`],
    ['half a credential', { credential: { accessKey: 'a' } }, `credential: top level: ${needed}`],
    ['a kubeconfig that is no YAML', { kubeconfig: 'a: [' }, /kubeconfig .*kubeconfig: is not YAML: /],
    [
      'a kubeconfig without a context',
      { kubeconfig: { kind: 'Config' } },
      /kubeconfig: current-context is not set; choose one with `kubectl config use-context`$/,
    ],
  ])('%s', async (_what, files, message) => {
    const process = await start(files);
    expect(await process.exited()).toBe('exit code 2');
    const lines = (await process.output()).trimEnd().split('\n');
    expect(lines).toHaveLength(1);
    const [line = ''] = lines;
    expect(line.startsWith('terway-controlplane: ')).toBe(true);
    if (typeof message === 'string') expect(line.endsWith(message), line).toBe(true);
    else expect(line).toMatch(message);
    expect(line).not.toMatch(/Sesame|undefined|\[object/);
  });

  test('an address in use', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const address = other.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    try {
      const process = await start({ config: { ...CONFIG, healthzBindAddress: `127.0.0.1:${port}` } });
      expect(await process.exited()).toBe('exit code 2');
      expect((await process.output()).trimEnd()).toBe(
        `terway-controlplane: healthzBindAddress: cannot listen on 127.0.0.1:${port}: listen EADDRINUSE: address already in use 127.0.0.1:${port}`,
      );
    } finally {
      other.close();
    }
  });
});

/** Starts with that API server, and waits until /readyz says why it is not ready. */
async function unready(server: string, user: object, reason: RegExp, config: object = CONFIG): Promise<void> {
  const [port] = await chooseFreePorts(1);
  const process = await start({
    config: { ...config, healthzBindAddress: `127.0.0.1:${port}` },
    kubeconfig: {
      'current-context': 'c',
      contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
      clusters: [{ name: 'c', cluster: { server, 'insecure-skip-tls-verify': true } }],
      users: [{ name: 'u', user }],
    },
  });
  try {
    await pollUntil(
      async () => {
        const response = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined);
        const text = await response?.text();
        expect(response?.status ?? 503).toBe(503);
        return text !== undefined && reason.test(text) ? true : undefined;
      },
      { what: `/readyz to say ${reason}`, timeoutMs: 20_000 },
    );
    expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200);
    expect(process.isRunning).toBe(true);
    // The log says the same, for those who look there.
    expect(await process.output()).toMatch(/watch interrupted|the API server does not respond/);
  } finally {
    expect(await process.stop()).toBe('exit code 0');
  }
}

test('#64: an API server that cannot be reached is waited for, and /readyz says so', async () => {
  const [closed] = await chooseFreePorts(1);
  await unready(`https://127.0.0.1:${closed}`, {}, /^the store of pods has not synced yet: .*(ECONNREFUSED|refused)/);
});

test('#64: while an API server that cannot be reached is to tell what cluster this is, nothing is guessed', async () => {
  const [closed] = await chooseFreePorts(1);
  await unready(
    `https://127.0.0.1:${closed}`,
    {},
    /^it is not known yet where the cluster lives: .*(ECONNREFUSED|refused)/,
    { ...CONFIG, clusterID: undefined },
  );
});

test('credentials that the API server does not take are named by /readyz', async () => {
  await unready(lab.cluster.serverUrl, { token: 'nonsense' }, /^the store of pods has not synced yet: .*Unauthorized/);
});

test('#60: the cloud’s refusal of the credentials reaches the PodNetworking', async () => {
  const process = await lab.startControlPlane({ config: { podNetworkingRecheck: '3s' } });
  await process.process.stop();
  await lab.apply(
    stringify({
      apiVersion: 'network.alibabacloud.com/v1beta1',
      kind: 'PodNetworking',
      metadata: { name: 'refused' },
      spec: { vSwitchOptions: ['vsw-bp1pods-h'], securityGroupIDs: ['sg-bp1pods'] },
    }),
  );
  const wrong = await start({
    config: { ...CONFIG, healthzBindAddress: '0', podNetworkingRecheck: '3s', endpoints: endpointsOf(lab) },
  });
  const status = async (path: string) =>
    (await lab.cluster.kubectl(['get', 'podnetworking', 'refused', '-o', `jsonpath=${path}`])).stdout;
  try {
    const message = await pollUntil(
      async () => {
        const found = await status('{.status.message}');
        return found === '' ? undefined : found;
      },
      { what: 'the message', timeoutMs: 30_000 },
    );
    expect(message).toMatch(/^DescribeVSwitches: InvalidAccessKeyId\.NotFound: .* \(request id [0-9A-F-]{36}\)$/);
    // Two more checks fail with request ids of their own, which is no news.
    const version = await status('{.metadata.resourceVersion}');
    const refusals = async () =>
      Object.values((await lab.cloud.counters()).calls['DescribeVSwitches'] ?? {}).reduce(
        (sum, count) => sum + count,
        0,
      );
    const before = await refusals();
    await pollUntil(async () => ((await refusals()) >= before + 2 ? true : undefined), {
      what: 'two checks',
      timeoutMs: 20_000,
    });
    expect(await status('{.metadata.resourceVersion}')).toBe(version);
  } finally {
    await wrong.stop();
    await lab.api.delete('/apis/network.alibabacloud.com/v1beta1/podnetworkings/refused');
  }
});

function endpointsOf({ endpoint }: ControlPlaneLab) {
  return { ecs: `http://${endpoint}`, vpc: `http://${endpoint}` };
}
