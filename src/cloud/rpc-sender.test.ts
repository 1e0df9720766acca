import { beforeEach, expect, test } from 'vitest';
import { TestAccount } from '../../sim/cloud/model/test-account.ts';
import { settled, VirtualClock } from '../util/test-support/virtual-clock.ts';
import { AlibabaCloud } from './alibaba-cloud.ts';
import { type Credential, CredentialCache } from './credentials.ts';
import { type DegradationLevel, withDegradation } from './degradation.ts';
import { QuotaScheduler } from './quota.ts';
import { type CallReport, RpcContext } from './rpc.ts';
import { type RpcCall, type RpcSender, rpcSenders } from './rpc-sender.ts';
import { failureOf } from './test-support/connect.ts';
import { startHttpServer } from './test-support/http-server.ts';

/** The adapter with a custom sender instead of the SDK's: no socket, no credential, virtual time. */

const leave = { signal: new AbortController().signal, callClass: 'pod' } as const;
let account: TestAccount;
let clock: VirtualClock;
let calls: RpcCall[];
let reports: CallReport[];

beforeEach(() => {
  account = new TestAccount();
  clock = new VirtualClock();
  calls = [];
  reports = [];
});

const toModel: RpcSender = async (call, leaves) => {
  leaves();
  calls.push(call);
  await clock.sleep(100);
  const outcome = account.model.apply(call, account.nowMs);
  if (outcome.ok) return outcome.body;
  const { code, status, message } = outcome.error;
  throw Object.assign(new Error(message), { code, statusCode: status, requestId: outcome.requestId });
};

function connect(send: RpcSender, quota = new QuotaScheduler({ clock, limits: { default: 1000 } })): AlibabaCloud {
  const onCall = (report: CallReport) => reports.push(report);
  return new AlibabaCloud(new RpcContext({ quota, clock, regionId: 'cn-hangzhou', onCall }), { ecs: send, vpc: send });
}

