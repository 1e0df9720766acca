import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type * as z from 'zod';
import { QuotaScheduler } from '../../cloud/quota.ts';
import { MemoryCloud } from '../../cloud/test-support/memory-cloud.ts';
import { createInformers } from '../../cluster/informers.ts';
import { KubeClient } from '../../kube/client.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import { seededRandom } from '../../util/random.ts';
import { VirtualClock } from '../../util/test-support/virtual-clock.ts';
import { askSocket } from '../../util/unix-socket.ts';
import { orphansResponse, poolResponse, quotaResponse, statusResponse } from '../../wire/admin-channel.ts';
import { EniSearch } from '../eni/eni-search.ts';
import type { Term } from '../term.ts';
import { AdminChannel } from './admin-channel.ts';

let folder: string;
let channel: AdminChannel;
let clock: VirtualClock;
let quota: QuotaScheduler;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'admin-channel-'));
  clock = new VirtualClock();
  quota = new QuotaScheduler({ clock });
  channel = new AdminChannel({
    socketPath: join(folder, 'admin.sock'),
    identity: 'pod-a_1',
    version: '1.0.0',
    clock,
    cluster: { clusterID: 'c-1', regionID: 'cn-hangzhou', vpcID: 'vpc-1' },
    quota,
    metrics: createMetrics(),
    log: pino({ level: 'silent' }),
    degradation: () => '',
    poolGrowth: () => true,
    configurationProblem: () => 'line 3 is wrong',
    configuration: () => ({}),
    problem: () => undefined,
  });
  await channel.listen();
});

afterEach(async () => {
  await channel.close();
  await rm(folder, { recursive: true });
});

async function ask(path: string): Promise<{ status: number; body: Record<string, unknown> }> {
  const { status, body } = await askSocket(join(folder, 'admin.sock'), 'GET', path);
  return { status, body: JSON.parse(body) };
}

const unused = (): never => {
  throw new Error('not part of this test');
};

/** A term with one waiting pod and one orphan. */
function term(): Term {
  const clock = new VirtualClock();
  const random = seededRandom(1);
  const client = new KubeClient({ transport: { request: unused, openStream: unused, close: unused }, clock, random });
  const cloud = new MemoryCloud(clock);
  const { signal } = new AbortController();
  const wide = { cloud, clock, quota: new QuotaScheduler({ clock }), clusterId: 'c-1', vpcId: 'vpc-1', signal };
  const informers = createInformers({ client, clock, random, nodeConfigMaps: [], onError: unused });
  return {
    observer: { inFlight: () => ({ read: 0, attach: 2, detach: 1, delete: 0 }) },
    pendingPods: { places: () => [{ waitsFor: { kind: 'slot', nodeName: 'node-1' }, pods: ['shop/web-0'] }] },
    collector: {
      latest: { orphans: 1, released: 1, suspected: 0, braked: false, endedAtMs: 0 },
      plan: async () => ({ listed: 7, braked: false, orphans: [] }),
      release: async () => ({ plan: { listed: 7, braked: false, orphans: [] }, released: [] }),
    },
    queues: {},
    pools: {
      stateOf: (name) => ({
        resting: [{ ip: '10.0.0.1', freedAt: '2026-03-01T10:00:00Z' }],
        waiting: [{ pod: `shop/on-${name}`, reason: 'NodeFull', message: 'full', since: '2026-03-01T10:00:00Z' }],
        unconfirmed: [{ ip: '10.0.0.2', pod: 'shop/gone', since: '2026-03-01T10:00:00Z' }],
      }),
    },
    inventory: { ...wide, client, informers, search: new EniSearch(wide) },
    wakePod: unused,
    wakeNode: unused,
  };
}

test.each([
  ['/status', statusResponse],
  ['/quota', quotaResponse],
  ['/orphans', orphansResponse],
  ['/pool?node=node-1', poolResponse],
] as const)('the response to %s has exactly the fields that its reader knows', async (path, schema: z.ZodObject) => {
  channel.noteTerm(term());
  const { status, body } = await ask(path);
  expect(status).toBe(200);
  expect(schema.parse(body)).toEqual(body);
  expect(Object.keys(schema.shape)).toEqual(expect.arrayContaining(Object.keys(body)));
});

test('/pool is about the node that was asked for', async () => {
  channel.noteTerm(term());
  const { body } = await ask('/pool?node=node-2');
  expect(poolResponse.parse(body).waiting).toMatchObject([{ pod: 'shop/on-node-2' }]);
});

test('/quota tells what the refusals of the cloud have taught', async () => {
  const turn = () => quota.turn({ api: 'AttachNetworkInterface', callClass: 'pod' }, new AbortController().signal);
  // Not where a minute turns.
  await clock.advance(10_000);
  (await turn()).end('accepted');
  (await turn()).end('throttled');
  await clock.advance(1000);
  // Who finds out whether it was the limit of a second or of a minute.
  (await turn()).end('throttled');
  channel.noteTerm(term());
  const { body } = await ask('/quota');
  const { apis } = quotaResponse.parse(body);
  expect(apis.find(({ api }) => api === 'AttachNetworkInterface')).toMatchObject({
    limitPerMinute: 1,
    learntPerMinute: 1,
  });
});
