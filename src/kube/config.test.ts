import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { VirtualClock } from '../util/test-support/virtual-clock.ts';
import { loadKubeConfig } from './config.ts';
import { KubeConfigError } from './errors.ts';

const PEM = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n';
let dir: string;
let clock: VirtualClock;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kubeconfig-'));
  clock = new VirtualClock();
});

afterEach(() => rm(dir, { recursive: true }));

interface Parts {
  cluster?: Record<string, unknown>;
  user?: Record<string, unknown>;
  top?: Record<string, unknown>;
}

async function write(parts: Parts = {}, name = 'config'): Promise<string> {
  const path = join(dir, name);
  const content = {
    'current-context': 'ctx',
    contexts: [{ name: 'ctx', context: { cluster: 'c', user: 'u', namespace: 'team' } }],
    clusters: [{ name: 'c', cluster: { server: 'https://10.0.0.1:6443/', ...parts.cluster } }],
    users: [{ name: 'u', user: parts.user ?? {} }],
    ...parts.top,
  };
  await writeFile(path, JSON.stringify(content));
  return path;
}

test('token, CA and name of the server', async () => {
  const caData = Buffer.from(PEM).toString('base64');
  const cluster = { 'certificate-authority-data': caData, 'tls-server-name': 'kubernetes' };
  const config = await loadKubeConfig({ path: await write({ cluster, user: { token: 'abc' } }), clock });
  expect(config).toMatchObject({ serverUrl: 'https://10.0.0.1:6443', namespace: 'team' });
  expect(await config.auth()).toBe('Bearer abc');
  expect(await config.tls()).toEqual({ ca: PEM, servername: 'kubernetes' });
});

test('files are found beside the kubeconfig and read again for each connection', async () => {
  for (const name of ['ca.crt', 'me.crt', 'me.key']) await writeFile(join(dir, name), PEM);
  const user = { 'client-certificate': 'me.crt', 'client-key': 'me.key' };
  const config = await loadKubeConfig({
    path: await write({ cluster: { 'certificate-authority': 'ca.crt' }, user }),
    clock,
  });
  expect(await config.tls()).toEqual({ ca: PEM, cert: PEM, key: PEM });
  const rotated = PEM.replace('MIIB', 'MIIC');
  await writeFile(join(dir, 'me.crt'), rotated);
  expect((await config.tls()).cert).toBe(rotated);
  expect(await config.auth()).toBeUndefined();
});

test('a token file is read again after a minute, and at once when refused', async () => {
  await writeFile(join(dir, 'token'), 'one\n');
  const config = await loadKubeConfig({ path: await write({ user: { tokenFile: 'token' } }), clock });
  expect(await config.auth()).toBe('Bearer one');
  await writeFile(join(dir, 'token'), 'two\n');
  expect(await config.auth()).toBe('Bearer one');
  await clock.advance(60_001);
  expect(await config.auth()).toBe('Bearer two');
  await writeFile(join(dir, 'token'), 'three\n');
  expect(await config.auth({ refresh: true })).toBe('Bearer three');
});

test('an exec plugin runs once for concurrent callers', async () => {
  const plugin = join(dir, 'plugin.sh');
  const answer =
    '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"from-plugin"}}';
  const script = `#!/bin/sh\nsleep 0.1\necho run >> "${dir}/runs"\ncase "$KUBERNETES_EXEC_INFO" in *ExecCredential*) echo '${answer}';; esac\n`;
  await writeFile(plugin, script);
  await chmod(plugin, 0o755);
  const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: './plugin.sh' };
  const config = await loadKubeConfig({ path: await write({ user: { exec } }), clock });
  expect(await Promise.all([config.auth(), config.auth(), config.auth()])).toEqual(Array(3).fill('Bearer from-plugin'));
  const { readFile } = await import('node:fs/promises');
  expect(await readFile(join(dir, 'runs'), 'utf8')).toBe('run\n');
});

