import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PoolNode } from '../test-support/pool-node.ts';
import { planPool } from './plan-pool.ts';
import type { PoolStatus } from './pool-view.ts';
import { addressesOf, FAMILIES, type Families, isBound, type PoolPod } from './view.ts';

describe('a pod', () => {
  test('gets an idle address in the plan that first sees it', () => {
    const node = new PoolNode({ leastIdle: 2 });
    node.settle();
    const { uid } = node.add('a');
    const plan = node.step();
    expect(plan.handOuts.served).toHaveLength(1);
    expect(node.ipsOf(uid)).toHaveLength(1);
  });

  test('gets both families from one ENI', () => {
    const node = new PoolNode({}, FAMILIES);
    const { uid } = node.add('a');
    node.settle();
    const [ipv4 = '', ipv6 = ''] = node.ipsOf(uid);
    expect(ipv4.split(' ')[0]).toBe(ipv6.split(' ')[0]);
  });

  test('that is gone keeps its address until the node says that its sandbox is gone', () => {
    const node = new PoolNode();
    const first = node.add('db-0');
    node.settle();
    const [had] = node.ipsOf(first.uid);
    node.remove('default/db-0', false);
    const next = node.add('db-0');
    expect(node.step()).toMatchObject({ handOuts: { succeeding: [next] }, growth: [] });
    expect(node.ipsOf(first.uid)).toEqual([had]);
    node.gone.add(first.uid);
    node.step();
    expect(node.ipsOf(next.uid)).toEqual([had]);
  });

  test('gets exactly the addresses that it reports, and is told when the pool lacks them', () => {
    const node = new PoolNode({ leastIdle: 3 });
    node.settle();
    node.knobs.leastIdle = 0;
    const [eni] = node.enis();
    const ip = addressesOf(eni ?? { id: '', status: '' }).at(-1)?.ip ?? '';
    const { uid } = node.add('a', { reported: [ip] });
    const stranger = node.add('b', { reported: ['192.0.2.1'] });
    expect(node.step()).toMatchObject({ handOuts: { stale: [stranger], unserved: [] }, growth: [] });
    expect(node.ipsOf(uid)).toEqual([`${eni?.id} ${ip}`]);
  });

  test('gets an address that was freed a moment ago only when there is no other', () => {
    const node = new PoolNode({ leastIdle: 2, mostIdle: 9 });
    const first = node.add('a');
    node.settle();
    const [had] = node.ipsOf(first.uid);
    node.remove(first.key);
    node.step();
    const others = ['b', 'c', 'd'].map((name) => node.add(name));
    node.step();
    expect(others.map(({ uid }) => node.ipsOf(uid)[0]).indexOf(had)).toBe(2);
  });
});

describe('a record that was lost', () => {
  function lost(): { node: PoolNode; running: PoolPod } {
    const node = new PoolNode({ mostIdle: 0 });
    for (const name of ['a', 'b']) node.add(name);
    const running = node.add('c');
    node.settle();
    for (const eni of node.enis()) for (const address of addressesOf(eni)) address.podUID = address.podID = '';
    for (const key of ['default/a', 'default/b']) node.remove(key);
    return { node, running };
  }

  test('gives up nothing, and hands nothing out, until a running pod has told its address', () => {
    const { node, running } = lost();
    node.present.add(running.uid);
    const { uid } = node.add('new');
    node.wait(10 * 60_000);
    expect(node.enis().flatMap((eni) => addressesOf(eni))).toHaveLength(3);
    expect(node.ipsOf(uid)).toEqual([]);
  });

  test('nor until one that is being deleted has', () => {
    const { node, running } = lost();
    node.pods.set(running.key, { ...running, mayGet: false });
    node.present.add(running.uid);
    const { uid } = node.add('new');
    node.wait(10 * 60_000);
    expect(node.enis().flatMap((eni) => addressesOf(eni))).toHaveLength(3);
    expect(node.ipsOf(uid)).toEqual([]);
  });

  test('nor while the node has sandboxes of pods that are not known', () => {
    const { node, running } = lost();
    node.remove(running.key, false);
    node.hasStrangers = true;
    const { uid } = node.add('new');
    node.wait(10 * 60_000);
    expect(node.enis().flatMap((eni) => addressesOf(eni))).toHaveLength(3);
    expect(node.ipsOf(uid)).toEqual([]);
  });
});

