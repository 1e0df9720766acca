import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { readConfigFile } from './config-file.ts';
import { controlPlaneConfigSchema, credentialFileSchema } from './control-plane.ts';
import { ConfigError } from './errors.ts';

let directory: string;
let path: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'terway-config-'));
  path = join(directory, 'file.yaml');
});

afterAll(async () => {
  await rm(directory, { recursive: true });
});

const minimal = { regionID: 'cn-hangzhou', clusterID: 'c1', vpcID: 'vpc-bp1' };

async function read(text: string) {
  await writeFile(path, text);
  return readConfigFile(path, controlPlaneConfigSchema, '--config');
}

/** The error message, without the file path at its beginning. */
async function refusalOf(reading: Promise<unknown>): Promise<string> {
  const error: unknown = await reading.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof ConfigError)) throw new Error(`expected a ConfigError: ${String(error)}`);
  expect(error.message).not.toContain('\n');
  expect(error.message.startsWith(`${path}: `)).toBe(true);
  return error.message.slice(path.length + 2);
}

describe('the configuration of the control plane', () => {
  test('has the defaults of upstream where it has them', async () => {
    expect(await read(stringify(minimal))).toEqual({
      ...minimal,
      ipStack: 'ipv4',
      adminSocket: '/run/terway-controlplane/admin.sock',
      degradation: '',
      poolGrowth: true,
      multiIPGCPeriod: 120_000,
      ipamType: '',
      nodeLabelWhiteList: {},
      nodeConfigMaps: [],
      customStatefulWorkloadKinds: [],
      controllerNamespace: 'kube-system',
      controllerName: 'terway-controlplane',
      leaderElection: true,
      leaseDuration: 15_000,
      renewDeadline: 10_000,
      retryPeriod: 2000,
      healthzBindAddress: { host: '0.0.0.0', port: 8080 },
      webhook: {
        enabled: true,
        bindHost: '0.0.0.0',
        port: 4443,
        hosts: [],
        timeout: 4000,
        drain: 5000,
        certificates: 'self',
        certificateValidity: 31_536_000_000,
        rotationStep: 120_000,
        injectResources: true,
        escapedPods: 'hold',
      },
      metricsBindAddress: { host: '0.0.0.0', port: 9090 },
      enableTrunk: true,
      centralizedIPAM: false,
      podENIMaxConcurrent: 50,
      nodeMaxConcurrent: 10,
      eniMaxConcurrent: 4,
      rateLimit: {},
      rateLimitShare: 1,
      logLevel: 'info',
      endpoints: { network: 'vpc' },
      podNetworkingRecheck: 60_000,
      releaseConfirmation: 30_000,
      collector: { interval: 60_000, minimumAge: 600_000 },
    });
  });

  test.each([
    ['0', undefined],
    ['127.0.0.1:8080', { host: '127.0.0.1', port: 8080 }],
    [':8080', { host: '0.0.0.0', port: 8080 }],
    ['[::1]:8080', { host: '::1', port: 8080 }],
    ['[::]:65535', { host: '::', port: 65_535 }],
  ])('listens at %s', async (address, expected) => {
    expect(await read(stringify({ ...minimal, metricsBindAddress: address }))).toMatchObject({
      metricsBindAddress: expected,
    });
  });

  test('takes endpoints as URLs', async () => {
    const endpoints = { ecs: 'http://127.0.0.1:8100', vpc: 'https://vpc.example.com' };
    expect((await read(stringify({ ...minimal, endpoints }))).endpoints).toEqual({
      network: 'vpc',
      ecs: { host: '127.0.0.1:8100', protocol: 'HTTP' },
      vpc: { host: 'vpc.example.com', protocol: 'HTTPS' },
    });
  });

  test.each<[object, string]>([
    [{ regionId: 'x' }, 'top level: unknown key regionId'],
    [{ a: 1, b: 2 }, 'top level: unknown key a, b'],
    [{ collector: { intervall: '1m' } }, 'collector: unknown key intervall'],
    [{ endpoints: { ecs: 'http://a', region: 'x' } }, 'endpoints: unknown key region'],
    [{ regionID: '' }, 'regionID: must not be empty'],
    [{ clusterID: 7 }, 'clusterID: must be of type string, not number'],
    [{ vpcID: 'bp1' }, 'vpcID: must look like vpc-bp1…'],
    [{ leaseDuration: '15' }, 'leaseDuration: "15" is not a positive Go duration such as 15s or 2m'],
    [{ retryPeriod: '0s' }, 'retryPeriod: "0s" is not a positive Go duration such as 15s or 2m'],
    [{ retryPeriod: '-2s' }, 'retryPeriod: "-2s" is not a positive Go duration such as 15s or 2m'],
    [{ collector: { minimumAge: '1d' } }, 'collector.minimumAge: "1d" is not a positive Go duration such as 15s or 2m'],
    [{ leaseDuration: 15 }, 'leaseDuration: must be a Go duration such as 15s or 2m'],
    [{ leaseDuration: '10s' }, 'renewDeadline: must be shorter than leaseDuration'],
    [{ renewDeadline: '2s' }, 'retryPeriod: must be shorter than renewDeadline'],
    [{ healthzBindAddress: '8080' }, 'healthzBindAddress: must be HOST:PORT, or 0 to turn it off'],
    [{ healthzBindAddress: 'a:99999' }, 'healthzBindAddress: 99999 is not a port; the highest is 65535'],
    [{ podENIMaxConcurrent: 0 }, 'podENIMaxConcurrent: must be at least 1, not 0'],
    [{ podENIMaxConcurrent: 1.5 }, 'podENIMaxConcurrent: must be a whole number, not 1.5'],
    [{ rateLimit: { AttachNetworkInterface: 0 } }, 'rateLimit.AttachNetworkInterface: must be at least 1, not 0'],
    [{ rateLimit: { AttachNetworkInterface: -1 } }, 'rateLimit.AttachNetworkInterface: must be at least 1, not -1'],
    [{ rateLimitShare: 0 }, 'rateLimitShare: must be more than 0, not 0'],
    [{ rateLimitShare: 1.1 }, 'rateLimitShare: must be at most 1, not 1.1'],
    [{ logLevel: 'loud' }, 'logLevel: must be one of "trace", "debug", "info", "warn", "error", not "loud"'],
    [{ endpoints: { network: 'intranet' } }, 'endpoints.network: must be one of "vpc", "public", not "intranet"'],
    [{ endpoints: { ecs: 'ecs.example.com' } }, 'endpoints.ecs: must be http://HOST[:PORT] or https://HOST[:PORT]'],
    [{ endpoints: { ecs: 'http://a/path' } }, 'endpoints.ecs: must be http://HOST[:PORT] or https://HOST[:PORT]'],
  ])('#64: is refused in one line that names field and rule: %j', async (changes, message) => {
    expect(await refusalOf(read(stringify({ ...minimal, ...changes })))).toBe(message);
  });
});

