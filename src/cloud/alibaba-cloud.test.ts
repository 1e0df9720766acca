import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type CloudSimulator, startCloudSimulator } from '../../sim/cloud/server.ts';
import type { Eni } from '../ecs/eni.ts';
import { systemClock } from '../util/clock.ts';
import type { AlibabaCloud } from './alibaba-cloud.ts';
import { CloudError } from './errors.ts';
import type { CreateEniRequest } from './port.ts';
import type { CallReport } from './rpc.ts';
import { regionalEndpoints } from './rpc-sender.ts';
import { connectCloud, failureOf } from './test-support/connect.ts';

const leave = { signal: new AbortController().signal, callClass: 'pod' } as const;
const TYPE = 'ecs.g7.xlarge';

let sim: CloudSimulator;
let cloud: AlibabaCloud;
let reports: CallReport[];
let vSwitchId: string;
let vpcId: string;
let groups: string[];
let instanceId: string;
let tokens = 0;

beforeAll(async () => {
  sim = await startCloudSimulator({
    account: { latencies: { createMs: 0, attachMs: 20, detachMs: 20, deleteMs: 20 } },
  });
  const nowMs = sim.clock.now();
  vpcId = sim.model.createVpc({ cidrBlock: '10.0.0.0/8' }, nowMs);
  vSwitchId = sim.model.createVSwitch({ vpcId, zoneId: 'cn-hangzhou-i', cidrBlock: '10.0.0.0/20' }, nowMs);
  groups = [sim.model.createSecurityGroup({ vpcId }, nowMs), sim.model.createSecurityGroup({ vpcId }, nowMs)];
  instanceId = sim.model.runInstance({ instanceType: TYPE, vSwitchId, securityGroupIds: groups }, nowMs).instanceId;
});

afterAll(() => sim.close());

beforeEach(() => {
  reports = [];
  const [accessKey = { accessKeyId: '', accessKeySecret: '' }] = sim.accessKeys;
  cloud = connectCloud(sim.endpoint, { accessKey, onCall: (report) => reports.push(report) });
});

function request(changes: Partial<CreateEniRequest> = {}): CreateEniRequest {
  return {
    kind: 'Secondary',
    vSwitchId,
    securityGroupIds: groups,
    tags: { 'ack.aliyun.com': 'c1', creator: 'terway-controller', 'a/b': "value with spaces, ~*'() and ö" },
    deleteOnRelease: true,
    description: 'interface create by terway',
    clientToken: `token-${++tokens}`,
    ...changes,
  };
}

/** Waits until the cloud shows the ENI in this status, `gone` when the ENI no longer exists. */
async function until(id: string, status: Eni['status'] | 'gone'): Promise<Eni | undefined> {
  let eni: Eni | undefined;
  const look = async () => {
    [eni] = (await cloud.describeEnis({ ids: [id] }, leave)).enis;
    return eni?.status ?? 'gone';
  };
  await expect.poll(look, { interval: 10 }).toBe(status);
  return eni;
}

async function refusalOf(promise: Promise<unknown>): Promise<CloudError> {
  const error = await failureOf(promise);
  if (!(error instanceof CloudError)) throw error;
  return error;
}

async function trunk(): Promise<string> {
  const { enis } = await cloud.describeEnis({ instanceId, type: 'Trunk' }, leave);
  if (enis[0] !== undefined) return enis[0].id;
  const { id } = (await cloud.createEni(request({ kind: 'Trunk' }), leave)).eni;
  await cloud.attachEni({ eniId: id, instanceId }, leave);
  await until(id, 'InUse');
  return id;
}

