import { expect, test } from 'vitest';
import { acrossNodes, onOneNode } from './pairs.ts';
import type { PodRow } from './pod-record.ts';

const pod = (name: string, node: string, vlan: string): PodRow => ({
  name,
  node,
  vlan,
  app: 'web',
  phase: 'Running',
  address: '10.10.0.2',
  eniId: 'eni-a',
  trunkId: 'eni-t',
  vSwitch: 'vsw-pods',
  tookMs: 2000,
  served: true,
});

const [a, b, c] = [pod('a', 'node-1', '1'), pod('b', 'node-2', '1'), pod('c', 'node-2', '2')];

test('pods on different nodes', () => {
  expect(acrossNodes([a, b, c])).toEqual({ from: a, to: c });
  expect(acrossNodes([a, b])).toEqual({ from: a, to: b });
  expect(acrossNodes([b, c])).toBeUndefined();
  expect(acrossNodes([])).toBeUndefined();
});

test('pods on one node', () => {
  expect(onOneNode([a, b, c])).toEqual({ from: b, to: c });
  expect(onOneNode([a, b])).toBeUndefined();
});
