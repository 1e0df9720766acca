import { describe, expect, test } from 'vitest';
import type { NodeEni, PoolIntent } from '../../crds/node.ts';
import { FRESH_MS } from '../interface-step.ts';
import { CLUSTER, eni as cloudEni, failed, NOW_MS, running, seen, succeeded } from '../test-support/fixtures.ts';
import { nextPoolEniStep, type PoolEniStep, type PoolEniView } from './eni-step.ts';

const HOUR_MS = 3_600_000;

function intent(changes: Partial<PoolIntent> = {}): PoolIntent {
  return {
    clientToken: 'token',
    createdAt: new Date(NOW_MS - HOUR_MS).toISOString(),
    attempt: 1,
    eniID: 'eni-1',
    vSwitchID: 'vsw-1',
    securityGroupIDs: ['sg-1', 'sg-2'],
    tags: {},
    ipv4: 3,
    ipv6: 0,
    ...changes,
  };
}

function record(changes: Partial<NodeEni> = {}): NodeEni {
  return {
    id: 'eni-1',
    status: 'InUse',
    macAddress: '00:16:3e:00:00:01',
    ipv4CIDR: '10.0.0.0/16',
    ipv4: {
      '10.0.0.5': { ip: '10.0.0.5', primary: true, status: 'Valid' },
      '10.0.0.6': { ip: '10.0.0.6', primary: false, status: 'Deleting' },
    },
    ...changes,
  };
}

function step(view: Partial<PoolEniView>): PoolEniStep {
  const nothing = { eni: undefined, intent: undefined, observation: undefined, operation: undefined };
  return nextPoolEniStep(
    { ...nothing, nodeName: 'node-1', instanceId: 'i-1', spec: {}, quietSinceMs: NOW_MS, heldUntilMs: NOW_MS, ...view },
    CLUSTER,
    NOW_MS,
  );
}

const attached = cloudEni('InUse', { instanceId: 'i-1', ipv4: ['10.0.0.5', '10.0.0.6'] });

describe('an ENI on its way', () => {
  test('is created with the token of its intent, attached to the instance of the node, and then taken in', () => {
    expect(step({ intent: intent({ eniID: '' }) })).toEqual({ do: 'create' });
    const eni = record({ status: 'Attaching', ipv4: {} });
    const created = cloudEni('Available');
    expect(step({ eni, intent: intent(), observation: seen(created) })).toEqual({ do: 'attach', eni: created });
    expect(step({ eni, intent: intent(), observation: seen(attached) })).toEqual({ do: 'attached', eni: attached });
  });

  test('is given up when it is marked: detached, then deleted', () => {
    const eni = record({ status: 'Deleting' });
    expect(step({ eni, observation: seen(attached) })).toEqual({ do: 'detach', eni: attached });
    expect(step({ eni, observation: seen(cloudEni('Available')) })).toMatchObject({ do: 'delete' });
    expect(step({ eni, observation: seen(undefined) })).toEqual({ do: 'done' });
  });

  test('is not given up when it is not ours', () => {
    const foreign = { ...attached, tags: {} };
    const eni = record({ status: 'Deleting' });
    const taken = step({ eni, observation: seen(foreign) });
    expect(taken).toMatchObject({ do: 'shown', eni: { status: 'InUse', unschedulable: true } });
    expect(step({ eni, observation: seen(foreign), leavingSinceMs: NOW_MS - HOUR_MS })).toMatchObject({
      do: 'foreign',
    });
  });
});