describe('growth', () => {
  test('fills ENIs and makes new ones side by side, each with as many addresses as it holds, for as many pods as wait (#37, #38)', () => {
    const node = new PoolNode();
    for (let at = 0; at < 25; at += 1) node.add(`p-${at}`);
    expect(node.step().growth).toEqual([
      { counts: { ipv4: 10, ipv6: 0 } },
      { counts: { ipv4: 10, ipv6: 0 } },
      { counts: { ipv4: 5, ipv6: 0 } },
    ]);
    for (let at = 25; at < 28; at += 1) node.add(`p-${at}`);
    expect(node.step().growth).toEqual([{ eniId: node.enis()[2]?.id, counts: { ipv4: 3, ipv6: 0 } }]);
  });

  test('says what the node has no room for', () => {
    const node = new PoolNode();
    for (let at = 0; at < 43; at += 1) node.add(`p-${at}`);
    node.settle();
    expect(planPool(node.view)).toMatchObject({ growth: [], missing: 3 });
    expect(node.enis()).toHaveLength(4);
  });

  test('does not ask again for what intents will bring', () => {
    const node = new PoolNode();
    node.add('a');
    const asked = { clientToken: 't', createdAt: '', attempt: 1, vSwitchID: 'vsw-1', securityGroupIDs: [], tags: {} };
    node.status = { poolIntents: [{ ...asked, eniID: '', ipv4: 1, ipv6: 0 }] };
    expect(planPool(node.view).growth).toEqual([]);
  });

  test('makes no other ENI while one that is being made has room, unless that takes too long', () => {
    const node = new PoolNode();
    node.add('p-0');
    const createdAt = new Date(node.nowMs).toISOString();
    const asked = { clientToken: 't', createdAt, attempt: 1, vSwitchID: 'vsw-1', securityGroupIDs: [], tags: {} };
    node.status = { poolIntents: [{ ...asked, eniID: '', ipv4: 1, ipv6: 0 }] };
    for (let at = 1; at < 10; at += 1) node.add(`p-${at}`);
    const plan = planPool(node.view);
    expect(plan).toMatchObject({ growth: [], againMs: node.nowMs + 15_000 });
    node.add('p-10');
    expect(planPool(node.view).growth).toEqual([{ counts: { ipv4: 1, ipv6: 0 } }]);
    node.nowMs += 15_000;
    expect(planPool(node.view).growth).toEqual([{ counts: { ipv4: 10, ipv6: 0 } }]);
  });

  test('puts together what a burst of pods needs, and gives what is idle at once', () => {
    const node = new PoolNode({ leastIdle: 1 });
    node.settle();
    for (const name of ['a', 'b', 'c']) node.add(name);
    const first = planPool({ ...node.view, wanted: undefined });
    expect(first).toMatchObject({ growth: [], againMs: node.nowMs + 50 });
    expect(first.handOuts.served).toHaveLength(1);
    const { wanted, againMs: nowMs = 0 } = first;
    const next = planPool({ ...node.view, wanted, nowMs });
    expect(next.growth).toHaveLength(1);
    // For a vSwitch that has no address at the moment, it is not put together anew.
    expect(planPool({ ...node.view, wanted: next.wanted, nowMs: nowMs + 1 }).growth).toEqual(next.growth);
  });

  test('waits longer for what only is to be idle, and no longer once a pod waits', () => {
    const node = new PoolNode({ leastIdle: 3 });
    const first = planPool({ ...node.view, wanted: undefined });
    expect(first).toMatchObject({ growth: [], againMs: node.nowMs + 2000 });
    expect(planPool({ ...node.view, wanted: first.wanted, nowMs: node.nowMs + 2000 }).growth).toHaveLength(1);
    node.add('a');
    node.nowMs += 1000;
    const next = planPool({ ...node.view, wanted: first.wanted });
    expect(next).toMatchObject({ growth: [], againMs: node.nowMs + 50 });
    expect(planPool({ ...node.view, wanted: next.wanted, nowMs: node.nowMs + 50 }).growth).toEqual([
      { counts: { ipv4: 4, ipv6: 0 } },
    ]);
  });

  test('waits no longer when the clock was set back meanwhile', () => {
    const node = new PoolNode();
    node.add('a');
    const { wanted } = planPool({ ...node.view, wanted: undefined });
    node.nowMs -= 3_600_000;
    expect(planPool({ ...node.view, wanted }).againMs).toBe(node.nowMs + 50);
    // Nor for an ENI that was asked for by a clock that is ahead.
    const asked = { clientToken: 't', attempt: 1, vSwitchID: 'vsw-1', securityGroupIDs: [], tags: {} };
    const createdAt = new Date(node.nowMs + 3_600_000).toISOString();
    node.status = { poolIntents: [{ ...asked, createdAt, eniID: '', ipv4: 1, ipv6: 0 }] };
    node.add('b');
    expect(planPool(node.view)).toMatchObject({ growth: [{ counts: { ipv4: 1, ipv6: 0 } }] });
  });

  test('warms a new node up once, whatever its pods need', () => {
    const node = new PoolNode({ warmUp: 10, mostIdle: 20, leastIdle: 1 });
    node.settle();
    expect(node.status).toMatchObject({ warmUpTarget: 10, warmUpAllocatedCount: 10, warmUpCompleted: true });
    expect(node.idle()).toBe(10);
    node.wait(30 * 60_000);
    expect(node.idle()).toBe(10);
  });
});

