import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AdminClient } from './admin-client.ts';
import { ConfigError, parseSimulatorConfig, seedAccount, simulatorOptions } from './config.ts';
import { CloudModel } from './model/model.ts';

const EXAMPLE = `
region: cn-beijing
zones: [cn-beijing-a]
accessKeys:
  - { accessKeyId: LTAItest, accessKeySecret: secret }
latencies: { createMs: 5, attachMs: 6 }
behaviour:
  rateWindows: { CreateNetworkInterface: { limit: 2, windowMs: 1000, code: Throttling.Api } }
  tagFilterMaxResources: 9
  listLag: { createdMs: 7, deletedMs: 8 }
  attachFaults: [{ outcome: hangs, count: 1 }]
  instanceFilterReturnsMembers: false
instanceTypes:
  - { instanceTypeId: ecs.g7.4xlarge, eniTotalQuantity: 120 }
  - { instanceTypeId: ecs.own.large, eniQuantity: 2 }
vpcs: [{ vpcId: vpc-main, cidrBlock: 10.0.0.0/8 }]
vSwitches: [{ vSwitchId: vsw-a, vpcId: vpc-main, zoneId: cn-beijing-a, cidrBlock: 10.0.0.0/24 }]
securityGroups: [{ securityGroupId: sg-pods, vpcId: vpc-main }]
instances:
  - { instanceId: i-node1, instanceType: ecs.g7.4xlarge, vSwitchId: vsw-a, securityGroupIds: [sg-pods] }
`;

test('a configuration becomes an account', () => {
  const config = parseSimulatorConfig(EXAMPLE);
  const { accessKeys, account } = simulatorOptions(config);
  const model = new CloudModel(account);
  seedAccount(model, config, 1_000);
  expect(accessKeys).toEqual([{ accessKeyId: 'LTAItest', accessKeySecret: 'secret' }]);
  expect(model.snapshot()).toMatchObject({
    regionId: 'cn-beijing',
    zoneIds: ['cn-beijing-a'],
    latencies: { createMs: 5, attachMs: 6, detachMs: 1500 },
    instances: [{ id: 'i-node1', zoneId: 'cn-beijing-a' }],
    enis: [{ type: 'Primary', securityGroupIds: ['sg-pods'] }],
  });
  const types = new Map(model.instanceTypes().map((type) => [type.instanceTypeId, type]));
  expect(types.get('ecs.g7.4xlarge')).toMatchObject({ eniQuantity: 8, eniTotalQuantity: 120, source: 'configuration' });
  expect(types.get('ecs.own.large')).toMatchObject({ eniQuantity: 2, eniTrunkSupported: false });
  // Returns what holds after a change of nothing.
  expect(model.setBehaviour({}, 1_000)).toEqual({
    rateWindows: { CreateNetworkInterface: { limit: 2, windowMs: 1000, code: 'Throttling.Api' } },
    tagFilterMaxResources: 9,
    listLag: { createdMs: 7, deletedMs: 8 },
    attachFaults: [{ outcome: 'hangs', count: 1 }],
    instanceFilterReturnsMembers: false,
  });
  expect(new CloudModel(simulatorOptions(parseSimulatorConfig('')).account).snapshot().regionId).toBe('cn-hangzhou');
});

test.each([
  ['regoin: x', /regoin/],
  ['latencies: { attachMs: -1 }', /^latencies\.attachMs: /],
  ['latencies: { attachMs: soon }', /^latencies\.attachMs: .*number/],
  ['vpcs: [{ cidrBlock: 10.0.0.1/8 }]', /^vpcs\[0\]: .*cidrBlock/],
  ['accessKeys: []', /^accessKeys: /],
  [
    'behaviour: { rateWindows: { Describe: { limit: 1, windowMs: 1000 } } }',
    /^behaviour\.rateWindows\.Describe: .*no such API/,
  ],
  ['behaviour: { rateWindows: { default: { limit: 1, windowMs: 5 } } }', /windowMs: must be 60000 or 1000/],
  ['behaviour: { rateWindows: { default: { limit: 1, windowMs: 1000, code: Slow } } }', /code: /],
  ['behaviour: { attachFaults: [{ outcome: sometimes }] }', /^behaviour\.attachFaults\[0\]\.outcome: /],
  ['behaviour: { listLag: { createdMs: -1 } }', /^behaviour\.listLag\.createdMs: /],
  ['instanceTypes: [{ instanceTypeId: g7 }]', /^instanceTypes\[0\]\.instanceTypeId: /],
  ['vSwitches: [{ vpcId: vpc-none, zoneId: z, cidrBlock: 10.0.0.0/24 }]', /^vSwitches\[0\]: .*vpc-none/],
  ['[1, 2]', /^file: /],
  ['a: [', /^not YAML: [^\n]*$/],
])('%s is refused, naming field and rule', (text, message) => {
  const run = () => {
    const config = parseSimulatorConfig(text);
    seedAccount(new CloudModel(simulatorOptions(config).account), config, 0);
  };
  expect(run).toThrow(ConfigError);
  expect(run).toThrow(message);
});

describe('the executable', () => {
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'alicloud-sim-'));
  });

  afterAll(() => rm(folder, { recursive: true }));

  /** Runs the program until it ends. `onLine` gets the first line of its output. */
  function run(args: string[], onLine?: (line: string, stop: () => void) => Promise<void>) {
    const executable = join(import.meta.dirname, '../../src/cli/alicloud-sim.ts');
    const child = spawn(process.execPath, [executable, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    let seen: Promise<void> = Promise.resolve();
    child.stdout.on('data', (data: Buffer) => {
      const first = !stdout.includes('\n');
      stdout += data.toString();
      if (first && stdout.includes('\n') && onLine !== undefined) {
        seen = onLine(stdout.slice(0, stdout.indexOf('\n')), () => child.kill('SIGTERM'));
      }
    });
    child.stderr.on('data', (data: Buffer) => {
      stderr += data.toString();
    });
    return new Promise<{ status: number | null; stdout: string; stderr: string }>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (status) => {
        seen.then(() => resolve({ status, stdout, stderr }), reject);
      });
    });
  }

  test('prints its addresses, serves, and ends on SIGTERM', async () => {
    const file = join(folder, 'sim.yaml');
    await writeFile(file, EXAMPLE);
    const ended = await run(['--config', file, '--metadata-listen', '127.0.0.1:0'], async (line, stop) => {
      const ready: unknown = JSON.parse(line);
      expect(ready).toMatchObject({
        ready: true,
        endpoint: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
        adminUrl: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/_sim$/),
        metadataEndpoint: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
        regionId: 'cn-beijing',
        accessKeyIds: ['LTAItest'],
      });
      const adminUrl = /"adminUrl":"([^"]+)"/.exec(line)?.[1] ?? '';
      try {
        expect((await new AdminClient(adminUrl).state()).instances.map((instance) => instance.id)).toEqual(['i-node1']);
      } finally {
        stop();
      }
    });
    expect(ended).toMatchObject({ status: 0, stderr: '' });
  });

  test.each([
    [['--listen', 'nowhere'], /--listen: expected HOST:PORT/],
    [['--admin-listen', '0.0.0.0:1'], /--admin-listen: must be a loopback address/],
    [['--metadata-listen', '0.0.0.0:1'], /--metadata-listen: must be a loopback address/],
    [['--sing'], /--sing/],
    [['--config', 'does-not-exist.yaml'], /--config: ENOENT/],
  ])('%s exits with status 2 and one line', async (args, message) => {
    const { status, stdout, stderr } = await run(args);
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(message);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  });
});
