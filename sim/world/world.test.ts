import { expect, test } from 'vitest';
import { World } from './world.ts';

test('the shipped replica gives a node its trunk and a pod its ENI, and releases the ENI', async () => {
  const world = new World({ config: { leaderElection: false } });
  const node = world.addNode();
  world.startReplica();
  await world.until('the trunk is attached', () => world.trunkOf(node.name) !== undefined, 60_000);
  world.createPod({ name: 'a', nodeName: node.name });
  const boundMs = await world.until('bound', () => world.isBound('default/a'), 60_000);
  expect(boundMs).toBeLessThan(3000);
  expect(world.violations()).toEqual([]);
  world.deletePod('default/a');
  await world.until('released', () => world.podEni('default/a') === undefined, 60_000);
  await world.run(30_000);
  expect(world.unsettled()).toEqual([]);
  world.end();
});
