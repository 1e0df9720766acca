import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import { VirtualClock } from '../util/test-support/virtual-clock.ts';
import type { CreateEniRequest } from './port.ts';
import { QuotaScheduler } from './quota.ts';
import { CONCURRENT_CALLS } from './rpc.ts';
import { connectCloud, failureOf } from './test-support/connect.ts';
import { startHttpServer } from './test-support/http-server.ts';

/** Behaviour that the simulator does not have: late, missing or wrong responses. */

const leave = { signal: new AbortController().signal, callClass: 'pod' } as const;
const wish: CreateEniRequest = {
  kind: 'Secondary',
  vSwitchId: 'vsw-1',
  securityGroupIds: ['sg-1'],
  tags: {},
  deleteOnRelease: true,
  description: '',
  clientToken: 'token',
};

const answering = (status: number, body: string) =>
  startHttpServer((_request, response) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(body);
  });

describe('a cloud that does not respond as it should', () => {
  test('in time: the effect of the call is unknown', async () => {
    await using server = await startHttpServer(() => {});
    expect(await failureOf(connectCloud(server.address, { readMs: 100 }).deleteEni('eni-1', leave))).toMatchObject({
      kind: 'unavailable',
      code: 'RequestTimeout',
      action: 'DeleteNetworkInterface',
    });
  });

  test('at all', async () => {
    const server = await startHttpServer(() => {});
    await server[Symbol.asyncDispose]();
    expect(await failureOf(connectCloud(server.address).deleteEni('eni-1', leave))).toMatchObject({
      kind: 'unavailable',
      code: 'ConnectionFailed',
    });
  });

  test.each([
    ['an empty id', '{"RequestId":"R-1","NetworkInterfaceId":""}', 'EmptyAnswer'],
    ['no id', '{"RequestId":"R-1"}', 'EmptyAnswer'],
    ['a field of another type', '{"NetworkInterfaceId":7}', 'MalformedAnswer'],
  ])('but with %s: the ENI may exist', async (_name, body, code) => {
    await using server = await answering(200, body);
    expect(await failureOf(connectCloud(server.address).createEni(wish, leave))).toMatchObject({
      kind: 'unavailable',
      code,
    });
  });

  test.each([
    [503, '{"Code":"ServiceUnavailable","Message":"m","RequestId":"R-1"}', 'unavailable', 'ServiceUnavailable'],
    [400, '{"Code":"Throttling.User","Message":"m","RequestId":"R-1"}', 'throttled', 'Throttling.User'],
  ])('but with HTTP %i', async (status, body, kind, code) => {
    await using server = await answering(status, body);
    // Without a turn of the caller's the call would be repeated when the quota allows.
    const request = { api: 'DescribeNetworkInterfaces', callClass: 'pod' } as const;
    const turn = await new QuotaScheduler({ clock: new VirtualClock() }).turn(request, leave.signal);
    const call = connectCloud(server.address).describeEnis(
      {},
      { signal: leave.signal, turn: { ...turn, validUntilMs: Date.now() + 60_000 } },
    );
    expect(await failureOf(call)).toMatchObject({ kind, code, requestId: 'R-1' });
  });

  test('but with an HTML page from a proxy', async () => {
    await using server = await answering(502, '<html>Bad Gateway</html>');
    expect(await failureOf(connectCloud(server.address).describeEnis({}, leave))).toMatchObject({
      kind: 'unavailable',
    });
  });

  test('but repeats ENIs on two pages: every ENI counts once', async () => {
    const page = (ids: string[], NextToken: string) =>
      JSON.stringify({
        NetworkInterfaceSets: { NetworkInterfaceSet: ids.map((NetworkInterfaceId) => ({ NetworkInterfaceId })) },
        NextToken,
      });
    let asked = 0;
    await using server = await startHttpServer((_request, response) => {
      asked += 1;
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(asked === 1 ? page(['eni-1', 'eni-2'], 'more') : page(['eni-2', 'eni-3'], ''));
    });
    const { enis } = await connectCloud(server.address).describeEnis({}, leave);
    expect(enis.map(({ id }) => id)).toEqual(['eni-1', 'eni-2', 'eni-3']);
  });
});

describe('an abort', () => {
  test('ends a call in progress with its reason and leaves no listener', async () => {
    const abort = new AbortController();
    const reason = new Error('the lease was lost');
    await using server = await startHttpServer(() => abort.abort(reason));
    await expect(
      connectCloud(server.address, { readMs: 500 }).deleteEni('eni-1', { signal: abort.signal, callClass: 'pod' }),
    ).rejects.toBe(reason);
    expect(getEventListeners(abort.signal, 'abort')).toHaveLength(0);
  });

  test('before a call, or while it waits for quota, sends nothing', async () => {
    const codes: string[] = [];
    await using server = await answering(200, '{}');
    const limited = connectCloud(server.address, { limit: 1, onCall: ({ code }) => codes.push(code) });
    await expect(
      limited.describeEnis({}, { signal: AbortSignal.abort(new Error('gone')), callClass: 'pod' }),
    ).rejects.toThrow('gone');
    await limited.describeEnis({ ids: ['eni-1'] }, leave);
    const abort = new AbortController();
    const waiting = limited.describeEnis({ ids: ['eni-1'] }, { signal: abort.signal, callClass: 'pod' });
    abort.abort(new Error('gone'));
    await expect(waiting).rejects.toThrow('gone');
    expect(codes).toEqual(['OK']);
  });
});

test('no more calls are in progress than there are connections', async () => {
  const open: (() => void)[] = [];
  let most = 0;
  await using server = await startHttpServer((_request, response) => {
    open.push(() => response.writeHead(200, { 'content-type': 'application/json' }).end('{}'));
    most = Math.max(most, open.length);
    if (open.length !== CONCURRENT_CALLS) return;
    // All permitted calls have arrived; give one too many a moment to show up.
    setTimeout(() => {
      for (const answer of open.splice(0)) answer();
    }, 50);
  });
  const wide = connectCloud(server.address);
  await Promise.all(
    Array.from({ length: 3 * CONCURRENT_CALLS }, (_, i) => wide.describeEnis({ ids: [`eni-${i}`] }, leave)),
  );
  expect(most).toBe(CONCURRENT_CALLS);
});

test('a call that waited for a connection into the next minute is charged to that minute (I6)', async () => {
  const clock = new VirtualClock();
  const quota = new QuotaScheduler({ clock, limits: { DescribeNetworkInterfaces: CONCURRENT_CALLS + 1 } });
  const held: (() => void)[] = [];
  await using server = await startHttpServer((_request, response) => {
    held.push(() => response.writeHead(200, { 'content-type': 'application/json' }).end('{}'));
  });
  const cloud = connectCloud(server.address, { clock, quota });
  await clock.advance(59_000);
  const calls = Array.from({ length: CONCURRENT_CALLS + 1 }, (_, i) =>
    cloud.describeEnis({ ids: [`eni-${i}`] }, leave),
  );
  await expect.poll(() => held.length).toBe(CONCURRENT_CALLS);
  expect(quota.status('DescribeNetworkInterfaces').usedThisMinute).toBe(CONCURRENT_CALLS + 1);
  await clock.advance(2000);
  expect(quota.status('DescribeNetworkInterfaces').usedThisMinute).toBe(0);
  for (const release of held.splice(0)) release();
  await expect.poll(() => held.length).toBe(1);
  expect(quota.status('DescribeNetworkInterfaces').usedThisMinute).toBe(1);
  for (const release of held.splice(0)) release();
  await Promise.all(calls);
});
