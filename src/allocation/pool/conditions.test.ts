import { expect, test } from 'vitest';
import type { NodeEni } from '../../crds/node.ts';
import type { FailureKind } from '../../ecs/failure.ts';
import type { Operation } from '../operation.ts';
import {
  erdmaUnmet,
  poolAsConfigured,
  poolReady,
  type Statement,
  shortfallStatement,
  sizeBeyond,
  sufficientIp,
  takenByOthers,
} from './conditions.ts';
import { withOutcome } from './eni-conditions.ts';
import { poolWaits } from './waits.ts';

const limits = { enis: 3, perEni: { ipv4: 10, ipv6: 10 }, attachments: 5 };
const statementOf = (why: 'nodeFull' | 'vSwitchFull' | 'refused') =>
  shortfallStatement(why, { limits, vSwitchIds: ['vsw-1'], missedZone: undefined, refusal: undefined });
const full = statementOf('nodeFull');

test('a shortage is said on the Node CR with its reason, and on the Kubernetes node', () => {
  expect(poolReady(false, full, 'PoolServes')).toMatchObject({ status: 'False', reason: 'NodeFull' });
  expect(sufficientIp(false, full)).toMatchObject({
    status: 'False',
    reason: 'InsufficientIP',
    message: 'the node has all the addresses that it can hold: 3 ENIs with 10 each',
  });
});

test('what cannot be told yet leaves the conditions as they are', () => {
  expect(poolReady(undefined, full, 'VSwitchFull')).toBeUndefined();
  expect(sufficientIp(undefined, full)).toBeUndefined();
  // A new node is told to serve until it is known better.
  expect(poolReady(undefined, full, undefined)).toMatchObject({ status: 'True' });
  expect(poolReady(undefined, full, 'PoolNotDescribed')).toMatchObject({ status: 'True' });
});

test('vSwitches in other zones are an error of the configuration', () => {
  const about = { limits, vSwitchIds: ['vsw-1'], missedZone: 'h', refusal: undefined };
  expect(shortfallStatement('vSwitchFull', about)).toEqual({
    reason: 'ConfigError',
    message: 'none of vsw-1 is in zone h of the node',
  });
});

test('everything that the node cannot have is said, the gravest first', () => {
  const nothing = {
    problem: undefined,
    dualStack: undefined,
    erdma: undefined,
    small: undefined,
    size: undefined,
    place: undefined,
  };
  expect(poolAsConfigured(nothing)).toMatchObject({ status: 'True', reason: 'AsConfigured' });
  expect(poolAsConfigured({ ...nothing, small: 'too small', dualStack: 'no IPv6' })).toMatchObject({
    status: 'False',
    reason: 'DualStackNotSupported',
    message: 'no IPv6; too small',
  });
});

test.each([
  [{ leastIdle: 46, warmUp: 0 }, 'min_pool_size is 46, but the node has room for 45 addresses of pods'],
  [{ leastIdle: 5, warmUp: 100 }, 'ip_warm_up_size is 100, but the node has room for 45 addresses of pods'],
  [{ leastIdle: 45, warmUp: 45 }, undefined],
])('sizes beyond the node: %j', (sizes, line) => {
  expect(sizeBeyond({ mostIdle: 0, syncPeriodMs: 0, ...sizes }, 45)).toBe(line);
});

test('the places of ENIs that are left alone are those of others', () => {
  const rules = { families: ['ipv4' as const], limits: { enis: 3, perEni: { ipv4: 15, ipv6: 1 }, attachments: 5 } };
  const eni = (id: string, more: Partial<NodeEni> = {}): NodeEni => ({
    ...{ id, status: 'InUse', networkInterfaceType: 'Secondary', networkInterfaceTrafficMode: 'Standard' },
    ...more,
  });
  const enis = { a: eni('a'), b: eni('b'), c: eni('c', { unschedulable: true }) };
  expect(takenByOthers(enis, rules)).toBe(15);
  const sizes = { mostIdle: 0, syncPeriodMs: 0, leastIdle: 40, warmUp: 0 };
  expect(sizeBeyond(sizes, 45 - takenByOthers(enis, rules))).toContain('room for 30 addresses');
  // Those for RDMA have places of their own.
  const mode = { networkInterfaceTrafficMode: 'HighPerformance' as const, unschedulable: true };
  expect(takenByOthers({ d: eni('d', mode) }, rules)).toBe(0);
});

test('a daemon that asks for ERDMA is told', () => {
  const eni = { vSwitchOptions: [], securityGroupIDs: [], vSwitchSelectPolicy: 'most' as const };
  expect(erdmaUnmet({ eni: { ...eni, enableERDMA: true } })).toContain('enableERDMA');
  expect(erdmaUnmet({ eni })).toBeUndefined();
});

test('each pod without an address is told why', () => {
  const pod = (name: string, reported: string[] = []) => ({
    key: `default/${name}`,
    uid: name,
    reported,
    mayGet: true,
  });
  const handOuts = {
    ...{ unserved: [pod('a')], succeeding: [pod('b')], stale: [pod('c', ['10.0.0.9'])] },
    ...{ untold: [pod('d')], held: [pod('e')] },
  };
  const reasons = (shortage?: Statement) =>
    poolWaits(handOuts, shortage).map(({ pod: { uid }, type, reason }) => `${uid} ${type} ${reason}`);
  expect(reasons()).toEqual([
    'a Normal AddressAwaited',
    'd Normal AddressesUntold',
    'e Normal AddressesUntold',
    'b Warning FormerPodNotReleased',
    'c Warning AddressUnavailable',
  ]);
  expect(reasons(full)[0]).toBe('a Warning NodeFull');
});

const ENI: NodeEni = { id: 'eni-1', status: 'InUse' };
const failed = (atMs: number, kind: FailureKind, message: string): Operation => ({
  ...{ kind: 'assignIpv4', state: 'failed', atMs, failures: 1 },
  failure: { kind, code: 'C', message },
});

test('conditions of an ENI stay until a call succeeds, and equal failures do not change them', () => {
  const once = withOutcome(ENI, failed(0, 'forbidden', 'no (request id 1)'));
  expect(once.conditions).toEqual({
    OperationErr: { observedTime: '1970-01-01T00:00:00Z', message: 'no (request id 1)' },
  });
  expect(withOutcome(once, failed(60_000, 'forbidden', 'no (request id 2)'))).toBe(once);
  expect(withOutcome(once, { kind: 'assignIpv4', state: 'running', sinceMs: 0 })).toBe(once);
  expect(withOutcome(once, undefined)).toBe(once);
  const both = withOutcome(once, failed(0, 'exhausted', 'x'.repeat(300)));
  expect(both.conditions?.['InsufficientIP']?.message).toHaveLength(256);
  expect(Object.keys(both.conditions ?? {})).toEqual(['OperationErr', 'InsufficientIP']);
  expect(withOutcome(both, { kind: 'unassignIpv4', state: 'succeeded', atMs: 0 })).toEqual(ENI);
});

test('an address that somebody else gave back is no failure', () => {
  expect(withOutcome(ENI, failed(0, 'unassigned', 'gone'))).toBe(ENI);
});
