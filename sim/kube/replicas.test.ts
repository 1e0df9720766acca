import { afterEach, beforeEach, expect, test } from 'vitest';
import { KubeClient } from '../../src/kube/client.ts';
import { EventRecorder } from '../../src/kube/events.ts';
import { Informer } from '../../src/kube/informer.ts';
import { leaseResource, runWithLease } from '../../src/kube/lease.ts';
import type { HasMetadata, ObjectMeta, Resource } from '../../src/kube/types.ts';
import { seededRandom } from '../../src/util/random.ts';
import { VirtualClock } from '../../src/util/test-support/virtual-clock.ts';
import type { ApiCall, FaultPlan, RequestFault, WatchFault } from './faults.ts';
import { KubeModel } from './model/model.ts';
import { SimulatedTransport } from './transport.ts';

const configMaps: Resource<HasMetadata> = {
  group: '',
  version: 'v1',
  plural: 'configmaps',
  kind: 'ConfigMap',
  namespaced: true,
};
const target = { resource: 'configmaps', namespace: 'default' };

let clock: VirtualClock;
let model: KubeModel;
let abort: AbortController;
let running: Promise<unknown>[];

beforeEach(() => {
  clock = new VirtualClock();
  model = new KubeModel({ startMs: clock.now() });
  abort = new AbortController();
  running = [];
});

afterEach(async () => {
  abort.abort();
  await clock.advance(60_000);
  await Promise.all(running);
});

function replica(name: string, faults?: FaultPlan): { client: KubeClient; transport: SimulatedTransport } {
  const transport = new SimulatedTransport({ model, clock, replica: name, faults });
  return { transport, client: new KubeClient({ transport, clock, random: seededRandom(name.length) }) };
}

const caller = () => ({ actor: 'user', nowMs: clock.now() });

test('of two replicas one leads, and the other after it was cut off', async () => {
  let isCutOff = false;
  const cut: RequestFault = { kind: 'lost-request', failure: 'timeout' };
  const leaders: string[] = [];
  for (const [at, name] of ['a', 'bb'].entries()) {
    const { client } = replica(name, { onRequest: () => (isCutOff && at === 0 ? cut : undefined) });
    const run = runWithLease({
      client,
      clock,
      random: seededRandom(at),
      signal: abort.signal,
      namespace: 'kube-system',
      name: 'lease',
      identity: name,
      onLead: async (signal) => {
        leaders.push(`${name} leads`);
        await clock.sleep(86_400_000, signal).catch(() => {});
        leaders.push(`${name} ends`);
      },
    });
    running.push(run);
    await clock.advance(1000);
  }
  await clock.advance(60_000);
  expect(leaders).toEqual(['a leads']);
  isCutOff = true;
  await clock.advance(60_000);
  expect(leaders).toEqual(['a leads', 'a ends', 'bb leads']);
  const { client } = replica('reader');
  const reading = client.get(leaseResource, { namespace: 'kube-system', name: 'lease' });
  await clock.advance(10);
  expect((await reading).spec).toMatchObject({ holderIdentity: 'bb', leaseTransitions: 1 });
  const writers = model.journal().filter(({ resource }) => resource === 'leases.coordination.k8s.io');
  expect(new Set(writers.map(({ actor }) => actor))).toEqual(new Set(['a', 'bb']));
});

test('an event recorder writes, and counts what repeats', async () => {
  const { client } = replica('a');
  const regarding = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: 'default', name: 'a', uid: 'u' } };
  const recorder = new EventRecorder({ client, controller: 'c', instance: 'i', clock });
  for (let i = 0; i < 3; i++) {
    recorder.event(regarding, { type: 'Warning', reason: 'Failed', action: 'Try', note: 'no' });
    await clock.advance(60_000);
  }
  await clock.advance(600_000);
  const events = model.objects('events.events.k8s.io');
  expect(events).toHaveLength(1);
  expect(events[0]).toMatchObject({ reason: 'Failed', regarding: { name: 'a' }, series: { count: 3 } });
});

