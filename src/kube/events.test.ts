import { afterEach, beforeEach, expect, test } from 'vitest';
import { machine } from '../util/test-support/machine.ts';
import { VirtualClock } from '../util/test-support/virtual-clock.ts';
import { connectKube, type KubeClient } from './client.ts';
import { cutUtf8, EventRecorder } from './events.ts';
import { failure, type Stored, TestApiServer } from './test-support/api-server.ts';
import { eventually, pause } from './test-support/wait.ts';
import type { HasMetadata } from './types.ts';

let server: TestApiServer;
let client: KubeClient;
let clock: VirtualClock;
let recorder: EventRecorder;
let errors: unknown[];

const pod: HasMetadata = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web-0', namespace: 'shop', uid: 'u1' } };
const node: HasMetadata = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'worker', uid: 'u2' } };
const failed = { type: 'Warning', reason: 'AttachFailed', action: 'Attach', note: 'no member slot' } as const;

beforeEach(async () => {
  server = new TestApiServer();
  await server.start();
  client = connectKube(server.configFor(), machine);
  clock = new VirtualClock();
  errors = [];
  const onError = (error: unknown) => errors.push(error);
  recorder = new EventRecorder({ client, controller: 'pod', instance: 'controlplane-abc', clock, onError });
});

afterEach(async () => {
  client.close();
  await server.stop();
});

function sent(method: string): { path: string; body: unknown }[] {
  return server.requests.filter((request) => request.method === method);
}

function stored(): Stored | undefined {
  const created = sent('POST')[0];
  const body = created?.body;
  const name = typeof body === 'object' && body !== null && 'metadata' in body ? body.metadata : undefined;
  if (typeof name !== 'object' || name === null || !('name' in name)) return undefined;
  return server.read('/apis/events.k8s.io/v1/events', 'shop', String(name.name));
}

test('writes an event in the form that the server accepts', async () => {
  recorder.event(pod, { ...failed, related: node });
  await eventually(() => sent('POST').length === 1);
  expect(sent('POST')[0]).toMatchObject({
    path: '/apis/events.k8s.io/v1/namespaces/shop/events',
    body: {
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      eventTime: '2026-01-01T00:00:00.000000Z',
      ...failed,
      regarding: { apiVersion: 'v1', kind: 'Pod', namespace: 'shop', name: 'web-0', uid: 'u1' },
      related: { kind: 'Node', name: 'worker' },
      reportingController: 'terway-controlplane/pod',
      reportingInstance: 'controlplane-abc',
    },
  });
});

test('an event of a cluster-scoped object is in default', async () => {
  recorder.forController('node').event(node, failed);
  await eventually(() => sent('POST').length === 1);
  expect(sent('POST')[0]?.path).toBe('/apis/events.k8s.io/v1/namespaces/default/events');
  expect(sent('POST')[0]?.body).toMatchObject({ reportingController: 'terway-controlplane/node' });
});

test('repetitions become a series that is written at intervals', async () => {
  recorder.event(pod, failed);
  await eventually(() => stored());
  await clock.advance(1000);
  recorder.event(pod, failed);
  await eventually(() => sent('PATCH').length === 1);
  expect(sent('PATCH')[0]?.body).toEqual({ series: { count: 2, lastObservedTime: '2026-01-01T00:00:01.000000Z' } });
  for (let i = 0; i < 50; i++) {
    await clock.advance(100);
    recorder.event(pod, failed);
  }
  expect(sent('PATCH')).toHaveLength(1);
  await clock.advance(10_000);
  await eventually(() => sent('PATCH').length === 2);
  expect(stored()?.['series']).toMatchObject({ count: 52 });
  expect(sent('POST')).toHaveLength(1);
  await clock.advance(60_000);
  expect(clock.pendingCalls).toBe(0);
});