describe('a file', () => {
  test.each([
    ['is a list', '- a\n- b\n', 'top level: must be of type object, not array'],
    ['is a word', 'word', 'top level: must be of type object, not string'],
  ])('that %s', async (_name, text, message) => {
    expect(await refusalOf(read(text))).toBe(message);
  });

  test.each([
    ['a mapping inside a scalar', 'regionID: a: b'],
    ['a quote that does not end', 'regionID: "a\nclusterID: b\n'],
    ['a tab for indentation', 'endpoints:\n\tnetwork: vpc\n'],
    ['a key twice', 'regionID: a\nregionID: b\n'],
    ['two documents', 'regionID: a\n---\nregionID: b\n'],
  ])('that is not YAML, %s, is reported with its place', async (_name, text) => {
    const message = await refusalOf(read(text));
    expect(message).toMatch(/^is not YAML: /);
    expect(message).toMatch(/at line \d+, column \d+$|multiple documents/);
  });

  test('that does not exist is reported by its path', async () => {
    const missing = join(directory, 'missing.yaml');
    await expect(readConfigFile(missing, controlPlaneConfigSchema, '--config')).rejects.toThrow(
      `${missing}: cannot be read: ENOENT: no such file or directory; --config names another file`,
    );
  });
});

describe('the credential file', () => {
  const readCredential = async (content: object) => {
    await writeFile(path, stringify(content));
    return readConfigFile(path, credentialFileSchema, '--credential');
  };
  const rrsa = { roleARN: 'acs:ram::1:role/r', oidcProviderARN: 'acs:ram::1:oidc-provider/p', oidcTokenFile: '/t' };
  const rule =
    'top level: must hold accessKey and accessSecret (securityToken if temporary), or ecsRamRole, or rrsa with roleARN, oidcProviderARN and oidcTokenFile';

  test.each([
    { accessKey: 'a', accessSecret: 's' },
    { accessKey: 'a', accessSecret: 's', securityToken: 't' },
    { ecsRamRole: {} },
    { ecsRamRole: { roleName: 'r', metadataEndpoint: 'http://127.0.0.1:1' } },
    { rrsa },
    { rrsa: { ...rrsa, stsEndpoint: 'http://127.0.0.1:1', roleSessionName: 's' } },
  ])('holds one source of credentials: %j', async (content) => {
    expect(await readCredential(content)).toEqual(content);
  });

  test.each([
    [{}, rule],
    [{ accessKey: 'a' }, rule],
    [{ accessKey: 'a', accessSecret: '' }, 'accessSecret: must not be empty'],
    [{ accessKey: 'a', accessSecret: 'hush', ecsRamRole: {} }, rule],
    [{ ecsRamRole: { role: 'r' } }, 'ecsRamRole: unknown key role'],
    [{ rrsa: { roleARN: 'r' } }, rule],
    [{ accessKeyID: 'a', accessKeySecret: 'hush' }, rule],
  ])('is refused: %j', async (content, expected) => {
    expect(await refusalOf(readCredential(content))).toBe(expected);
  });

  test('does not leak its secret when it is not YAML', async () => {
    await writeFile(path, 'accessKey: a\naccessSecret: hush: hush\n');
    expect(await refusalOf(readConfigFile(path, credentialFileSchema, '--credential'))).not.toContain('hush');
  });
});
