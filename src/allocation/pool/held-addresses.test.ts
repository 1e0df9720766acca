import { describe, expect, test } from 'vitest';
import type { NodeAddress } from '../../crds/node.ts';
import { PoolNode } from '../test-support/pool-node.ts';
import { addressesOf, type Families, type PoolPod } from './view.ts';

/* Addresses that somebody may still use go to nobody else; those that nobody can use go to nobody. */

/** A node whose record does not know which of its idle addresses pods have. */
function withIdle(count: number, families?: Families): { node: PoolNode; ips: string[] } {
  const node = new PoolNode({ leastIdle: count, mostIdle: 9 }, families);
  node.settle();
  node.knobs.leastIdle = 0;
  return { node, ips: node.enis().flatMap((eni) => addressesOf(eni).map(({ ip }) => ip)) };
}

const ipsOf = (node: PoolNode, { uid }: PoolPod) => node.ipsOf(uid).map((text) => text.split(' ')[1]);

function addressOf(node: PoolNode, { uid }: PoolPod): NodeAddress {
  const found = node.enis().flatMap((eni) => addressesOf(eni).filter(({ podUID }) => podUID === uid));
  const [address] = found;
  if (address === undefined) throw new Error('the pod has no address');
  return address;
}

describe('what a pod reports', () => {
  test('is kept for it, although it is being deleted or is not for the pool any more', () => {
    const { node, ips } = withIdle(2);
    const leaving = node.add('leaving', { reported: ips.slice(0, 1), mayGet: false });
    const next = node.add('next');
    const last = node.add('last');
    node.step();
    expect(ipsOf(node, leaving)).toEqual(ips.slice(0, 1));
    expect(ipsOf(node, next)).toEqual(ips.slice(1));
    node.remove(leaving.key, false);
    node.step();
    expect(ipsOf(node, last)).not.toEqual(ips.slice(0, 1));
    node.gone.add(leaving.uid);
    node.step();
    expect(ipsOf(node, leaving)).toEqual([]);
  });

  test('is kept for it beside what the record gives it', () => {
    const { node, ips } = withIdle(3);
    const pod = node.add('a');
    node.step();
    const given = ipsOf(node, pod);
    const used = ips.filter((ip) => !given.includes(ip)).slice(0, 1);
    node.pods.set(pod.key, { ...pod, reported: used });
    const next = node.add('next');
    node.step();
    expect(new Set(ipsOf(node, pod))).toEqual(new Set([...given, ...used]));
    expect(ipsOf(node, next)).not.toEqual(used);
  });

  test('is kept for it, although the pool lacks a part of it', () => {
    const { node, ips } = withIdle(2);
    const pod = node.add('a', { reported: ['192.0.2.1', ...ips.slice(0, 1)] });
    const next = node.add('next');
    for (const _ of [1, 2]) expect(node.step().handOuts.stale).toEqual([pod]);
    expect(ipsOf(node, next)).toEqual(ips.slice(1));
  });

  test('is not kept for it when no sandbox can get it any more, and it has another', () => {
    const { node } = withIdle(2);
    const pod = node.add('a');
    node.step();
    const [former = ''] = ipsOf(node, pod);
    addressOf(node, pod).status = 'Invalid';
    // Its sandbox is not known yet.
    node.step();
    const others = ipsOf(node, pod);
    expect(others).not.toContain(former);
    const told = { ...pod, reported: [former] };
    node.pods.set(pod.key, told);
    expect(node.step().handOuts.stale).toEqual([told]);
    expect(ipsOf(node, pod)).toEqual(others);
  });
});

test('an address that only names its pod is kept while a pod of that name is there, also one that is being deleted', () => {
  const { node } = withIdle(1);
  const pod = node.add('a');
  node.step();
  delete addressOf(node, pod).podUID;
  node.pods.set(pod.key, { ...pod, mayGet: false });
  expect(node.step().releases.freed).toEqual([]);
});

describe('an address that the cloud took away', () => {
  test('is not inherited', () => {
    const { node } = withIdle(1);
    const first = node.add('db-0');
    node.step();
    const address = addressOf(node, first);
    address.status = 'Invalid';
    node.present.add(first.uid);
    node.remove(first.key);
    const next = node.add('db-0');
    node.settle();
    expect(ipsOf(node, next)).toHaveLength(1);
    expect(ipsOf(node, next)).not.toEqual([address.ip]);
  });

  test.each(['Deleting', 'Valid'] as const)('is not inherited from an ENI that is Deleting: %s', (status) => {
    const { node } = withIdle(1);
    const first = node.add('db-0');
    node.step();
    node.present.add(first.uid);
    const [eni] = node.enis();
    addressOf(node, first).status = status === 'Valid' ? 'Valid' : 'Invalid';
    if (eni !== undefined) eni.status = 'Deleting';
    node.remove(first.key);
    const next = node.add('db-0');
    node.settle();
    expect(node.ipsOf(next.uid)[0]?.split(' ')[0]).not.toBe(eni?.id);
  });

  test('is replaced for a pod that has no sandbox yet, and for no other', () => {
    const { node } = withIdle(2);
    const waiting = node.add('waiting');
    const running = node.add('running');
    node.step();
    node.present.add(running.uid);
    const [lost, kept] = [addressOf(node, waiting), addressOf(node, running)];
    lost.status = 'Invalid';
    kept.status = 'Invalid';
    node.settle();
    expect(ipsOf(node, running)).toEqual([kept.ip]);
    expect(addressOf(node, waiting)).toMatchObject({ status: 'Valid' });
    expect(ipsOf(node, waiting)).not.toEqual([lost.ip]);
  });

  test('is replaced with what is left of its pair, once the node says that no sandbox has that', () => {
    const { node } = withIdle(2, ['ipv4', 'ipv6']);
    const pod = node.add('a');
    node.step();
    const before = ipsOf(node, pod);
    addressOf(node, pod).status = 'Invalid';
    node.settle();
    expect(ipsOf(node, pod)).toEqual(before);
    node.gone.add(pod.uid);
    node.settle();
    expect(ipsOf(node, pod)).toHaveLength(2);
    expect(ipsOf(node, pod).filter((ip) => before.includes(ip))).toEqual([]);
  });
});