test('another note, reason or object is another event; the note key joins notes', async () => {
  recorder.event(pod, failed);
  recorder.event(pod, { ...failed, note: 'no address' });
  recorder.event(pod, { ...failed, reason: 'DetachFailed' });
  recorder.event(node, failed);
  await recorder.flush(1000);
  await eventually(() => sent('POST').length === 4);
  recorder.event(node, { ...failed, reason: 'Waiting', note: 'waited 5 s', noteKey: 'waiting' });
  recorder.event(node, { ...failed, reason: 'Waiting', note: 'waited 20 s', noteKey: 'waiting' });
  await clock.advance(20_000);
  await eventually(() => sent('POST').length === 5 && sent('PATCH').length === 1);
});

test('after the window a repetition is a new event', async () => {
  recorder.event(pod, failed);
  await eventually(() => stored());
  await clock.advance(601_000);
  recorder.event(pod, failed);
  await eventually(() => sent('POST').length === 2);
});

test('an event that has expired on the server is written again', async () => {
  recorder.event(pod, failed);
  await eventually(() => stored());
  server.remove('/apis/events.k8s.io/v1/events', 'shop', stored()?.metadata.name ?? '');
  recorder.event(pod, failed);
  await eventually(() => sent('POST').length === 2);
  expect(sent('POST')[1]?.body).toMatchObject({ series: { count: 2 } });
  expect(errors).toEqual([]);
});

test('events of one object are limited to 25, then one in five minutes', async () => {
  for (let i = 0; i < 40; i++) recorder.event(pod, { ...failed, note: `attempt ${i}` });
  recorder.event(node, failed);
  await eventually(() => sent('POST').length === 26);
  await clock.advance(300_001);
  for (let i = 0; i < 3; i++) recorder.event(pod, { ...failed, note: `later ${i}` });
  await eventually(() => sent('POST').length === 27);
  await pause(20);
  expect(sent('POST')).toHaveLength(27);
});

test('failures are reported, never thrown', async () => {
  server.intercept = () => failure(403, 'Forbidden', 'the namespace is being terminated');
  recorder.event(pod, failed);
  await eventually(() => errors.length === 1);
  expect(String(errors[0])).toContain('AttachFailed of Pod shop/web-0');
  server.intercept = undefined;
  recorder.event(node, failed);
  await eventually(() => sent('POST').length === 2);
});

test('a repetition while the event is being sent goes out right away', async () => {
  recorder.event(pod, failed);
  recorder.event(pod, failed);
  await eventually(() => sent('PATCH').length === 1);
  expect(stored()?.['series']).toMatchObject({ count: 2 });
});

test('a full queue drops events and reports it', async () => {
  server.intercept = () => 'handled';
  const onError = (error: unknown) => errors.push(error);
  recorder = new EventRecorder({ client, controller: 'pod', instance: 'x', clock, onError, maxQueued: 5 });
  for (let i = 0; i < 10; i++) recorder.event(pod, { ...failed, note: `note ${i}` });
  expect(errors).toHaveLength(3);
});

test('closing sends what waits, and gives up at its deadline', async () => {
  recorder.event(pod, failed);
  await eventually(() => stored());
  recorder.event(pod, failed);
  await eventually(() => sent('PATCH').length === 1);
  recorder.event(pod, failed);
  await recorder.close(1000);
  expect(stored()?.['series']).toMatchObject({ count: 3 });
  recorder.event(pod, { ...failed, note: 'too late' });
  expect(sent('POST')).toHaveLength(1);

  server.intercept = () => 'handled';
  const hanging = new EventRecorder({ client, controller: 'pod', instance: 'x', clock });
  hanging.event(pod, failed);
  const closed = hanging.close(1000);
  await clock.advance(1001);
  await closed;
});

test('notes are cut between characters', () => {
  expect(cutUtf8('short', 1024)).toBe('short');
  for (const text of ['ä'.repeat(600), '€'.repeat(600), '😀'.repeat(600), `x${'😀'.repeat(600)}`]) {
    const cut = cutUtf8(text, 1024);
    expect(Buffer.byteLength(cut)).toBeLessThanOrEqual(1024);
    expect(Buffer.byteLength(cut)).toBeGreaterThan(1020);
    expect(text.startsWith(cut)).toBe(true);
  }
});
