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

test('security groups are a set: their order does not matter', () => {
  const ids = fc.uniqueArray(fc.constantFrom('sg-1', 'sg-2', 'sg-3', 'sg-4'), { maxLength: 4 });
  fc.assert(
    fc.property(ids, ids, (some, others) => {
      expect(sameSecurityGroups(some, others)).toBe([...some].sort().join() === [...others].sort().join());
    }),
  );
});

describe('a rollout', () => {
  test('starts after the edit passed its check', () => {
    expect(rolloutGate(networking())).toBe('open');
    expect(rolloutGate(networking({ status: { observedGeneration: 2 } }))).toBe('RolloutBlocked');
    expect(rolloutGate(networking({ status: { status: 'Fail' } }))).toBe('RolloutBlocked');
    expect(rolloutGate(networking({ spec: { securityGroupIDs: [] } }))).toBe('RolloutBlocked');
    expect(rolloutGate(networking({ spec: { securityGroupRolloutPolicy: 'OnRecreate' } }))).toBe('AwaitingRecreation');
  });

  test('changes a bounded number of records at once, and one at a time while pods wait', () => {
    fc.assert(
      fc.property(fc.nat(100), fc.boolean(), (changing, podsWait) => {
        const allowance = rolloutAllowance(changing, podsWait);
        expect(allowance).toBeGreaterThanOrEqual(0);
        expect(changing + allowance).toBeLessThanOrEqual(Math.max(changing, podsWait ? 1 : 20));
        // L3: when no change is in progress, one may always start.
        if (changing === 0) expect(allowance).toBeGreaterThan(0);
      }),
    );
  });

  test('changes the groups and generation of its own allocations and nothing else', () => {
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