describe('an intent for addresses', () => {
  const eni = record({ ipv4: {} });

  test('asks for each family by a token of its own, IPv4 first', () => {
    const first = step({ eni, intent: intent({ ipv6: 2 }) });
    const second = step({ eni, intent: intent({ ipv4: 0, ipv6: 2 }) });
    expect(first).toMatchObject({ do: 'assign', eniId: 'eni-1', family: 'ipv4', count: 3 });
    expect(second).toMatchObject({ do: 'assign', eniId: 'eni-1', family: 'ipv6', count: 2 });
    expect(first).toMatchObject({ clientToken: 'token' });
    // As long as the API allows.
    expect(second).toMatchObject({ clientToken: expect.stringMatching(/^[0-9a-f]{64}$/) });
  });

  test('waits while the call is in progress, and says what it gave', () => {
    expect(step({ eni, intent: intent(), operation: running('assignIpv4') })).toEqual({ do: 'waitForCall' });
    const operation = { ...succeeded('assignIpv4', 100), addresses: ['10.0.0.8'] };
    expect(step({ eni, intent: intent(), operation })).toEqual({
      do: 'arrived',
      eniId: 'eni-1',
      family: 'ipv4',
      ips: ['10.0.0.8'],
    });
  });

  test('asks again with the same token when the answer was lost, and ends when the cloud refuses (#3)', () => {
    const lost = (ageMs: number) => failed('assignIpv4', 'unavailable', { ageMs });
    expect(step({ eni, intent: intent(), operation: lost(100) })).toMatchObject({ do: 'pause' });
    const first = step({ eni, intent: intent() });
    expect(first).toMatchObject({ do: 'assign' });
    expect(step({ eni, intent: intent(), operation: lost(2000) })).toEqual(first);
    for (const kind of ['exhausted', 'limit', 'token', 'invalid'] as const) {
      expect(step({ eni, intent: intent(), operation: failed('assignIpv4', kind) }).do).toBe('refused');
    }
  });

  test('that is older than a token is trusted takes in what the ENI has', () => {
    const old = intent({ createdAt: new Date(NOW_MS - 13 * HOUR_MS).toISOString() });
    const known = record({ ipv4: { '10.0.0.5': { ip: '10.0.0.5', primary: true, status: 'Valid' } } });
    expect(step({ eni: known, intent: old })).toEqual({ do: 'observe' });
    expect(step({ eni: known, intent: old, observation: seen(attached) })).toMatchObject({
      do: 'arrived',
      ips: ['10.0.0.6'],
    });
  });
});

describe('an address that is marked', () => {
  test('is given back only when the cloud showed it a moment ago', () => {
    expect(step({ eni: record() })).toEqual({ do: 'observe' });
    expect(step({ eni: record(), observation: seen(attached, FRESH_MS + 1) })).toEqual({ do: 'observe' });
    expect(step({ eni: record(), observation: seen(attached) })).toEqual({
      do: 'unassign',
      eniId: 'eni-1',
      family: 'ipv4',
      ips: ['10.0.0.6'],
    });
  });

  test('is dropped once the cloud does not show it any more', () => {
    const before = { eni: record(), operation: succeeded('unassignIpv4', 100) };
    expect(step({ ...before, observation: seen(attached, 300) })).toEqual({ do: 'observe' });
    const after = { ...attached, ipv4: ['10.0.0.5'] };
    expect(step({ ...before, observation: seen(after, 50) })).toEqual({
      do: 'returned',
      eniId: 'eni-1',
      ips: ['10.0.0.6'],
    });
  });

  test('stays in the record as long as a call without an answer may take it away once more', () => {
    const before = { eni: record(), operation: succeeded('unassignIpv4', 20_000), quietSinceMs: NOW_MS - 20_000 };
    const gone = { ...attached, ipv4: ['10.0.0.5'] };
    const untilMs = NOW_MS + 1;
    // However old the observation, and after the lag of a describe, too.
    for (const ageMs of [50, 15_000]) {
      const view = { ...before, observation: seen(gone, ageMs), heldUntilMs: untilMs };
      expect(step(view)).toEqual({ do: 'held', untilMs });
      expect(step({ ...view, eni: record({ unschedulable: true }) })).toMatchObject({ do: 'shown' });
    }
    // The cloud has given the ENI the same address again.
    expect(step({ ...before, observation: seen(attached), heldUntilMs: untilMs }).do).toBe('unassign');
    expect(step({ ...before, observation: seen(gone) })).toMatchObject({ do: 'returned', ips: ['10.0.0.6'] });
  });

  test('is looked at again when the cloud says that one of them is not assigned', () => {
    const operation = failed('unassignIpv4', 'unassigned', { ageMs: 100 });
    expect(step({ eni: record(), operation, observation: seen(attached, 300) })).toEqual({ do: 'observe' });
  });

  test('stays while a pod has it', () => {
    const eni = record();
    Object.assign(eni.ipv4?.['10.0.0.6'] ?? {}, { podID: 'default/a', podUID: 'uid-a' });
    expect(step({ eni, observation: seen(attached) })).toEqual({ do: 'done' });
  });
});
