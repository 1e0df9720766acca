import { afterEach, expect, test } from 'vitest';
import { NODES, type World } from '../world.ts';
import { addresses, createShared, NODE, poolWorld } from './support.ts';

/* What pods that are replaced cost, while addresses are idle. */

const PODS = 20;

let world: World | undefined;

afterEach(() => world?.end());

test('a pod that is replaced costs two writes of the Node CR, and no call that changes anything (#48)', async () => {
  const made = await poolWorld({ max_pool_size: 5 }, { hasMachine: true, tellsAddresses: true });
  world = made;
  const running = () => made.machines.get(NODE)?.runtime.sandboxes.filter(({ state }) => state === 'running').length;
  for (let at = 0; at < PODS + 4; at += 1) createShared(made, `p${at}`);
  await made.until('all run', () => running() === PODS + 4, 60_000);
  // Their addresses are the idle ones.
  for (let at = PODS; at < PODS + 4; at += 1) made.deletePod(`default/p${at}`);
  await made.until('some are free', () => addresses(made).size === PODS, 60_000);
  await made.run(60_000);
  let writes = 0;
  const changes: string[] = [];
  made.kube.subscribe(({ resource, actor }) => {
    if (resource === NODES && actor.startsWith('replica')) writes += 1;
  });
  made.cloud.subscribe(({ action }) => {
    if (!action.startsWith('Describe')) changes.push(action);
  });
  for (let at = 0; at < PODS; at += 1) {
    made.deletePod(`default/p${at}`);
    createShared(made, `q${at}`);
    await made.run(1000);
  }
  await made.until('all of them run', () => running() === PODS && addresses(made).size === PODS, 60_000);
  expect(changes).toEqual([]);
  expect(writes / PODS).toBeLessThanOrEqual(2);
});
