import { describe, expect, test } from 'vitest';
import type { EniStatus } from '../ecs/eni.ts';
import { attemptTags, clientTokenOf, isOurs, ownershipTags } from './identity.ts';
import { CLUSTER, eni, NOW_MS, seen, succeeded } from './test-support/fixtures.ts';
import { nextTrunkStep, parseTrunkIntent, planTrunk, type TrunkIntent, trunkGroups } from './trunk.ts';

const plan = {
  clusterId: CLUSTER,
  nodeName: 'node-1',
  nodeUid: 'node-uid',
  attempt: 1,
  vSwitchId: 'vsw-1',
  securityGroupIds: ['sg-1', 'sg-2'],
  tags: { team: 'a' },
  nowMs: NOW_MS,
};
const intent = planTrunk(plan);

describe('the intent of a trunk', () => {
  test('survives a round trip through its annotation', () => {
    expect(parseTrunkIntent(JSON.stringify(intent))).toEqual(intent);
    expect(parseTrunkIntent(JSON.stringify({ ...intent, eniID: 'eni-1' }))).toEqual({ ...intent, eniID: 'eni-1' });
  });

  test('of an earlier version has no tags of its own', () => {
    const { tags: _tags, ...earlier } = intent;
    expect(parseTrunkIntent(JSON.stringify(earlier))).toEqual({ ...intent, tags: {} });
  });

  test.each([
    undefined,
    '',
    '{',
    'null',
    '[]',
    '{}',
    JSON.stringify({ ...intent, clientToken: '' }),
    JSON.stringify({ ...intent, clientToken: 'a'.repeat(65) }),
    JSON.stringify({ ...intent, attempt: 0 }),
    JSON.stringify({ ...intent, vSwitchID: '' }),
  ])('that is damaged counts as absent: %s', (text) => {
    expect(parseTrunkIntent(text)).toBeUndefined();
  });

  test('has a different token per node, attempt, vSwitch and time', () => {
    const tokens = [
      {},
      { nodeUid: 'again' },
      { nodeName: 'node-2' },
      { attempt: 2 },
      { vSwitchId: 'vsw-2' },
      { nowMs: NOW_MS + 1000 },
    ].map((changes) => planTrunk({ ...plan, ...changes }).clientToken);
    expect(new Set(tokens).size).toBe(tokens.length);
    expect(planTrunk(plan).clientToken).toBe(intent.clientToken);
  });
});

describe('the next step of a trunk', () => {
  const known: TrunkIntent = { ...intent, eniID: 'eni-1' };
  const next = (goal: 'bind' | 'release', view: Partial<Parameters<typeof nextTrunkStep>[0]> = {}) =>
    nextTrunkStep({
      goal,
      intent: known,
      instanceId: 'i-1',
      nodeName: 'node-1',
      bound: false,
      clusterId: CLUSTER,
      nowMs: NOW_MS,
      ...view,
    });
  const trunk = (status: EniStatus, instanceId?: string) =>
    seen(eni(status, { type: 'Trunk', ...(instanceId === undefined ? {} : { instanceId }) }));

  test('leads from the intent to the attachment', () => {
    expect(next('bind', { intent })).toEqual({ do: 'create' });
    expect(next('bind', { intent, operation: succeeded('create', 1, eni('Available')) })).toMatchObject({
      do: 'record',
    });
    expect(next('bind')).toEqual({ do: 'observe' });
    expect(next('bind', { observation: trunk('Available') })).toMatchObject({ do: 'attach' });
    expect(next('bind', { observation: trunk('InUse', 'i-1') })).toMatchObject({ do: 'done', eni: { id: 'eni-1' } });
    expect(next('bind', { observation: trunk('InUse', 'i-2') })).toMatchObject({ do: 'detach' });
  });

  test('replaces a trunk that vanished, even if it was in use', () => {
    const observation = seen(undefined, 0);
    expect(next('bind', { bound: true, observation })).toEqual({ do: 'find' });
    expect(next('bind', { bound: true, observation, operation: succeeded('find', 6000) })).toEqual({
      do: 'newAttempt',
      avoidVSwitch: false,
    });
  });

  test('releases it', () => {
    expect(next('release', { observation: trunk('InUse', 'i-1') })).toMatchObject({ do: 'detach' });
    expect(next('release', { observation: trunk('Available') })).toMatchObject({ do: 'delete' });
    expect(next('release', { observation: seen(undefined) })).toEqual({ do: 'done' });
    const foreign = seen(eni('InUse', { instanceId: 'i-1', tags: {} }));
    expect(next('release', { observation: foreign })).toMatchObject({ do: 'blocked', reason: 'EniNotOurs' });
  });
});

describe('tags and tokens', () => {
  const identity = {
    clusterId: CLUSTER,
    owner: 'default/web-0',
    ownerUid: 'u',
    interfaceName: 'eth0',
    attempt: 1,
    plannedAt: 't',
    vSwitchId: 'vsw-1',
    securityGroupIds: ['sg-1'],
  };

  test('a token fits the API and identifies one creation only', () => {
    expect(clientTokenOf(identity)).toMatch(/^[0-9a-f]{64}$/);
    expect(clientTokenOf({ ...identity, securityGroupIds: ['sg-1', 'sg-2'] })).not.toBe(clientTokenOf(identity));
    // Adjacent parts cannot be confused.
    expect(clientTokenOf({ ...identity, owner: 'default/web-01', ownerUid: '' })).not.toBe(
      clientTokenOf({ ...identity, owner: 'default/web-0', ownerUid: '1' }),
    );
  });

  test('tags identify the owner of an ENI, and find the ENI of an attempt', () => {
    const tags = ownershipTags({ clusterId: CLUSTER, owner: 'default/web-0', ownerUid: 'u', clientToken: 't' });
    expect(isOurs(tags, CLUSTER)).toBe(true);
    expect(isOurs(tags, 'another')).toBe(false);
    expect(tags).toMatchObject(attemptTags(CLUSTER, 't'));
    // A namespace may have 63 characters, a name 253, and a tag value 128.
    const long = ownershipTags({
      clusterId: CLUSTER,
      owner: `${'n'.repeat(63)}/${'p'.repeat(253)}`,
      ownerUid: 'u',
      clientToken: 't',
    });
    for (const value of Object.values(long)) expect(value.length).toBeLessThanOrEqual(128);
  });
});

test('where pods share the ENIs of a node, its trunk has their security groups, unless it is not ours', () => {
  const shown = eni('InUse', { type: 'Trunk', instanceId: 'i-1' });
  expect(trunkGroups(intent, shown, ['sg-edited'], CLUSTER)).toEqual(['sg-edited']);
  expect(trunkGroups(intent, undefined, ['sg-edited'], CLUSTER)).toEqual(intent.securityGroupIDs);
  expect(trunkGroups(intent, shown, [], CLUSTER)).toEqual(intent.securityGroupIDs);
  expect(trunkGroups(intent, { ...shown, tags: {} }, ['sg-edited'], CLUSTER)).toEqual(shown.securityGroupIds);
});
