import { afterEach, expect, test } from 'vitest';
import { eventResource } from '../../../src/kubectl/resources.ts';
import { FaultScript } from '../script.ts';
import type { World } from '../world.ts';
import { addresses, createShared, crowd, editRules, LATE_RECORDS, NODE, ofPool, poolWorld, says } from './support.ts';

/* Nodes that join and leave. */

let world: World | undefined;

afterEach(() => world?.end());

test('the pool of a node that joins does not wait for its trunk', async () => {
  const latencies = { createMs: 1000, attachMs: 5000 };
  const made = await poolWorld({}, { latencies, isAwaited: false });
  world = made;
  const uids = Array.from({ length: 100 }, (_, at) => createShared(made, `p${at}`));
  const isServed = () => uids.every((uid) => addresses(made).has(uid));
  // One creation and one attachment, and what leads to them.
  await made.until('all have addresses', isServed, latencies.createMs + latencies.attachMs + 1500);
});

test('the ENIs of a node without pods are released as soon as it is deleted', async () => {
  const made = await poolWorld({ max_pool_size: 100 }, { kubeFaults: LATE_RECORDS });
  world = made;
  const uids = await crowd(made);
  for (const [at, uid] of uids.entries()) {
    made.deletePod(`default/p${at}`, 0);
    says(made, uid, `default/p${at}`, 'deleted');
  }
  await made.run(10 * 60_000);
  expect(ofPool(made).length).toBeGreaterThan(0);
  made.deleteNode(NODE);
  await made.until('they are gone', () => ofPool(made).length === 0, 30_000);
  await made.until('the record is gone', () => made.nodeRecord(NODE) === undefined, 2 * 60_000);
});

test('while the ENIs of an instance cannot be read, that is said, and asked for less and less often', async () => {
  const script = new FaultScript();
  const isOfInstance = ({ params }: { params: object }) => JSON.stringify(params).includes('InstanceId');
  const forbidden = { kind: 'refused', code: 'Forbidden.RAM', status: 403 } as const;
  script.cloud('DescribeNetworkInterfaces', forbidden, 1e6, isOfInstance);
  const calls = script.cloudCalls('DescribeNetworkInterfaces');
  const made = await poolWorld({ enable_eni_trunking: false }, { script });
  world = made;
  createShared(made, 'a');
  await made.run(60_000);
  const ready = made.nodeRecord(NODE)?.status?.conditions?.find(({ type }) => type === 'PoolReady');
  expect(ready).toMatchObject({ status: 'False', reason: 'CloudError' });
  expect(ready?.message).toContain('Forbidden.RAM');
  const told = made.kube.objects('events.events.k8s.io').map((event) => eventResource.parse?.(event));
  expect(told.some((event) => event?.regarding?.name === 'a' && event.reason === 'CloudError')).toBe(true);
  const before = calls.filter(isOfInstance).length;
  expect(before).toBeLessThan(10);
  await made.run(10 * 60_000);
  expect(calls.filter(isOfInstance).length - before).toBeLessThan(15);
});

test('a field of the rules that the API server has forgotten the author of is left, which is said until somebody removes it', async () => {
  const made = await poolWorld({ max_pool_size: 5 });
  world = made;
  const stated = () => made.nodeRecord(NODE)?.status?.conditions?.find(({ type }) => type === 'PoolAsConfigured');
  await made.until('the rules are written', () => stated()?.status === 'True', 60_000);
  editRules(made, { pool: { maxPoolSize: 9 } }, 'ancient-changes');
  await made.run(5000);
  expect(stated()).toMatchObject({ status: 'False', reason: 'ConfigError' });
  expect(stated()?.message).toContain('spec.pool of the Node CR');
  expect(made.nodeRecord(NODE)?.spec.pool?.maxPoolSize).toBe(9);
  editRules(made, { pool: null }, 'kubectl-edit');
  await made.run(5000);
  expect(stated()).toMatchObject({ status: 'True' });
  expect(made.nodeRecord(NODE)?.spec.pool?.maxPoolSize).toBe(5);
});
