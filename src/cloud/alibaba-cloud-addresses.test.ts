import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type CloudSimulator, startCloudSimulator } from '../../sim/cloud/server.ts';
import { seedNetwork, type TestNetwork } from '../../sim/cloud/test-network.ts';
import type { AlibabaCloud } from './alibaba-cloud.ts';
import { CloudError } from './errors.ts';
import type { CreateEniRequest } from './port.ts';
import { connectCloud, failureOf } from './test-support/connect.ts';
import { startHttpServer } from './test-support/http-server.ts';

// Addresses of an ENI that several pods share.

const leave = { signal: new AbortController().signal, callClass: 'pod' } as const;
/** Per ENI 10 IPv4 addresses, the primary one included, and 1 IPv6 address. */
const TYPE = { instanceTypeId: 'ecs.test.small', eniQuantity: 3, eniTotalQuantity: 3, eniTrunkSupported: false };

let sim: CloudSimulator;
let network: TestNetwork;
let cloud: AlibabaCloud;
let tokens = 0;

beforeAll(async () => {
  sim = await startCloudSimulator({
    account: { instanceTypes: [TYPE], latencies: { createMs: 0, attachMs: 0, detachMs: 0, deleteMs: 60_000 } },
  });
  network = seedNetwork(sim.model, sim.clock.now(), TYPE.instanceTypeId);
});

afterAll(() => sim.close());

beforeEach(() => {
  const [accessKey = { accessKeyId: '', accessKeySecret: '' }] = sim.accessKeys;
  cloud = connectCloud(sim.endpoint, { accessKey });
});

const newToken = () => `addresses-${++tokens}`;

/** Returns the id of the new ENI. */
async function create(changes: Partial<CreateEniRequest> = {}): Promise<string> {
  const { eni } = await cloud.createEni(
    {
      kind: 'Secondary',
      vSwitchId: network.vSwitchId,
      securityGroupIds: [network.securityGroupId],
      tags: {},
      deleteOnRelease: true,
      description: 'shared by pods',
      clientToken: newToken(),
      ...changes,
    },
    leave,
  );
  return eni.id;
}

async function addressesOf(eniId: string): Promise<{ primary: string; secondary: string[]; ipv6: string[] }> {
  const { enis } = await cloud.describeEnis({ ids: [eniId] }, leave);
  const { primaryIp = '', ipv4 = [], ipv6 = [] } = enis[0] ?? {};
  return { primary: primaryIp, secondary: ipv4.filter((ip) => ip !== primaryIp), ipv6 };
}

async function refusalOf(promise: Promise<unknown>): Promise<CloudError> {
  const error = await failureOf(promise);
  if (!(error instanceof CloudError)) throw error;
  return error;
}

const FAMILIES = ['ipv4', 'ipv6'] as const;

/** The calls of one family, which must behave alike. */
function callsOf(family: (typeof FAMILIES)[number]) {
  const isIpv4 = family === 'ipv4';
  return {
    assign: (eniId: string, count: number, clientToken = newToken()) =>
      isIpv4
        ? cloud.assignIpv4({ eniId, count, clientToken }, leave)
        : cloud.assignIpv6({ eniId, count, clientToken }, leave),
    unassign: (eniId: string, addresses: string[]) =>
      isIpv4 ? cloud.unassignIpv4({ eniId, addresses }, leave) : cloud.unassignIpv6({ eniId, addresses }, leave),
    shown: async (eniId: string) => {
      const { secondary, ipv6 } = await addressesOf(eniId);
      return isIpv4 ? secondary : ipv6;
    },
    countExceeded: isIpv4 ? 'InvalidOperation.Ipv4CountExceeded' : 'InvalidOperation.Ipv6CountExceeded',
  };
}

test('an ENI is created with all its addresses', async () => {
  const { primary, secondary, ipv6 } = await addressesOf(await create({ secondaryIpv4Count: 9, ipv6Count: 1 }));
  expect(primary).toMatch(/^10\.1\./);
  expect(new Set([primary, ...secondary]).size).toBe(10);
  expect(ipv6).toHaveLength(1);
});

test('an ENI with more addresses than the instance type allows cannot be attached', async () => {
  const attach = (eniId: string) => cloud.attachEni({ eniId, instanceId: network.instanceId }, leave);
  expect(await refusalOf(attach(await create({ secondaryIpv4Count: 10 })))).toMatchObject({
    kind: 'limit',
    code: 'InvalidOperation.Ipv4CountExceeded',
  });
  expect(await refusalOf(attach(await create({ ipv6Count: 2 })))).toMatchObject({
    kind: 'limit',
    code: 'InvalidOperation.Ipv6CountExceeded',
  });
});

