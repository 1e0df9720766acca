import { describe, expect, test } from 'vitest';
import { PoolNode } from '../test-support/pool-node.ts';
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
  test('gives nothing, and goes a look after its last pod', () => {
    const node = crowded();
    const { draining } = node.step();
    const pods = podsOn(node, draining);
    expect(pods).toHaveLength(10);
    for (const { key } of pods.slice(1)) node.remove(key);
    const waiting = node.add('next');
    expect(node.step().handOuts.unserved).toEqual([waiting]);
    node.remove(pods[0]?.key ?? '');
    const last = planPool(node.view);
    expect(last.status.networkInterfaces?.[draining ?? '']?.status).toBe('InUse');
    expect(last.againMs).toBeGreaterThan(node.nowMs);
    node.step();
    expect(planPool(node.view).status.networkInterfaces?.[draining ?? '']?.status).toBe('Deleting');
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
