import assert from 'node:assert/strict';
import { addressesOf, isBound, isIdle } from '../../../src/allocation/pool/view.ts';
import type { NodeAddress, TerwayNode } from '../../../src/crds/node.ts';

/*
 * What Terway's own acceptance tests demand of shared ENIs, with their figures. The scenarios run on virtual time (acceptance.test.ts)
 * and on real kubelets with shorter periods (test/acceptance). What is not here is in docs/design/pool.md.
 */

/** A new node with a trunk and the shipped agent, in a cluster whose ordinary pods share ENIs. All seconds are those of the scenario. */
export interface PoolRig {
  /** A text for `eni_conf`. */
  duration(seconds: number): string;
  /** Edits keys of `eni_conf`. */
  configure(keys: object): Promise<void>;
  wait(seconds: number): Promise<void>;
  nowSeconds(): number;
  record(): Promise<TerwayNode | undefined>;
  /** Shows each state of the record from now on. @returns what ends that */
  follow(see: (record: TerwayNode) => void): Promise<() => Promise<void>>;
  /** Secondary addresses that the cloud has on the shared ENIs of the node. */
  secondary(): Promise<readonly string[]>;
  /** Shared ENIs in the cloud that have secondary addresses. */
  usedEnis(): Promise<number>;
  /** Creates pods on the node, and waits until the sandbox of each has its network. */
  start(count: number): Promise<void>;
  /** Deletes them. */
  stop(count: number): Promise<void>;
  /** How often the cloud was asked to do this, from now on. */
  calls(action: string): Promise<() => Promise<number>>;
  /** Ends control plane and agent, and starts others. */
  upgrade(): Promise<void>;
  /** What the kernel of the node has of the networks of its pods, and when it was made. */
  network(): Promise<readonly string[]>;
  limits: {
    /** Until so many pods run, when addresses are idle, and when they are to be asked for. */
    startSeconds: { idle: number; asked: number };
    /** Calls for addresses of 30 pods at once: kubelets and scheduler may hand them over in parts. */
    assignments: number;
    /** By so much may a look be late. */
    lateSeconds: number;
  };
}

export interface Scenario {
  name: string;
  eniConf: (rig: Pick<PoolRig, 'duration'>) => object;
  run: (rig: PoolRig) => Promise<void>;
}

const MINUTE = 60;

function addressesIn(record: TerwayNode | undefined): NodeAddress[] {
  return Object.values(record?.status?.networkInterfaces ?? {}).flatMap((eni) => addressesOf(eni));
}

async function addresses(rig: PoolRig): Promise<NodeAddress[]> {
  return addressesIn(await rig.record());
}

async function idle(rig: PoolRig): Promise<number> {
  return (await addresses(rig)).filter(isIdle).length;
}

/** Waits until so many are idle. A trunk that came meanwhile may have brought one more, which goes after a period. */
async function untilIdle(rig: PoolRig, count: number): Promise<void> {
  await until(rig, `${count} addresses are idle`, async () => (await idle(rig)) === count, 5 * MINUTE);
}

async function until(rig: PoolRig, what: string, holds: () => Promise<boolean>, withinSeconds: number): Promise<void> {
  const endSeconds = rig.nowSeconds() + withinSeconds;
  while (!(await holds())) {
    assert.ok(rig.nowSeconds() < endSeconds, `after ${withinSeconds} s not: ${what}`);
    await rig.wait(1);
  }
}

/** Deletes the pods and waits until no address is bound. @returns how long that took */
async function stopAll(rig: PoolRig, count: number): Promise<number> {
  const startSeconds = rig.nowSeconds();
  await rig.stop(count);
  // A real kubelet needs a while, in its own time, to end containers.
  await until(rig, 'all addresses are free', async () => !(await addresses(rig)).some(isBound), 20 * MINUTE);
  return rig.nowSeconds() - startSeconds;
}

interface Look {
  atSeconds: number;
  idle: number;
}

/** The number of idle addresses now, and after each change. */
async function looks(rig: PoolRig, seconds: number): Promise<Look[]> {
  const found: Look[] = [{ idle: await idle(rig), atSeconds: rig.nowSeconds() }];
  const end = await rig.follow((record) => {
    found.push({ idle: addressesIn(record).filter(isIdle).length, atSeconds: rig.nowSeconds() });
  });
  await rig.wait(seconds);
  await end();
  return found;
}

