import { afterEach, expect, test } from 'vitest';
import { NODES, type World } from '../world.ts';
import { addresses, createShared, NODE, poolWorld } from './support.ts';

/* What pods that are replaced cost, while addresses are idle. */

const PODS = 20;

let world: World | undefined;

afterEach(() => world?.end());

test.each([
  ['', 0, 1000],
  // As long as it takes until the address of the pod before is idle.
  [', also where four are to be idle', 4, 3000],
])(
  'a pod that is replaced costs two writes of the Node CR, and no call that changes anything%s (#48)',
  async (_, least, everyMs) => {
    const eniConf = { max_pool_size: 4, min_pool_size: least, ip_pool_sync_period: '30s' };
    const made = await poolWorld(eniConf, { hasMachine: true, tellsAddresses: true });
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
      await made.run(everyMs);
    }
    await made.until('all of them run', () => running() === PODS && addresses(made).size === PODS, 60_000);
    expect(changes).toEqual([]);
    expect(writes / PODS).toBeLessThanOrEqual(2);
  },
);
