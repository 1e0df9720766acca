import { afterEach, expect, test } from 'vitest';
import type { CloudCall } from './cloud-link.ts';
import { World } from './world.ts';

let world: World | undefined;

afterEach(() => world?.end());

test('a process that resumes after its lease has expired sends nothing before it leads again', async () => {
  const calls: CloudCall[] = [];
  world = new World({
    onCloudCall: (call) => {
      calls.push(call);
      return undefined;
    },
  });
  const { clock } = world;
  const node = world.addNode();
  const replica = world.startReplica();
  await world.until('the trunk is attached', () => world?.trunkOf(node.name) !== undefined, 60_000);
  await world.run(5000);
  world.createPod({ name: 'a', nodeName: node.name });
  await world.until('the intent is stored', () => world?.podEni('default/a') !== undefined, 60_000);
  const stopped = replica.term;
  calls.length = 0;
  // The response to that write is in flight, and is read before the timer that ends the term.
  clock.freeze(20_000);
  while (replica.term === stopped && (await clock.step()));
  expect(calls.map(({ action }) => action)).toEqual([]);
  await world.until('bound', () => world?.isBound('default/a') === true, 60_000);
  expect(world.violations()).toEqual([]);
});