test('a member ENI is created, attached, detached and deleted', async () => {
  const trunkEniId = await trunk();
  const { eni: created } = await cloud.createEni(request(), leave);
  expect(created).toMatchObject({
    id: expect.stringMatching(/^eni-/),
    type: 'Secondary',
    status: 'Available',
    macAddress: expect.stringMatching(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/),
    vpcId,
    vSwitchId,
    zoneId: 'cn-hangzhou-i',
    primaryIp: expect.stringMatching(/^10\.0\./),
    securityGroupIds: groups,
    tags: request().tags,
  });
  expect(created.instanceId).toBeUndefined();
  // The responses of create and describe agree.
  const [shown] = (await cloud.describeEnis({ ids: [created.id] }, leave)).enis;
  expect(shown).toMatchObject({ ...created, deleteOnRelease: true });
  expect(shown?.createdAtMs).toBeGreaterThan(sim.clock.now() - 60_000);

  const where = { eniId: created.id, instanceId, trunkEniId };
  await cloud.attachEni(where, leave);
  expect(await until(created.id, 'InUse')).toMatchObject({
    type: 'Member',
    instanceId,
    trunkEniId,
    vlanId: expect.any(Number),
  });
  await cloud.detachEni(where, leave);
  const detached = await until(created.id, 'Available');
  expect(detached?.type).toBe('Secondary');
  expect([detached?.instanceId, detached?.trunkEniId, detached?.vlanId]).toEqual([undefined, undefined, undefined]);
  await cloud.deleteEni(created.id, leave);
  await until(created.id, 'gone');
});

test('the security groups of an ENI are replaced, and each change returns its request id', async () => {
  const { eni, requestId } = await cloud.createEni(request(), leave);
  expect(requestId).toMatch(/^[0-9A-F-]{36}$/);
  const [other = ''] = groups;
  const receipt = await cloud.modifyEniSecurityGroups(eni.id, [other], leave);
  expect(receipt.requestId).toMatch(/^[0-9A-F-]{36}$/);
  expect(receipt.requestId).not.toBe(requestId);
  const { enis } = await cloud.describeEnis({ ids: [eni.id] }, leave);
  expect(enis[0]?.securityGroupIds).toEqual([other]);
  expect(await refusalOf(cloud.modifyEniSecurityGroups(eni.id, ['sg-none'], leave))).toMatchObject({
    kind: 'notFound',
    code: 'InvalidSecurityGroupId.NotFound',
  });
  expect(await cloud.deleteEni(eni.id, leave)).not.toEqual({ requestId: '' });
});

describe('a ClientToken', () => {
  test('that is sent again returns the same ENI and creates no second one', async () => {
    const wish = request();
    const before = sim.model.counters().eniCreated;
    // The order of tags does not matter.
    const again = { ...wish, tags: Object.fromEntries(Object.entries(wish.tags).reverse()) };
    const [first, second] = [await cloud.createEni(wish, leave), await cloud.createEni(again, leave)];
    expect(second.eni.id).toBe(first.eni.id);
    expect(sim.model.counters().eniCreated).toBe(before + 1);
  });

  test('with other parameters is refused', async () => {
    const wish = request();
    await cloud.createEni(wish, leave);
    const failure = await refusalOf(cloud.createEni({ ...wish, securityGroupIds: groups.slice(1) }, leave));
    expect(failure).toMatchObject({ kind: 'token', code: 'IdempotentParameterMismatch' });
  });
});

