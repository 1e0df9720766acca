import { describe, expect, test } from 'vitest';
import { PoolNode } from '../test-support/pool-node.ts';
import { placeNeeded } from './places.ts';
import { planPool } from './plan-pool.ts';

/** A node with two ENIs of ten addresses, full, and room for one of them alone. */
function crowded(): PoolNode {
  const node = new PoolNode({ mostIdle: 20 }, ['ipv4'], { enis: 2, perEni: { ipv4: 10, ipv6: 10 }, attachments: 5 });
  for (let at = 0; at < 20; at += 1) node.add(`p${at}`);
  node.settle();
  node.limits.enis = 1;
  return node;
}

/** Pods that have an address of the ENI. */
const podsOn = (node: PoolNode, eniId = '') =>
  [...node.pods.values()].filter(({ uid }) => node.ipsOf(uid).some((ip) => ip.startsWith(`${eniId} `)));

describe('an ENI whose place is needed', () => {
  test('gives nothing that others can give, and goes a look after its last pod', () => {
    const node = crowded();
    const { draining } = node.step();
    const pods = podsOn(node, draining);
    expect(pods).toHaveLength(10);
    const [first, ...others] = [...node.pods.values()].filter((pod) => !pods.includes(pod));
    expect(others).toHaveLength(9);
    for (const { key } of [...pods.slice(1), first ?? { key: '' }]) node.remove(key);
    const next = node.add('next');
    expect(node.step().handOuts.served).toEqual([next]);
    expect(podsOn(node, draining)).toEqual(pods.slice(0, 1));
    node.remove(pods[0]?.key ?? '');
    const last = planPool(node.view);
    expect(last.status.networkInterfaces?.[draining ?? '']?.status).toBe('InUse');
    expect(last.againMs).toBeGreaterThan(node.nowMs);
    node.step();
    expect(planPool(node.view).status.networkInterfaces?.[draining ?? '']?.status).toBe('Deleting');
  });

  test('stays the one that the condition names, until another has no pods', () => {
    const node = crowded();
    const { draining } = node.step();
    const message = `something else; ${placeNeeded(draining)}`;
    const condition = { type: 'PoolAsConfigured', status: 'False' as const, reason: 'EniGivesWay', message };
    node.status.conditions = [{ ...condition, lastTransitionTime: '2026-01-01T12:00:00Z' }];
    const [other] = node.enis().filter(({ id }) => id !== draining);
    const [last, ...others] = podsOn(node, other?.id);
    for (const { key } of others) node.remove(key);
    expect(node.step().draining).toBe(draining);
    expect(node.step().draining).toBe(draining);
    node.remove(last?.key ?? '');
    node.step();
    expect(node.step().draining).toBe(other?.id);
  });

  test('does not go while it is not known whether it is to be left alone', () => {
    const node = crowded();
    const { draining = '' } = node.step();
    for (const { key } of podsOn(node, draining)) node.remove(key);
    node.step();
    const statusOf = (unread: ReadonlySet<string>) =>
      planPool({ ...node.view, unread }).status.networkInterfaces?.[draining]?.status;
    expect(statusOf(new Set([draining]))).toBe('InUse');
    expect(statusOf(new Set())).toBe('Deleting');
  });

  test('serves pods that no other can serve', () => {
    const node = crowded();
    const { draining } = node.step();
    for (const { key } of podsOn(node, draining).slice(0, 5)) node.remove(key);
    const waiting = [node.add('a'), node.add('b')];
    const { handOuts } = node.step();
    expect(handOuts.served).toEqual(waiting);
    expect(podsOn(node, draining)).toHaveLength(7);
  });

  test.each([
    ['waits for those of another that are on their way', 1000, false],
    ['serves where those that are on their way are late', 20_000, true],
  ])('%s', (_, ageMs, isServed) => {
    const node = crowded();
    const { draining } = node.step();
    node.remove(podsOn(node, draining)[0]?.key ?? '');
    const createdAt = new Date(node.nowMs - ageMs).toISOString();
    const intent = {
      attempt: 1,
      clientToken: 'c',
      createdAt,
      eniID: '',
      vSwitchID: 'v',
      securityGroupIDs: [],
      tags: {},
    };
    node.status.poolIntents = [{ ...intent, ipv4: 5, ipv6: 0 }];
    const pod = node.add('next');
    const { handOuts, againMs = 0 } = planPool(node.view);
    expect(handOuts.served).toEqual(isServed ? [pod] : []);
    if (!isServed) expect(againMs).toBe(node.nowMs - ageMs + 15_000);
  });

  test('serves on while nothing may be released', () => {
    const node = crowded();
    node.mayRelease = false;
    node.remove('default/p0');
    node.step();
    node.add('next');
    const { draining, handOuts } = node.step();
    expect(draining).toBeUndefined();
    expect(handOuts.served).toHaveLength(1);
  });

  test('stays while its addresses may be those of pods that are not known', () => {
    const node = crowded();
    for (const key of [...node.pods.keys()]) node.remove(key);
    node.step();
    node.hasStrangers = true;
    const { status } = node.step();
    expect(Object.values(status.networkInterfaces ?? {}).map((eni) => eni.status)).toEqual(['InUse', 'InUse']);
  });
});
