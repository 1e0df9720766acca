import { expect, test } from 'vitest';
import { nodeSchema } from '../crds/node.ts';
import { createStyle } from '../util/terminal/style.ts';
import { poolLines, poolReport } from './pool.ts';

const NOW_MS = Date.parse('2026-03-01T10:00:00Z');
const address = (ip: string, more: object = {}) => ({ [ip]: { ip, primary: false, status: 'Valid', ...more } });
const inUse = {
  ...{ status: 'InUse', macAddress: 'm', vSwitchID: 'vsw-1', ipv4CIDR: '10.0.0.0/16' },
  ...{ networkInterfaceType: 'Secondary', networkInterfaceTrafficMode: 'Standard' },
};

const node = nodeSchema.parse({
  metadata: { name: 'node-1' },
  spec: {
    nodeMetadata: { regionID: 'r', instanceType: 'ecs.g7.xlarge', instanceID: 'i-1', zoneID: 'h' },
    nodeCap: { adapters: 4, ipv4PerAdapter: 15, ipv6PerAdapter: 15 },
    eni: { vSwitchOptions: ['vsw-1'], securityGroupIDs: ['sg-1'], vSwitchSelectPolicy: 'most', enableIPv4: true },
    pool: { maxPoolSize: 1, minPoolSize: 0 },
  },
  status: {
    networkInterfaces: {
      'eni-1': {
        ...{ id: 'eni-1', ...inUse },
        ipv4: {
          ...address('10.0.0.1', { primary: true, podID: 'shop/a', podUID: 'u1' }),
          ...address('10.0.0.2'),
          ...address('10.0.0.3', { status: 'Deleting' }),
        },
        conditions: { OperationErr: { observedTime: '2026-03-01T09:58:00Z', message: 'no' } },
      },
      'eni-2': { id: 'eni-2', ...inUse, ipv4: address('10.0.0.9', { primary: true }) },
    },
    poolIntents: [
      {
        ...{ clientToken: 't', createdAt: '2026-03-01T09:59:57Z', attempt: 1, eniID: '', vSwitchID: 'vsw-1', tags: {} },
        ...{ securityGroupIDs: [], ipv4: 3, ipv6: 0 },
      },
    ],
    conditions: [
      {
        ...{ type: 'PoolReady', status: 'False', reason: 'CloudError', message: 'no' },
        lastTransitionTime: '2026-03-01T09:59:00Z',
      },
    ],
  },
});

const report = poolReport(node, {
  resting: [{ ip: '10.0.0.2', freedAt: '2026-03-01T09:59:50Z' }],
  waiting: [{ pod: 'shop/b', reason: 'CloudError', message: 'no', since: '2026-03-01T09:59:00Z' }],
  unconfirmed: [{ ip: '10.0.0.1', pod: 'shop/a', since: '2026-03-01T09:50:00Z' }],
  surplusSince: '2026-03-01T09:59:00Z',
});

test('the addresses of a node, what it asks for, and what a shrink would give up', () => {
  expect(report.size).toEqual({
    idle: 2,
    leastIdle: 0,
    mostIdle: 1,
    enis: 2,
    mostEnis: 3,
    perEni: 15,
    syncPeriodMs: 120_000,
  });
  expect(report.addresses.map(({ ip, state, pod }) => [ip, state, pod])).toEqual([
    ['10.0.0.1', 'bound', 'shop/a'],
    ['10.0.0.2', 'resting', undefined],
    ['10.0.0.3', 'releasing', undefined],
    ['10.0.0.9', 'idle', undefined],
  ]);
  expect(report.shrink).toEqual({
    surplus: { enis: ['eni-2'], addresses: [], at: '2026-03-01T10:01:00Z', unpaired: 0 },
  });
  expect(report.growing).toMatchObject([{ eniID: '', ipv4: 3 }]);
});

test('where pools are off, nothing is said to be kept or to go', () => {
  const since = { lastTransitionTime: '2026-03-01T09:59:00Z' };
  const off = { type: 'PoolReady', status: 'False', reason: 'PoolOff', message: 'off', ...since } as const;
  const shown = poolReport({ ...node, status: { ...node.status, conditions: [off] } }, undefined);
  expect(shown.shrink).toEqual({});
  expect(shown.size).toBeUndefined();
  expect(shown.addresses).toHaveLength(4);
});

test('without a leader it is not known who waits and what rests', () => {
  const known = poolReport(node, undefined);
  expect(known).not.toHaveProperty('waiting');
  expect(known.addresses[1]?.state).toBe('idle');
});

test('what is printed', () => {
  const screen = { width: Number.POSITIVE_INFINITY, style: createStyle(false) };
  expect(poolLines(report, screen, NOW_MS)).toEqual([
    'Node      node-1, ecs.g7.xlarge',
    'ENIs      2 of 3, each with up to 15 addresses',
    'Idle      2; at least 0 and at most 1 are kept',
    'Says      PoolReady=False CloudError: no',
    'Growing   a new ENI in vsw-1: 3 IPv4 addresses, asked for 3s ago',
    'Shrinks   beyond the maximum, in 60s: eni-2',
    'Failed    eni-1 OperationErr 2m ago: no',
    'Waiting   shop/b, for 60s: CloudError: no',
    'Held      10.0.0.1, as the node has not said for 10m that the sandbox of shop/a is gone',
    '',
    'ENI    VSWITCH  ADDRESS             STATE      POD',
    'eni-1  vsw-1    10.0.0.1 (primary)  bound      shop/a',
    'eni-1  vsw-1    10.0.0.2            resting    -',
    'eni-1  vsw-1    10.0.0.3            releasing  -',
    'eni-2  vsw-1    10.0.0.9 (primary)  idle       -',
  ]);
});