test('in a pod: service account, with its token read again', async () => {
  const serviceAccountDir = join(dir, 'sa');
  await mkdir(serviceAccountDir);
  await writeFile(join(serviceAccountDir, 'token'), 'sa-token');
  await writeFile(join(serviceAccountDir, 'ca.crt'), PEM);
  await writeFile(join(serviceAccountDir, 'namespace'), 'kube-system');
  const env = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443', HOME: dir };
  const config = await loadKubeConfig({ env, serviceAccountDir, clock });
  expect(config).toMatchObject({ serverUrl: 'https://[fd00::1]:443', namespace: 'kube-system' });
  expect(await config.auth()).toBe('Bearer sa-token');
});

test('KUBECONFIG comes before the pod, and its files are joined', async () => {
  const first = await write({ top: { clusters: null, users: null } }, 'first');
  const second = await write({ top: { 'current-context': 'other' }, user: { token: 'abc' } }, 'second');
  const env = { KUBECONFIG: `${first}:${second}`, KUBERNETES_SERVICE_HOST: '10.0.0.9', KUBERNETES_SERVICE_PORT: '443' };
  const config = await loadKubeConfig({ env, clock });
  expect(config.serverUrl).toBe('https://10.0.0.1:6443');
});

test('impersonation and passwords are sent', async () => {
  const config = await loadKubeConfig({
    path: await write({ user: { username: 'joe', password: 'pw', as: 'admin' } }),
    clock,
  });
  expect(await config.auth()).toBe(`Basic ${Buffer.from('joe:pw').toString('base64')}`);
  expect(config.headers).toEqual({ 'impersonate-user': 'admin' });
});

test('every error is one line that names file, field and reason', async () => {
  const cases: [() => Promise<string>, RegExp][] = [
    [() => Promise.resolve(join(dir, 'absent')), /absent: cannot be read: ENOENT/],
    [() => raw('a: [b'), /config: is not YAML: /],
    [() => raw(''), /config: is empty/],
    [() => raw('hello'), /config: the file: /],
    [() => write({ top: { 'current-context': '' } }), /current-context is not set/],
    [() => write({ top: { 'current-context': 'typo' } }), /no context 'typo'/],
    [() => write({ top: { clusters: [] } }), /context 'ctx' refers to the unknown cluster 'c'/],
    [() => write({ top: { users: [] } }), /context 'ctx' refers to the unknown user 'u'/],
    [() => write({ cluster: { server: 'nonsense' } }), /clusters\[0\]\.cluster\.server: is not an http/],
    [() => write({ cluster: { server: 5 } }), /clusters\[0\]\.cluster\.server: /],
    [() => write({ cluster: { 'certificate-authority-data': '%%%' } }), /certificate-authority-data holds no PEM/],
    [() => write({ cluster: { 'certificate-authority': 'absent.crt' } }), /absent\.crt cannot be read/],
    [() => write({ cluster: { 'proxy-url': 'http://proxy' } }), /proxy-url is not supported/],
    [
      () => write({ user: { 'client-certificate-data': Buffer.from(PEM).toString('base64') } }),
      /client-certificate and client-key must be given together/,
    ],
    [() => write({ user: { exec: { args: [] } } }), /users\[0\]\.user\.exec\.command: /],
    [() => write({ user: { exec: { command: '/nonexistent/plugin' } } }), /exec plugin \/nonexistent\/plugin failed/],
  ];
  for (const [make, message] of cases) {
    const path = await make();
    const error = await loadKubeConfig({ path, clock }).then(
      () => 'no error',
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(KubeConfigError);
    expect(String(error)).toMatch(message);
    expect(String(error)).toMatch(/^KubeConfigError: [^\n]+$/);
  }
});

async function raw(content: string): Promise<string> {
  const path = join(dir, 'config');
  await writeFile(path, content);
  return path;
}
