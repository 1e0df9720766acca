import { afterEach, expect, test } from 'vitest';
import { World } from './world.ts';

/* Addresses of vSwitches: who gets the ones that become free, and at what cost. */

let world: World | undefined;

afterEach(() => world?.end());

test('an address that becomes free is given to one who waits, without a look at all the others', async () => {
  const made = new World({ config: { leaderElection: false } });
  world = made;
  for (let at = 0; at < 3; at += 1) made.addNode();
  const small = made.addVSwitch('10.2.0.0/27');
  made.addNetworking('small', { type: 'Elastic' }, [small]);
  const replica = made.startReplica();
  const trunks = () => ['node-1', 'node-2', 'node-3'].every((name) => made.trunkOf(name) !== undefined);
  await made.until('trunks', trunks, 60_000);
  for (let at = 0; at < 250; at += 1) {
    made.createPod({ name: `p-${at}`, nodeName: `node-${(at % 3) + 1}`, networking: 'small' });
  }
  await made.run(90_000);
  const room = made.countOf('Bind');
  expect(room).toBeGreaterThan(20);
  const before = await replica.reconciles('pod-eni');
  const bound = made.podEnis().filter(({ status }) => status?.phase === 'Bind');
  const gone = bound.slice(0, 10).map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
  for (const key of gone) made.deletePod(key, 0);
  const areGone = () => gone.every((key) => made.podEni(key) === undefined);
  await made.until('their successors are bound', () => areGone() && made.countOf('Bind') === room, 60_000);
  expect(made.violations()).toEqual([]);
  // Those that went, those that came, and a look at the next in line for each.
  expect((await replica.reconciles('pod-eni')) - before).toBeLessThan(400);
});