/** A sender over real sockets, and the number of requests that arrived at the other end. */
async function overHttp(source: () => Promise<Credential> = async () => key) {
  let requests = 0;
  const server = await startHttpServer((_request, response) => {
    requests += 1;
    response.end('{"RequestId":"R-1"}');
  });
  const endpoint = { host: server.address, protocol: 'HTTP' } as const;
  const credentials = new CredentialCache({ clock, signal: new AbortController().signal, source });
  const { ecs } = rpcSenders({ ecs: endpoint, vpc: endpoint }, { credentials, clock });
  return {
    ecs,
    arrived: () => requests,
    closeIdle: () => server.closeIdle(),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

const key: Credential = { accessKeyId: 'id', accessKeySecret: 'secret' };

/** A lease of 10 s whose expiry no timer reports, as after the process was suspended. */
function lease() {
  const untilMs = clock.monotonicMs() + 10_000;
  const over = new Error('the lease was lost');
  const assertHeld = () => {
    if (clock.monotonicMs() >= untilMs) throw over;
  };
  return { over, assertHeld };
}

test('a call whose lease ran out while credentials were being fetched is not sent', async () => {
  const fetched = Promise.withResolvers<Credential>();
  const asked = Promise.withResolvers<void>();
  await using http = await overHttp(() => {
    asked.resolve();
    return fetched.promise;
  });
  const { over, assertHeld } = lease();
  const call = connect(http.ecs).deleteEni('eni-1', { ...leave, assertAllowed: assertHeld });
  await asked.promise;
  clock.freeze(20_000);
  fetched.resolve(key);
  await expect(call).rejects.toBe(over);
  expect(http.arrived()).toBe(0);
});

test('a call whose lease ran out while the connection was being made is not sent, nor is one on an existing connection', async () => {
  await using http = await overHttp();
  const cloud = connect(http.ecs);
  const { over, assertHeld } = lease();
  const call = cloud.deleteEni('eni-1', { ...leave, assertAllowed: assertHeld });
  // Everything up to the connection happens before Node polls its sockets again.
  await settled();
  clock.freeze(20_000);
  await expect(call).rejects.toBe(over);
  expect(http.arrived()).toBe(0);
  await cloud.deleteEni('eni-1', leave);
  expect(http.arrived()).toBe(1);
  await expect(cloud.deleteEni('eni-1', { ...leave, assertAllowed: assertHeld })).rejects.toBe(over);
  expect(http.arrived()).toBe(1);
});

test('a connection that the other end closed while the process was suspended breaks no call', async () => {
  await using http = await overHttp();
  const cloud = connect(http.ecs);
  await Promise.all([cloud.deleteEni('eni-1', leave), cloud.deleteEni('eni-2', leave)]);
  // The end is on its way, but Node polls its sockets only later.
  http.closeIdle();
  clock.freeze(6000);
  await cloud.deleteEni('eni-3', leave);
  expect(http.arrived()).toBe(3);
});

test('a call whose term ended while credentials were being fetched is not sent', async () => {
  const fetched = Promise.withResolvers<Credential>();
  const asked = Promise.withResolvers<void>();
  await using http = await overHttp(() => {
    asked.resolve();
    return fetched.promise;
  });
  const term = new AbortController();
  const call = connect(http.ecs).deleteEni('eni-1', { ...leave, signal: term.signal });
  await asked.promise;
  const reason = new Error('the lease was lost');
  term.abort(reason);
  fetched.resolve(key);
  await expect(call).rejects.toBe(reason);
  expect(http.arrived()).toBe(0);
});

test('a call that is stopped at the last moment gives its turn back', async () => {
  const quota = new QuotaScheduler({ clock, limits: { default: 1000 } });
  const { over, assertHeld } = lease();
  const held = connect(toModel, quota).deleteEni('eni-1', { ...leave, assertAllowed: assertHeld });
  clock.freeze(20_000);
  await expect(held).rejects.toBe(over);
  expect(calls).toEqual([]);
  expect(quota.status('DeleteNetworkInterface').usedThisMinute).toBe(0);
});

test('a call that waits when the degradation begins is not sent', async () => {
  const quota = new QuotaScheduler({ clock, limits: { default: 1000 } });
  let level: DegradationLevel = '';
  const guarded = withDegradation(connect(toModel, quota), () => level);
  const reading = guarded.describeEnis({ ids: ['eni-1'] }, { ...leave });
  level = 'l0';
  await expect(reading).rejects.toMatchObject({ kind: 'degraded', code: 'Degraded.l0' });
  expect(calls).toEqual([]);
  expect(quota.status('DescribeNetworkInterfaces').usedThisMinute).toBe(0);
});

test('a call is sent with its version and its parameters by wire name', async () => {
  const { vSwitchId, securityGroupId } = account.network;
  const creating = connect(toModel).createEni(
    {
      kind: 'Secondary',
      vSwitchId,
      securityGroupIds: [securityGroupId],
      tags: { owner: 'us' },
      deleteOnRelease: true,
      description: '',
      clientToken: 'token',
    },
    leave,
  );
  await clock.advance(100);
  const { eni } = await creating;
  expect(account.model.eni(eni.id)?.tags).toEqual({ owner: 'us' });
  expect(calls).toMatchObject([
    {
      version: '2014-05-26',
      action: 'CreateNetworkInterface',
      params: { RegionId: 'cn-hangzhou', SecurityGroupIds: [securityGroupId], Tag: [{ Key: 'owner', Value: 'us' }] },
    },
  ]);
  const looking = connect(toModel).describeVSwitches({ ids: [vSwitchId] }, leave);
  await clock.advance(100);
  expect(await looking).toMatchObject([{ id: vSwitchId }]);
  expect(calls.at(-1)).toMatchObject({ version: '2016-04-28', params: { VSwitchId: vSwitchId } });
  expect(reports).toMatchObject([{ code: 'OK', durationMs: 100 }, { code: 'OK' }]);
});

test('a refusal from a sender is reported like one from the SDK', async () => {
  const attaching = failureOf(
    connect(toModel).attachEni({ eniId: 'eni-none', instanceId: account.network.instanceId }, leave),
  );
  await clock.advance(100);
  expect(await attaching).toMatchObject({
    kind: 'notFound',
    code: 'InvalidEniId.NotFound',
    statusCode: 404,
    requestId: expect.stringMatching(/./),
  });
});

test('an error without a code means that no response came', async () => {
  const lost = connect(async (_call, leaves) => {
    leaves();
    throw new Error('timeout');
  });
  expect(await failureOf(lost.deleteEni('eni-1', leave))).toMatchObject({
    kind: 'unavailable',
    code: 'RequestTimeout',
  });
});
