import { beforeEach, expect, test } from 'vitest';
import { TestAccount } from '../../sim/cloud/model/test-account.ts';
import { VirtualClock } from '../util/test-support/virtual-clock.ts';
import { AlibabaCloud } from './alibaba-cloud.ts';
import { type Credential, CredentialCache } from './credentials.ts';
import { QuotaScheduler } from './quota.ts';
import { type CallReport, RpcContext } from './rpc.ts';
import { type RpcCall, type RpcSender, sdkSenders } from './rpc-sender.ts';
import { failureOf } from './test-support/connect.ts';
import { startHttpServer } from './test-support/http-server.ts';

/** The adapter with a sender of its own instead of the SDK's: no socket, no credential, virtual time. */

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

const toModel: RpcSender = async (call) => {
  calls.push(call);
  await clock.sleep(100);
  const outcome = account.model.apply(call, account.nowMs);
  if (outcome.ok) return outcome.body;
  const { code, status, message } = outcome.error;
  throw Object.assign(new Error(message), { code, statusCode: status, requestId: outcome.requestId });
};

function connect(send: RpcSender): AlibabaCloud {
  const quota = new QuotaScheduler({ clock, limits: { default: 1000 } });
  const onCall = (report: CallReport) => reports.push(report);
  return new AlibabaCloud(new RpcContext({ quota, clock, regionId: 'cn-hangzhou', onCall }), { ecs: send, vpc: send });
}

test('a call whose term ended while credentials were being fetched does not leave', async () => {
  const term = new AbortController();
  const fetched = Promise.withResolvers<Credential>();
  const asked = Promise.withResolvers<void>();
  const credentials = new CredentialCache({
    clock,
    signal: new AbortController().signal,
    source: () => {
      asked.resolve();
      return fetched.promise;
    },
  });
  let requests = 0;
  await using server = await startHttpServer((_request, response) => {
    requests += 1;
    response.end('{}');
  });
  const endpoint = { host: server.address, protocol: 'HTTP' } as const;
  const { ecs } = sdkSenders({ ecs: endpoint, vpc: endpoint }, { regionId: 'cn-hangzhou', credentials });
  const params = { RegionId: 'cn-hangzhou', NetworkInterfaceId: 'eni-1' };
  const call = ecs({ version: '2014-05-26', action: 'DeleteNetworkInterface', params }, term.signal);
  await asked.promise;
  const reason = new Error('the lease was lost');
  term.abort(reason);
  fetched.resolve({ accessKeyId: 'id', accessKeySecret: 'secret' });
  await expect(call).rejects.toBe(reason);
  expect(requests).toBe(0);
});

test('a call goes out with its version and its parameters under their wire names', async () => {
  const { vSwitchId, securityGroupId } = account.network;
  const creating = connect(toModel).createEni(
    {
      ...{ kind: 'Secondary', vSwitchId, securityGroupIds: [securityGroupId], tags: { owner: 'us' } },
      ...{ deleteOnRelease: true, description: '', clientToken: 'token' },
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

test('a refusal that a sender throws is told as one of the SDK is', async () => {
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

test('an error without a code says that no answer came', async () => {
  const lost = connect(async () => {
    throw new Error('timeout');
  });
  expect(await failureOf(lost.deleteEni('eni-1', leave))).toMatchObject({
    kind: 'unavailable',
    code: 'RequestTimeout',
  });
});