describe('shrinking', () => {
  test('gives up what has been idle beyond the maximum for a whole period, and not before', () => {
    const node = new PoolNode({ mostIdle: 0, syncPeriodMs: 300_000 });
    for (let at = 0; at < 6; at += 1) node.add(`p-${at}`);
    node.settle();
    for (const key of [...node.pods.keys()].slice(1)) node.remove(key);
    node.wait(240_000);
    expect(node.idle()).toBe(5);
    node.wait(61_000);
    expect(node.idle()).toBe(0);
    node.remove('default/p-0');
    node.wait(301_000);
    expect(node.enis()).toEqual([]);
  });

  test('takes whole ENIs where it can', () => {
    const node = new PoolNode({ mostIdle: 0 });
    for (let at = 0; at < 20; at += 1) node.add(`p-${at}`);
    node.settle();
    const [kept, going] = node.enis();
    for (const pod of [...node.pods.values()]) {
      if (node.ipsOf(pod.uid)[0]?.startsWith(going?.id ?? '') === true) node.remove(pod.key);
    }
    node.wait(130_000);
    expect(node.enis().map(({ id }) => id)).toEqual([kept?.id]);
  });

  test('goes down to the minimum in batches while nothing is handed out', () => {
    const reclaim = { afterMs: 120_000, intervalMs: 60_000, batchSize: 2, jitter: 0 };
    const node = new PoolNode({ mostIdle: 10, leastIdle: 10, reclaim });
    node.settle();
    node.knobs.leastIdle = 3;
    const counts = [120_000, 60_000, 60_000, 60_000, 60_000, 60_000, 600_000].map((ms) => {
      node.wait(ms);
      return node.idle();
    });
    expect(counts).toEqual([10, 8, 6, 4, 3, 3, 3]);
  });
});

const ops = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant('add' as const), pod: fc.nat(15) }),
    fc.record({ kind: fc.constant('remove' as const), pod: fc.nat(15), isReported: fc.boolean() }),
    fc.record({ kind: fc.constant('report' as const) }),
    fc.record({ kind: fc.constant('wait' as const), ms: fc.nat(400_000) }),
    fc.record({ kind: fc.constant('step' as const) }),
  ),
  { maxLength: 60 },
);

test('whatever comes: one pod an address, both families together, nothing in use is given up, and everyone is served', () => {
  const sizes = fc.record({
    leastIdle: fc.nat(6),
    spread: fc.nat(6),
    warmUp: fc.nat(8),
    isDual: fc.boolean(),
    hasReclaim: fc.boolean(),
  });
  fc.assert(
    fc.property(sizes, ops, ({ leastIdle, spread, warmUp, isDual, hasReclaim }, steps) => {
      const knobs = {
        leastIdle,
        mostIdle: leastIdle + spread,
        warmUp,
        ...(hasReclaim ? { reclaim: { afterMs: 60_000, intervalMs: 30_000, batchSize: 2, jitter: 0.1 } } : {}),
      };
      const families: Families = isDual ? FAMILIES : ['ipv4'];
      const node = new PoolNode(knobs, families);
      for (const op of steps) {
        const before = boundBy(node.status);
        if (op.kind === 'add' && !node.pods.has(`default/p-${op.pod}`)) node.add(`p-${op.pod}`);
        else if (op.kind === 'remove') node.remove(`default/p-${op.pod}`, op.isReported);
        else if (op.kind === 'report') for (const uid of before.values()) if (!isLive(node, uid)) node.gone.add(uid);
        if (op.kind === 'wait') node.wait(op.ms);
        else node.step();
        check(node, before);
      }
      for (const uid of boundBy(node.status).values()) if (!isLive(node, uid)) node.gone.add(uid);
      node.wait(30 * 60_000);
      for (const { uid } of node.pods.values()) expect(node.ipsOf(uid)).toHaveLength(families.length);
      expect(node.idle()).toBeGreaterThanOrEqual(leastIdle);
      expect(boundBy(node.status).size).toBe(node.pods.size * families.length);
    }),
    { numRuns: 300, seed: 14 },
  );
});

function isLive(node: PoolNode, uid: string): boolean {
  return [...node.pods.values()].some((pod) => pod.uid === uid);
}

/** Uid of the pod by address. */
function boundBy(status: PoolStatus): Map<string, string> {
  const addresses = Object.values(status.networkInterfaces ?? {}).flatMap((eni) => addressesOf(eni));
  return new Map(addresses.filter(isBound).map(({ ip, podUID = '' }) => [ip, podUID]));
}

function check(node: PoolNode, before: ReadonlyMap<string, string>): void {
  const after = boundBy(node.status);
  for (const [ip, uid] of before) {
    // An address changes hands only after the node's word, and what a pod has is never given up.
    if (!node.gone.has(uid)) expect(after.get(ip)).toBe(uid);
  }
  const byUid = Map.groupBy([...after], ([, uid]) => uid);
  for (const uid of byUid.keys()) expect(node.ipsOf(uid)).toHaveLength(node.families.length);
  for (const uid of byUid.keys()) expect(new Set(node.ipsOf(uid).map((text) => text.split(' ')[0])).size).toBe(1);
  expect(node.enis().length).toBeLessThanOrEqual(node.limits.enis);
  for (const eni of node.enis()) {
    for (const family of FAMILIES) {
      expect(addressesOf(eni, family).length).toBeLessThanOrEqual(node.limits.perEni[family]);
    }
  }
}