describe.each(FAMILIES)('%s addresses', (family) => {
  test('come and go, and each change returns its request id', async () => {
    const { assign, unassign, shown } = callsOf(family);
    const eniId = await create();
    const { addresses, requestId } = await assign(eniId, 3);
    expect(addresses).toHaveLength(3);
    expect(await shown(eniId)).toEqual(addresses);
    expect(requestId).toMatch(/^[0-9A-F-]{36}$/);
    const [first = '', ...others] = addresses;
    const receipt = await unassign(eniId, others);
    expect(receipt.requestId).toMatch(/^[0-9A-F-]{36}$/);
    expect(await shown(eniId)).toEqual([first]);
  });

  test('are given once for a token', async () => {
    const { assign, shown } = callsOf(family);
    const eniId = await create();
    const { addresses } = await assign(eniId, 2, `once-${family}`);
    expect((await assign(eniId, 2, `once-${family}`)).addresses).toEqual(addresses);
    expect(await shown(eniId)).toEqual(addresses);
    expect(await refusalOf(assign(eniId, 3, `once-${family}`))).toMatchObject({ kind: 'token' });
  });

  test('are refused beyond what the instance type allows the ENI', async () => {
    const { assign, countExceeded } = callsOf(family);
    const failure = await refusalOf(assign(network.primaryEniId, 10));
    expect(failure).toMatchObject({ kind: 'limit', code: countExceeded });
  });

  test('one that is not assigned keeps the others, until these are asked for again', async () => {
    const { assign, unassign, shown } = callsOf(family);
    const eniId = await create();
    const { addresses } = await assign(eniId, 3);
    const [gone = '', ...others] = addresses;
    await unassign(eniId, [gone]);
    expect(await refusalOf(unassign(eniId, addresses))).toMatchObject({
      kind: 'unassigned',
      code: 'InvalidIp.IpUnassigned',
    });
    expect(await shown(eniId)).toEqual(others);
    await unassign(eniId, others);
    expect(await shown(eniId)).toEqual([]);
  });

  test('are not changed while the ENI is being deleted', async () => {
    const { assign, unassign } = callsOf(family);
    const eniId = await create();
    const { addresses } = await assign(eniId, 1);
    await cloud.deleteEni(eniId, leave);
    for (const call of [assign(eniId, 1), unassign(eniId, addresses)]) {
      expect(await refusalOf(call)).toMatchObject({ kind: 'state', code: 'InvalidOperation.InvalidEniState' });
    }
  });

  test('of an ENI that is gone are unassigned already, but none can be assigned', async () => {
    const { assign, unassign } = callsOf(family);
    expect((await unassign('eni-none', ['10.1.0.9'])).requestId).toMatch(/^[0-9A-F-]{36}$/);
    expect(await refusalOf(assign('eni-none', 1))).toMatchObject({ kind: 'notFound', code: 'InvalidEniId.NotFound' });
  });

  test('missing from the response of an assign: whether it took effect is unknown', async () => {
    await using server = await startHttpServer((_request, response) => {
      response.setHeader('content-type', 'application/json').end('{"RequestId":"R-1"}');
    });
    cloud = connectCloud(server.address);
    expect(await refusalOf(callsOf(family).assign('eni-1', 1))).toMatchObject({
      kind: 'unavailable',
      code: 'EmptyAnswer',
      requestId: 'R-1',
    });
  });
});

test('IPv6 addresses have one text, whichever the cloud writes', async () => {
  const text = '2001:0DB8:0:0::00FE';
  await using server = await startHttpServer((_request, response) => {
    const shown = { NetworkInterfaceId: 'eni-1', Ipv6Sets: { Ipv6Set: [{ Ipv6Address: text }] } };
    const answer = {
      Ipv6Sets: { Ipv6Address: [text] },
      NetworkInterfaceSets: { NetworkInterfaceSet: [shown] },
    };
    response.setHeader('content-type', 'application/json').end(JSON.stringify(answer));
  });
  cloud = connectCloud(server.address);
  expect((await cloud.assignIpv6({ eniId: 'eni-1', count: 1, clientToken: newToken() }, leave)).addresses).toEqual([
    '2001:db8::fe',
  ]);
  expect((await addressesOf('eni-1')).ipv6).toEqual(['2001:db8::fe']);
});

test('the primary address cannot be unassigned', async () => {
  const eniId = await create();
  const { primary } = await addressesOf(eniId);
  expect(await refusalOf(cloud.unassignIpv4({ eniId, addresses: [primary] }, leave))).toMatchObject({
    kind: 'unassigned',
  });
});

test('a vSwitch with too few addresses gives none', async () => {
  const { vpcId } = network;
  const small = sim.model.createVSwitch({ vpcId, zoneId: 'cn-hangzhou-i', cidrBlock: '10.9.0.0/29' }, sim.clock.now());
  const eniId = await create({ vSwitchId: small });
  const assign = (count: number) => cloud.assignIpv4({ eniId, count, clientToken: newToken() }, leave);
  expect(await refusalOf(assign(4))).toMatchObject({ kind: 'exhausted', code: 'InvalidVSwitchId.IpNotEnough' });
  expect((await assign(3)).addresses).toHaveLength(3);
});

test('a vSwitch without IPv6 gives none', async () => {
  const eniId = await create({ vSwitchId: network.otherZoneVSwitchId });
  expect(await refusalOf(cloud.assignIpv6({ eniId, count: 1, clientToken: newToken() }, leave))).toMatchObject({
    kind: 'invalid',
    code: 'InvalidVSwitch.Ipv6NotTurnOn',
  });
});