describe('#56: a refusal carries kind, code and request id', () => {
  const refused: [string, () => Promise<unknown>, object][] = [
    [
      'an unknown vSwitch',
      () => cloud.createEni(request({ vSwitchId: 'vsw-none' }), leave),
      { kind: 'notFound', code: 'InvalidVSwitchId.NotFound', action: 'CreateNetworkInterface' },
    ],
    [
      'an unknown security group',
      () => cloud.createEni(request({ securityGroupIds: ['sg-none'] }), leave),
      { kind: 'notFound', code: 'InvalidSecurityGroupId.NotFound' },
    ],
    [
      'attaching an ENI that is gone',
      () => cloud.attachEni({ eniId: 'eni-none', instanceId }, leave),
      { kind: 'notFound', code: 'InvalidEniId.NotFound', statusCode: 404 },
    ],
    [
      'attaching twice',
      async () => cloud.attachEni({ eniId: await trunk(), instanceId }, leave),
      { kind: 'state', code: 'InvalidOperation.InvalidEniState' },
    ],
    [
      'a second trunk',
      async () => {
        await trunk();
        const { id } = (await cloud.createEni(request({ kind: 'Trunk' }), leave)).eni;
        return cloud.attachEni({ eniId: id, instanceId }, leave);
      },
      { kind: 'limit', code: 'EniPerInstanceLimitExceeded' },
    ],
    [
      'deleting an attached ENI',
      async () => cloud.deleteEni(await trunk(), leave),
      { kind: 'state', code: 'InvalidOperation.InvalidEniState' },
    ],
    [
      'a wrong secret',
      () => {
        const accessKey = { accessKeyId: sim.accessKeys[0]?.accessKeyId ?? '', accessKeySecret: 'wrong' };
        return connectCloud(sim.endpoint, { accessKey }).describeEnis({}, leave);
      },
      { kind: 'forbidden', code: 'SignatureDoesNotMatch' },
    ],
  ];

  test.each(refused)('%s', async (_name, call, expected) => {
    const failure = await refusalOf(call());
    expect(failure).toMatchObject(expected);
    expect(failure.requestId).toMatch(/^[0-9A-F-]{36}$/);
    expect(failure.message).toContain(`${failure.action}: ${failure.code}: `);
    expect(failure.message).toContain(`(request id ${failure.requestId})`);
  });

  test('a full vSwitch', async () => {
    const small = sim.model.createVSwitch(
      { vpcId, zoneId: 'cn-hangzhou-i', cidrBlock: '10.9.0.0/29' },
      sim.clock.now(),
    );
    for (let i = 0; i < 4; i++) await cloud.createEni(request({ vSwitchId: small }), leave);
    expect(await refusalOf(cloud.createEni(request({ vSwitchId: small }), leave))).toMatchObject({
      kind: 'exhausted',
      code: 'InvalidVSwitchId.IpNotEnough',
    });
  });
});

test('detaching and deleting an ENI that is gone succeeds', async () => {
  await cloud.detachEni({ eniId: 'eni-none', instanceId }, leave);
  const { id } = (await cloud.createEni(request(), leave)).eni;
  await cloud.detachEni({ eniId: id, instanceId: 'i-none' }, leave);
  await cloud.deleteEni('eni-none', leave);
  expect(reports.map(({ code }) => code)).toEqual([
    'InvalidEniId.NotFound',
    'OK',
    'InvalidEcsId.NotFound',
    'InvalidEniId.NotFound',
  ]);
});

describe('a description', () => {
  const MANY = 520;
  let ids: string[];

  beforeAll(async () => {
    for (let i = 0; i < MANY; i++) {
      const outcome = sim.model.apply(
        {
          action: 'CreateNetworkInterface',
          params: {
            RegionId: 'cn-hangzhou',
            VSwitchId: vSwitchId,
            SecurityGroupIds: groups,
            Tag: [{ Key: 'many', Value: 'yes' }],
          },
        },
        sim.clock.now(),
      );
      expect(outcome.ok).toBe(true);
    }
    ids = sim.model.enis().flatMap((eni) => (eni.tags['many'] === 'yes' ? [eni.id] : []));
  });

  test('reads all pages', async () => {
    const { enis } = await cloud.describeEnis({ tags: { many: 'yes' }, vpcId }, leave);
    expect(enis.map((eni) => eni.id).sort()).toEqual([...ids].sort());
    expect(reports).toHaveLength(2);
  });

  test('of a whole VPC keeps only the wanted ENIs, and returns the number of pages', async () => {
    const { enis, requests } = await cloud.describeEnis({ vpcId }, leave, ({ id }) => id === ids.at(-1));
    expect(enis.map(({ id }) => id)).toEqual(ids.slice(-1));
    expect(requests).toBe(reports.length);
  });

  test('requests at most 100 ids at once', async () => {
    const wanted = [...ids.slice(0, 250), 'eni-none'];
    const { enis } = await cloud.describeEnis({ ids: wanted }, leave);
    expect(enis.map((eni) => eni.id).sort()).toEqual(ids.slice(0, 250).sort());
    expect(reports).toHaveLength(3);
  });

  test('returns when its first request was sent, which is not later than its content', async () => {
    const beforeMs = systemClock.now();
    const { sentAtMs } = await cloud.describeEnis({ tags: { many: 'yes' } }, leave);
    expect(sentAtMs).toBeGreaterThanOrEqual(beforeMs);
    expect(sentAtMs).toBeLessThanOrEqual(systemClock.now() - (reports[1]?.durationMs ?? 0) + 1);
  });

  test('of no ids sends no request and claims no freshness', async () => {
    expect(await cloud.describeEnis({ ids: [] }, leave)).toEqual({ enis: [], sentAtMs: 0, requests: 0 });
    expect(reports).toEqual([]);
  });

  test.each([
    ['instance', () => ({ instanceId }), (eni: Eni) => eni.instanceId === instanceId],
    ['type', () => ({ type: 'Primary' as const }), (eni: Eni) => eni.type === 'Primary'],
    ['status', () => ({ status: 'InUse' as const }), (eni: Eni) => eni.status === 'InUse'],
    ['tag', () => ({ tags: { creator: 'terway-controller' } }), (eni: Eni) => eni.tags['creator'] !== undefined],
  ])('is narrowed by %s', async (_name, filter, fits) => {
    const { enis } = await cloud.describeEnis(filter(), leave);
    expect(enis.length).toBeGreaterThan(0);
    expect(enis.filter((eni) => !fits(eni))).toEqual([]);
  });
});

