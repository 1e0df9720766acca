import { expect, test } from 'vitest';
import { isBound, type PodRecord, podEniSchema, podRow, podSchema } from './pod-record.ts';

const pod = (uid: string, nodeName?: string) =>
  podSchema.parse({ metadata: { name: 'database-0', uid, labels: { app: 'database' } }, spec: { nodeName } });

const podEni = (uid: string, node: string, phase: string, deletionTimestamp?: string) =>
  podEniSchema.parse({
    metadata: { name: 'database-0', annotations: { 'k8s.aliyun.com/pod-uid': uid }, deletionTimestamp },
    spec: {
      allocations: [{ ipv4: '10.10.0.4', eni: { id: 'eni-a', vSwitchID: 'vsw-pods' } }],
      target: { nodeName: node, instanceID: 'i-1', trunkENIID: 'eni-trunk' },
    },
    status: { phase, eniInfos: { 'eni-a': { vid: phase === 'Bind' ? 3 : 0 } } },
  });

const record = (fields: Partial<PodRecord>): PodRecord => ({
  name: 'database-0',
  app: 'database',
  pod: undefined,
  podEni: undefined,
  lastPodEni: fields.podEni,
  createdMs: 1000,
  boundMs: undefined,
  runningMs: undefined,
  ...fields,
});

test('before there is a PodENI', () => {
  expect(podRow(record({ pod: pod('a') }), 1500)).toMatchObject({ phase: 'Pending', node: '', eniId: '', tookMs: 500 });
});

test('in Bind for this pod', () => {
  const bound = record({ pod: pod('a', 'node-1'), podEni: podEni('a', 'node-1', 'Bind'), boundMs: 3000 });
  expect(isBound(bound)).toBe(true);
  expect(podRow(bound, 9000)).toMatchObject({
    phase: 'Bind',
    node: 'node-1',
    address: '10.10.0.4',
    eniId: 'eni-a',
    trunkId: 'eni-trunk',
    vlan: '3',
    vSwitch: 'vsw-pods',
    tookMs: 2000,
    served: true,
  });
});

test('followed until it runs: Bind is on the way', () => {
  const bound = record({ pod: pod('a', 'node-1'), podEni: podEni('a', 'node-1', 'Bind'), boundMs: 3000 });
  expect(podRow(bound, 9000, 'Running')).toMatchObject({ phase: 'Bind', tookMs: 8000, served: false });
  const running = { ...bound, runningMs: 5000 };
  expect(podRow(running, 9000, 'Running')).toMatchObject({ phase: 'Running', tookMs: 4000, served: true });
  const detaching = { ...running, podEni: podEni('a', 'node-1', 'Detaching') };
  expect(podRow(detaching, 9000, 'Running')).toMatchObject({ phase: 'Detaching' });
});

test('in Bind, but for the pod that had the name before, on the node that it was on', () => {
  const moving = record({ pod: pod('b', 'node-2'), podEni: podEni('a', 'node-1', 'Bind') });
  expect(isBound(moving)).toBe(false);
  expect(podRow(moving, 2000)).toMatchObject({ node: 'node-1 → node-2', served: false });
});

test('detached: VLAN id 0 is none', () => {
  expect(podRow(record({ podEni: podEni('a', 'node-1', 'Unbind') }), 2000)).toMatchObject({
    phase: 'Unbind',
    vlan: '',
  });
});

test('being deleted, and gone: what it was is still known', () => {
  const last = podEni('a', 'node-1', 'Bind', '2026-01-01T00:00:00Z');
  expect(podRow(record({ podEni: last }), 2000)).toMatchObject({ phase: 'Deleting', eniId: 'eni-a' });
  expect(podRow(record({ lastPodEni: last }), 2000)).toMatchObject({ phase: 'gone', eniId: 'eni-a', node: 'node-1' });
});
