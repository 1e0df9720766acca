import { afterEach, expect, test } from 'vitest';
import { World } from '../world.ts';

let world: World | undefined;

afterEach(() => world?.end());

const NOTHING = {
  records: 0,
  'unreadable-records': 0,
  'waiting-sandboxes': 0,
  plugin: 0,
  'pod-queues': 0,
  reports: 0,
};

test('the agent holds nothing of pods that are gone, whether they ran or still waited for an address', async () => {
  const made = new World();
  world = made;
  const machine = made.addMachine(made.addNode());
  const replica = made.startReplica();
  await made.until('trunk', () => made.trunkOf('node-1') !== undefined, 60_000);
  made.createPod({ name: 'runs', nodeName: 'node-1' });
  await made.until('a sandbox', () => machine.runtime.sandboxes.some(({ state }) => state === 'running'), 60_000);
  await made.run(2000);
  replica.kill();
  made.createPod({ name: 'waits', nodeName: 'node-1' });
  await made.run(10_000);
  const agent = machine.agent;
  expect(agent?.held).toEqual({ ...NOTHING, records: 1, 'waiting-sandboxes': 1, plugin: 1, reports: 1 });
  made.deletePod('default/runs');
  made.deletePod('default/waits');
  await made.until('no sandbox', () => machine.runtime.sandboxes.length === 0, 120_000);
  await made.run(5000);
  expect(machine.agent).toBe(agent);
  expect(agent?.held).toEqual(NOTHING);
});
