import { afterEach, expect, test } from 'vitest';
import { FaultScript } from '../script.ts';
import type { World } from '../world.ts';
import { enisOf, inConsole, ofPool, poolWorld, served } from './support.ts';

/* The cloud makes five attachments of an instance at a time. */

let world: World | undefined;

afterEach(() => world?.end());

/** Seven ENIs with 30 addresses each, the trunk among them. */
const LARGE = 'ecs.g7.16xlarge';
const isFull = (made: World) => enisOf(made).filter(({ status }) => status === 'InUse').length === 7;

/** @returns the most attachments that were in progress at a time until all ENIs are in use */
async function most(made: World): Promise<number> {
  const isMoving = ({ type, status }: { type: string; status: string }) => type !== 'Primary' && status === 'Attaching';
  let found = 0;
  for (let at = 0; at < 600 && !isFull(made); at += 1) {
    await made.run(100);
    found = Math.max(found, made.state().cloud.enis.filter(isMoving).length);
  }
  expect(isFull(made)).toBe(true);
  return found;
}

test('the trunk counts among those of a node that joins', async () => {
  // The test counts from the first attachment on.
  const made = await poolWorld({ min_pool_size: 200, max_pool_size: 200 }, { instanceType: LARGE, isAwaited: false });
  world = made;
  expect(await most(made)).toBe(5);
});

test('ENIs that somebody has detached are attached again five at a time, the trunk among them', async () => {
  const made = await poolWorld({ min_pool_size: 200, max_pool_size: 200 }, { instanceType: LARGE });
  world = made;
  await made.until('all ENIs are in use', () => isFull(made), 60_000);
  await made.run(60_000);
  detach(made, [made.trunkOf('node-1') ?? '', ...ofPool(made).map(({ id }) => id)]);
  await made.until('it is noticed', () => !isFull(made), 2 * 60_000);
  expect(await most(made)).toBe(5);
});

test('ENIs that the cloud attaches never again do not keep the node from getting others', async () => {
  const script = new FaultScript();
  const made = await poolWorld({ min_pool_size: 170, max_pool_size: 170 }, { instanceType: LARGE, script });
  world = made;
  const inUse = () => enisOf(made).filter(({ status }) => status === 'InUse');
  await made.until('there are five and the trunk', () => inUse().length === 6, 60_000);
  await made.run(60_000);
  const ids = ofPool(made).map(({ id }) => id);
  const isOne = ({ params }: { params: Record<string, unknown> }) => ids.includes(String(params['NetworkInterfaceId']));
  script.cloud('AttachNetworkInterface', { kind: 'refused', code: 'Forbidden.RAM', status: 403 }, 1e6, isOne);
  const attempts = script.cloudCalls('AttachNetworkInterface');
  detach(made, ids);
  await made.until('another is made', () => ofPool(made).length === 6, 5 * 60_000);
  await made.until('it is in use', () => inUse().length === 2, 60_000);
  await served(
    made,
    Array.from({ length: 60 }, (_, at) => `p${at}`),
  );
  // They have their turns, too.
  expect(new Set(attempts.filter(isOne).map(({ params }) => params['NetworkInterfaceId'])).size).toBe(5);
});

function detach(made: World, ids: readonly string[]): void {
  const [instance] = made.state().cloud.instances;
  for (const id of ids) {
    inConsole(made, 'DetachNetworkInterface', { NetworkInterfaceId: id, InstanceId: instance?.id ?? '' });
  }
}
