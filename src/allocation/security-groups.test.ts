import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { podEniSchema } from '../crds/pod-eni.ts';
import { podNetworkingSchema } from '../crds/pod-networking.ts';
import { rolloutAllowance, rolloutGate, sameSecurityGroups, withSecurityGroups } from './security-groups.ts';

const networking = (changes: { spec?: object; status?: object } = {}) =>
  podNetworkingSchema.parse({
    metadata: { name: 'web', generation: 3 },
    spec: { securityGroupIDs: ['sg-1'], ...changes.spec },
    status: { status: 'Ready', observedGeneration: 3, ...changes.status },
  });

test('security groups are a set: the order says nothing', () => {
  const ids = fc.uniqueArray(fc.constantFrom('sg-1', 'sg-2', 'sg-3', 'sg-4'), { maxLength: 4 });
  fc.assert(
    fc.property(ids, ids, (some, others) => {
      expect(sameSecurityGroups(some, others)).toBe([...some].sort().join() === [...others].sort().join());
    }),
  );
});

describe('a rollout', () => {
  test('begins when the edit was checked and found sound', () => {
    expect(rolloutGate(networking())).toBe('open');
    expect(rolloutGate(networking({ status: { observedGeneration: 2 } }))).toBe('RolloutBlocked');
    expect(rolloutGate(networking({ status: { status: 'Fail' } }))).toBe('RolloutBlocked');
    expect(rolloutGate(networking({ spec: { securityGroupIDs: [] } }))).toBe('RolloutBlocked');
    expect(rolloutGate(networking({ spec: { securityGroupRolloutPolicy: 'OnRecreate' } }))).toBe('AwaitingRecreation');
  });

  test('has a bounded number of records on their way, and goes on one by one while pods wait', () => {
    fc.assert(
      fc.property(fc.nat(100), fc.boolean(), (changing, podsWait) => {
        const allowance = rolloutAllowance(changing, podsWait);
        expect(allowance).toBeGreaterThanOrEqual(0);
        expect(changing + allowance).toBeLessThanOrEqual(Math.max(changing, podsWait ? 1 : 20));
        // L3: what has nothing on its way may always begin.
        if (changing === 0) expect(allowance).toBeGreaterThan(0);
      }),
    );
  });

  test('changes groups and generation of its own allocations, and nothing else', () => {
    const { spec } = podEniSchema.parse({
      metadata: { name: 'a' },
      spec: {
        allocations: [
          {
            eni: { id: 'eni-1', mac: 'm', securityGroupIDs: ['sg-0'] },
            ipv4: '10.0.0.1',
            intent: intent('web'),
            ofTomorrow: 1,
          },
          { eni: { id: 'eni-2', securityGroupIDs: ['sg-0'] }, intent: intent('db') },
          { eni: { id: 'eni-3', securityGroupIDs: ['sg-0'] } },
        ],
      },
    });
    const [own, ...others] = (spec.allocations ?? []).map((allocation) => withSecurityGroups(allocation, networking()));
    expect(own).toEqual({
      ...spec.allocations?.[0],
      eni: { id: 'eni-1', mac: 'm', securityGroupIDs: ['sg-1'] },
      intent: { ...intent('web'), networkingGeneration: 3 },
    });
    expect(others).toEqual(spec.allocations?.slice(1));
  });
});

function intent(name: string) {
  return { attempt: 1, clientToken: 't', createdAt: '2026-01-01T00:00:00Z', networking: name, networkingGeneration: 1 };
}
