import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type PodEni, podEniSchema } from '../crds/pod-eni.ts';
import { type NetworkingStats, PodNetworkingStats, podProgress } from './pod-networking-stats.ts';

const GROUPS = ['sg-1', 'sg-2'];

interface Wish {
  name: string;
  networking?: string;
  phase?: string;
  groups?: readonly string[];
  reason?: string;
  generation?: number;
  observed?: number;
  deleted?: boolean;
}

function record({
  name,
  networking = 'web',
  phase = 'Bind',
  groups = GROUPS,
  reason,
  generation,
  observed,
  deleted,
}: Wish): PodEni {
  const condition = {
    type: 'Ready',
    status: 'False',
    lastTransitionTime: '2026-01-01T00:00:00Z',
    message: `because ${reason}`,
  };
  return podEniSchema.parse({
    metadata: {
      name,
      namespace: 'default',
      generation: generation ?? 1,
      ...(deleted === true ? { deletionTimestamp: '2026-01-01T00:00:00Z' } : {}),
    },
    spec: {
      allocations: [
        {
          eni: { id: `eni-${name}`, vSwitchID: 'vsw-1', securityGroupIDs: groups },
          intent: { attempt: 1, clientToken: 't', createdAt: '2026-01-01T00:00:00Z', networking },
        },
      ],
    },
    status: {
      phase,
      observedGeneration: observed ?? generation ?? 1,
      ...(reason === undefined ? {} : { conditions: [{ ...condition, reason }] }),
    },
  });
}

function plain({ pods, reserved, failing, rollout }: NetworkingStats) {
  const { updated, changing, outdated } = rollout;
  return {
    pods,
    reserved: Object.fromEntries(reserved),
    failing: [...failing.keys()].sort(),
    updated,
    changing: [...changing].sort(),
    outdated: [...outdated].sort(),
  };
}

test.each([
  [{ phase: 'Bind' }, 'bound'],
  [{ phase: 'Bind', reason: 'ChangingSecurityGroups' }, 'bound'],
  [{ phase: 'Bind', reason: 'EniLost' }, 'failed'],
  [{ phase: '' }, 'starting'],
  [{ phase: '', reason: 'Attaching' }, 'starting'],
  [{ phase: '', reason: 'VSwitchFull' }, 'waiting'],
  [{ phase: '', reason: 'WaitingForQuota' }, 'waiting'],
  [{ phase: '', reason: 'CloudError' }, 'failed'],
  [{ phase: '', reason: 'OfAnotherVersion' }, 'starting'],
  [{ phase: 'Binding' }, 'starting'],
  [{ phase: 'Unbind', reason: 'Reserved' }, 'reserved'],
  [{ phase: 'Unbind', reason: 'NoMemberSlot' }, 'waiting'],
  [{ phase: 'Detaching' }, 'releasing'],
  [{ phase: 'Bind', deleted: true }, 'releasing'],
])('a record with %j counts as %s', (wish, progress) => {
  expect(podProgress(record({ name: 'a', ...wish }))).toBe(progress);
});

test('counts by PodNetworking and reports whose count changed', () => {
  const changed: string[] = [];
  const stats = new PodNetworkingStats((name) => changed.push(name));
  stats.setSecurityGroups('web', GROUPS, () => []);
  stats.put(record({ name: 'a' }));
  stats.put(record({ name: 'b', networking: 'db', phase: 'Unbind' }));
  stats.put(record({ name: 'a' }));
  expect(changed).toEqual(['web', 'db']);
  expect(stats.of('web').pods.bound).toBe(1);
  expect([...stats.of('db').reserved]).toEqual([['vsw-1', 1]]);
  stats.remove(record({ name: 'b', networking: 'db' }));
  expect(plain(stats.of('db'))).toEqual(plain(stats.of('none')));
  stats.put(record({ name: 'a', networking: 'db' }));
  expect([stats.of('web').pods.bound, stats.of('db').pods.bound]).toEqual([0, 1]);
});

test('an edit makes running pods outdated, and each is changing until an observation shows that the cloud agrees', () => {
  const stats = new PodNetworkingStats(() => {});
  const records = [record({ name: 'a' }), record({ name: 'b' }), record({ name: 'kept', phase: 'Unbind' })];
  for (const each of records) stats.put(each);
  expect(plain(stats.of('web'))).toMatchObject({ updated: 0, outdated: [] });
  stats.setSecurityGroups('web', ['sg-2', 'sg-1'], () => records);
  expect(plain(stats.of('web'))).toMatchObject({ updated: 2, outdated: [] });
  stats.setSecurityGroups('web', ['sg-3'], () => records);
  expect(plain(stats.of('web'))).toMatchObject({ updated: 0, outdated: ['default/a', 'default/b'] });
  stats.put(record({ name: 'a', groups: ['sg-3'], generation: 2, observed: 1 }));
  expect(plain(stats.of('web'))).toMatchObject({ changing: ['default/a'], outdated: ['default/b'] });
  stats.put(record({ name: 'a', groups: ['sg-3'], generation: 2 }));
  expect(plain(stats.of('web'))).toMatchObject({ updated: 1, changing: [], outdated: ['default/b'] });
});

test('incremental counts equal a full recount', () => {
  const wish = fc.record({
    name: fc.constantFrom('a', 'b', 'c', 'd'),
    networking: fc.constantFrom('web', 'db'),
    phase: fc.constantFrom('', 'Bind', 'Unbind', 'Detaching'),
    groups: fc.constantFrom(['sg-1'], ['sg-2']),
    reason: fc.constantFrom('CloudError', 'Bound', 'NoMemberSlot'),
    generation: fc.constant(2),
    observed: fc.constantFrom(1, 2),
    deleted: fc.boolean(),
  });
  const change = fc.oneof(
    { weight: 5, arbitrary: wish.map((put) => ({ put })) },
    { weight: 1, arbitrary: wish.map((remove) => ({ remove })) },
    {
      weight: 1,
      arbitrary: fc.record({ target: fc.constantFrom('web', 'db'), groups: fc.constantFrom(['sg-1'], ['sg-2']) }),
    },
  );
  fc.assert(
    fc.property(fc.array(change, { maxLength: 60 }), (changes) => {
      const stats = new PodNetworkingStats(() => {});
      const records = new Map<string, PodEni>();
      const targets = new Map<string, readonly string[]>();
      for (const each of changes) {
        if ('put' in each) {
          records.set(each.put.name, record(each.put));
          stats.put(record(each.put));
        } else if ('remove' in each) {
          records.delete(each.remove.name);
          stats.remove(record(each.remove));
        } else {
          targets.set(each.target, each.groups);
          stats.setSecurityGroups(each.target, each.groups, () => records.values());
        }
      }
      const anew = new PodNetworkingStats(() => {});
      for (const [name, groups] of targets) anew.setSecurityGroups(name, groups, () => []);
      for (const each of records.values()) anew.put(each);
      for (const name of ['web', 'db']) expect(plain(stats.of(name))).toEqual(plain(anew.of(name)));
    }),
  );
});