test('instance types, instances, vSwitches and security groups are described in domain terms', async () => {
  expect(await cloud.describeInstanceTypes([TYPE, 'ecs.none.large'], leave)).toEqual([
    expect.objectContaining({
      instanceType: TYPE,
      eniQuantity: 4,
      eniTotalQuantity: 20,
      trunkSupported: true,
      ipv4PerEni: 15,
    }),
  ]);
  expect(await cloud.describeInstances([instanceId, 'i-none'], leave)).toEqual([
    {
      id: instanceId,
      instanceType: TYPE,
      zoneId: 'cn-hangzhou-i',
      vpcId,
      vSwitchId,
      status: 'Running',
      securityGroupIds: groups,
    },
  ]);
  expect(await cloud.describeVSwitches({ ids: [vSwitchId, 'vsw-none'] }, leave)).toEqual([
    expect.objectContaining({ id: vSwitchId, vpcId, zoneId: 'cn-hangzhou-i', cidrBlock: '10.0.0.0/20' }),
  ]);
  const all = await cloud.describeVSwitches({ vpcId }, leave);
  expect(all.map(({ id }) => id)).toContain(vSwitchId);
  expect(await cloud.describeSecurityGroups([...groups, 'sg-none'], leave)).toEqual(
    groups.map((id) => ({ id, vpcId, type: 'normal' })),
  );
});

test('vSwitches of a VPC are listed over all pages', async () => {
  const other = sim.model.createVpc({ cidrBlock: '172.16.0.0/12' }, sim.clock.now());
  const made = Array.from({ length: 101 }, (_, i) =>
    sim.model.createVSwitch({ vpcId: other, zoneId: 'cn-hangzhou-i', cidrBlock: `172.16.${i}.0/24` }, sim.clock.now()),
  );
  const found = await cloud.describeVSwitches({ vpcId: other }, leave);
  expect(found.map(({ id }) => id).sort()).toEqual(made.sort());
  expect(reports).toHaveLength(3);
});

test('the endpoints are regional, inside the VPC or public', () => {
  expect(regionalEndpoints('cn-hangzhou', 'vpc')).toEqual({
    ecs: { host: 'ecs-vpc.cn-hangzhou.aliyuncs.com', protocol: 'HTTPS' },
    vpc: { host: 'vpc-vpc.cn-hangzhou.aliyuncs.com', protocol: 'HTTPS' },
  });
  expect(regionalEndpoints('cn-beijing', 'public').ecs.host).toBe('ecs.cn-beijing.aliyuncs.com');
});
