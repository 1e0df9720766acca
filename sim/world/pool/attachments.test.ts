import { afterEach, expect, test } from 'vitest';
import type { World } from '../world.ts';
import { enisOf, inConsole, ofPool, poolWorld } from './support.ts';

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

test('ENIs that somebody has detached are attached again five at a time', async () => {
  const made = await poolWorld({ min_pool_size: 200, max_pool_size: 200 }, { instanceType: LARGE });
  world = made;
  await made.until('all ENIs are in use', () => isFull(made), 60_000);
  await made.run(60_000);
  const [instance] = made.state().cloud.instances;
  for (const { id } of ofPool(made)) {
    inConsole(made, 'DetachNetworkInterface', { NetworkInterfaceId: id, InstanceId: instance?.id ?? '' });
  }
  await made.until('it is noticed', () => !isFull(made), 2 * 60_000);
  expect(await most(made)).toBe(5);
});