/** Runs an informer that has seen 50 objects more than the backup has; returns how to check that it found its way. */
async function restored(
  breakWatch: (transport: SimulatedTransport) => void,
  options: { bumpRevision?: number } = {},
): Promise<Informer<HasMetadata>> {
  const { client, transport } = replica('a');
  const informer = new Informer({ client, resource: configMaps, clock, random: seededRandom(1) });
  running.push(informer.run(abort.signal));
  const kept = model.create(target, { metadata: { name: 'kept' } }, caller());
  await clock.advance(1000);
  const backup = model.backup();
  const place = { ...target, name: 'kept', subresource: '' };
  model.update(place, { metadata: kept.metadata, data: { is: 'later' } }, caller());
  for (let i = 0; i < 50; i++) model.create(target, { metadata: { name: `late-${i}` } }, caller());
  await clock.advance(1000);
  expect(informer.store.size).toBe(51);
  model.restore(backup, options);
  breakWatch(transport);
  model.create(target, { metadata: { name: 'new' } }, caller());
  return informer;
}

/** Names and versions: those of the model, and those of the store. */
function expectSame(informer: Informer<HasMetadata>): void {
  const versions = ({ metadata }: { metadata: Pick<ObjectMeta, 'name' | 'resourceVersion'> }) =>
    `${metadata.name}@${metadata.resourceVersion}`;
  expect(informer.store.list().map(versions).sort()).toEqual(model.objects('configmaps').map(versions).sort());
}

// Like the real server, the model sends nothing for a watch from a future version, so merely resuming would wait forever.
test('an informer recovers after a backup was restored', async () => {
  const informer = await restored((transport) => {
    for (const watch of transport.watches) watch.break();
  });
  await clock.advance(60_000);
  expectSame(informer);
  expect(informer.store.keys().sort()).toEqual(['default/kept', 'default/new']);
});

test('an informer recovers after a backup was restored with bumped revisions', async () => {
  const informer = await restored((transport) => transport.breakConnections(), { bumpRevision: 1_000_000 });
  await clock.advance(60_000);
  expectSame(informer);
  expect(informer.store.keys().sort()).toEqual(['default/kept', 'default/new']);
  expect(model.version).toBeGreaterThan(1_000_000);
});

test('a restored server that ended its watches in good order is noticed too', async () => {
  const informer = await restored((transport) => {
    for (const watch of transport.watches) watch.end();
  });
  await clock.advance(60_000);
  expectSame(informer);
});

test('a restored server behind a watch that stays open is noticed when that was silent for too long', async () => {
  const informer = await restored((transport) => {
    for (const watch of transport.watches) watch.freeze();
  });
  await clock.advance(240_000);
  expectSame(informer);
});

test('a restored server that passes the old version while everything is listed again leaves nothing of its future', async () => {
  const informer = await restored((transport) => {
    for (const watch of transport.watches) watch.break();
  });
  const looked = clock.monotonicMs() + 60_000;
  while (informer.lastSyncedResourceVersion !== undefined && clock.monotonicMs() < looked) await clock.advance(1);
  expect(informer.lastSyncedResourceVersion).toBeUndefined();
  for (let i = 0; i < 60; i++) model.create(target, { metadata: { name: `again-${i}` } }, caller());
  await clock.advance(60_000);
  expectSame(informer);
});

test('an informer with nothing to do asks for nothing but its watch', async () => {
  const { client } = replica('a');
  const informer = new Informer({ client, resource: configMaps, clock, random: seededRandom(1) });
  running.push(informer.run(abort.signal));
  for (let minute = 0; minute < 60; minute++) {
    model.create(target, { metadata: { name: `m-${minute}` } }, caller());
    await clock.advance(60_000);
  }
  expect(client.counts.list).toBe(0);
  expect(informer.store.size).toBe(60);
});

test('a watch that reached the server late is ended by the server, not by the client', async () => {
  const asked: string[] = [];
  const faults = {
    onRequest: ({ verb }: ApiCall) => {
      asked.push(verb);
      return undefined;
    },
    onWatch: ({ verb }: ApiCall): WatchFault => {
      asked.push(verb);
      return { kind: 'slow', requestMs: 14_000 };
    },
  };
  const { client } = replica('a', faults);
  const errors: unknown[] = [];
  const onError = (error: unknown) => errors.push(error);
  const informer = new Informer({ client, resource: configMaps, clock, random: seededRandom(2), onError });
  running.push(informer.run(abort.signal));
  // A watch lasts ten minutes at most, and is not silent as long as something happens.
  for (let minute = 0; minute < 31; minute += 1) {
    model.create(target, { metadata: { name: `c-${minute}` } }, caller());
    await clock.advance(60_000);
  }
  expect(errors.map(String)).toEqual([]);
  expect(asked.length).toBeGreaterThanOrEqual(3);
  expect(new Set(asked)).toEqual(new Set(['watch']));
});