/** By how much the number falls within so long at most. */
function steepest(found: readonly Look[], withinSeconds: number): number {
  const falls = found.slice(1).map(({ atSeconds }, at) => {
    const soon = found.filter((look) => look.atSeconds >= atSeconds && look.atSeconds < atSeconds + withinSeconds);
    return (found[at]?.idle ?? 0) - Math.min(...soon.map((look) => look.idle));
  });
  return Math.max(...falls);
}

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'max_pool_size 0 and min_pool_size 0: every idle secondary address is gone within five minutes',
    eniConf: () => ({ max_pool_size: 10, min_pool_size: 10 }),
    async run(rig) {
      await untilIdle(rig, 10);
      await rig.configure({ max_pool_size: 0, min_pool_size: 0, ip_pool_sync_period: rig.duration(30) });
      await rig.wait(5 * MINUTE);
      assert.deepEqual(
        (await addresses(rig)).filter((address) => isIdle(address) && !address.primary),
        [],
      );
      assert.deepEqual(await rig.secondary(), []);
    },
  },
  {
    name: 'max_pool_size 5 and min_pool_size 5: five addresses are idle within five minutes',
    eniConf: () => ({ max_pool_size: 5, min_pool_size: 5 }),
    async run(rig) {
      await rig.wait(5 * MINUTE);
      assert.equal(await idle(rig), 5);
    },
  },
  {
    name: 'ip_pool_sync_period 5m: nothing is released in the first four minutes',
    eniConf: (rig) => ({ max_pool_size: 0, min_pool_size: 0, ip_pool_sync_period: rig.duration(5 * MINUTE) }),
    async run(rig) {
      await rig.start(5);
      const before = (await rig.secondary()).length;
      // The period begins with the first address that is free.
      const tookSeconds = await stopAll(rig, 5);
      await rig.wait(Math.max(0, 4 * MINUTE - tookSeconds));
      assert.equal((await rig.secondary()).length, before);
      await rig.wait(2 * MINUTE + tookSeconds);
      assert.deepEqual(await rig.secondary(), []);
    },
  },
  {
    name: 'idle_ip_reclaim: a pool of ten falls to its minimum of three, and never below',
    eniConf: (rig) => ({ max_pool_size: 10, min_pool_size: 10, ip_pool_sync_period: rig.duration(30) }),
    async run(rig) {
      await untilIdle(rig, 10);
      await rig.configure({
        ...{ min_pool_size: 3, idle_ip_reclaim_after: rig.duration(2 * MINUTE) },
        ...{ idle_ip_reclaim_interval: rig.duration(30), idle_ip_reclaim_batch_size: 3 },
      });
      const found = (await looks(rig, 10 * MINUTE)).map((look) => look.idle);
      assert.equal(found[0], 10);
      assert.equal(Math.min(...found), 3);
      assert.equal(found.at(-1), 3);
      // The timer leaves the record with the last address that goes.
      assert.equal((await rig.record())?.status?.nextIdleIPReclaimTime, undefined);
    },
  },
  {
    name: 'idle_ip_reclaim_batch_size 2 and an interval of a minute: at most two go in each',
    eniConf: (rig) => ({ max_pool_size: 10, min_pool_size: 10, ip_pool_sync_period: rig.duration(30) }),
    async run(rig) {
      await untilIdle(rig, 10);
      await rig.configure({
        ...{ min_pool_size: 0, idle_ip_reclaim_after: rig.duration(MINUTE) },
        ...{ idle_ip_reclaim_interval: rig.duration(MINUTE), idle_ip_reclaim_batch_size: 2 },
      });
      const found = await looks(rig, 10 * MINUTE);
      assert.equal(steepest(found, MINUTE - rig.limits.lateSeconds), 2);
      assert.ok((found.at(-1)?.idle ?? 10) <= 1);
    },
  },
  {
    name: 'ip_warm_up_size 10 with a pool of 1 to 20: ten addresses, once',
    eniConf: () => ({ ip_warm_up_size: 10, max_pool_size: 20, min_pool_size: 1 }),
    async run(rig) {
      await rig.wait(5 * MINUTE);
      const { warmUpTarget, warmUpCompleted } = (await rig.record())?.status ?? {};
      assert.deepEqual({ warmUpTarget, warmUpCompleted }, { warmUpTarget: 10, warmUpCompleted: true });
      assert.ok((await addresses(rig)).length >= 10);
    },
  },
  {
    name: 'ip_warm_up_size 10 with max_pool_size 5: ten are asked for all the same, and the surplus goes',
    eniConf: (rig) => ({
      ...{ ip_warm_up_size: 10, max_pool_size: 5, min_pool_size: 0 },
      ip_pool_sync_period: rig.duration(30),
    }),
    async run(rig) {
      await rig.wait(5 * MINUTE);
      const { warmUpTarget, warmUpCompleted, warmUpAllocatedCount = 0 } = (await rig.record())?.status ?? {};
      assert.deepEqual({ warmUpTarget, warmUpCompleted }, { warmUpTarget: 10, warmUpCompleted: true });
      assert.ok(warmUpAllocatedCount >= 10);
      assert.equal(await idle(rig), 5);
    },
  },
  {
    name: '30 pods at once, with a pool of 0 to 5: no new ENI, and as few calls for addresses as can be',
    eniConf: () => ({ max_pool_size: 5, min_pool_size: 0 }),
    async run(rig) {
      const assignments = await rig.calls('AssignPrivateIpAddresses');
      const creations = await rig.calls('CreateNetworkInterface');
      await startWithin(rig, 30, rig.limits.startSeconds.asked);
      assert.ok((await assignments()) <= rig.limits.assignments);
      assert.equal(await creations(), 0);
    },
  },
  {
    name: '30 pods at once, with a pool of 30',
    eniConf: () => ({ max_pool_size: 30, min_pool_size: 30 }),
    async run(rig) {
      await untilIdle(rig, 30);
      await startWithin(rig, 30, rig.limits.startSeconds.idle);
    },
  },
  {
    name: 'pods beyond one ENI get the addresses of a second one',
    eniConf: () => ({ max_pool_size: 0, min_pool_size: 0 }),
    async run(rig) {
      await rig.start(35);
      assert.ok((await rig.usedEnis()) >= 2);
    },
  },
  {
    name: 'a rolling upgrade leaves the network of running pods alone',
    eniConf: () => ({ max_pool_size: 5, min_pool_size: 0 }),
    async run(rig) {
      await rig.start(10);
      const bound = async () => (await addresses(rig)).filter(isBound);
      const before = { network: await rig.network(), bound: await bound() };
      await rig.upgrade();
      await rig.wait(5 * MINUTE);
      assert.deepEqual({ network: await rig.network(), bound: await bound() }, before);
    },
  },
];

async function startWithin(rig: PoolRig, count: number, seconds: number): Promise<void> {
  const startSeconds = rig.nowSeconds();
  await rig.start(count);
  const tookSeconds = rig.nowSeconds() - startSeconds;
  assert.ok(tookSeconds < seconds, `${count} pods took ${tookSeconds.toFixed(1)} s, and may take ${seconds} s`);
}
