import { expect, test } from 'vitest';
import { type ServiceView, serviceConditions } from './networking-conditions.ts';
import type { Failing, NetworkingStats } from './pod-networking-stats.ts';

const VSWITCHES = [
  { id: 'vsw-1', zone: 'z-1', free: 5 },
  { id: 'vsw-2', zone: 'z-2', free: 5 },
];

function stats(
  changes: { failing?: Failing[]; updated?: number; changing?: string[]; outdated?: string[] } = {},
): NetworkingStats {
  const { failing = [], updated = 0, changing = [], outdated = [] } = changes;
  return {
    pods: { bound: 0, starting: 0, waiting: 0, releasing: 0, reserved: 0, failed: 0 },
    reserved: new Map(),
    failing: new Map(failing.map((each) => [each.key, each])),
    rollout: { updated, changing: new Set(changing), outdated: new Set(outdated) },
  };
}

function said(type: string, view: Partial<ServiceView>): string {
  const all = serviceConditions({
    stats: stats(),
    gate: 'open',
    zonesWithoutAddress: new Set(),
    vSwitches: VSWITCHES,
    ...view,
  });
  const condition = all.find((each) => each.type === type);
  return `${condition?.status} ${condition?.reason}: ${condition?.message}`;
}

test('capacity is short when a zone with waiting pods is full, or everything is', () => {
  const capacity = (view: Partial<ServiceView>) => said('CapacityAvailable', view);
  const [first, second] = VSWITCHES.map((vSwitch) => ({ ...vSwitch, free: 0 }));
  const oneFull = [...(first === undefined ? [] : [first]), ...VSWITCHES.slice(1)];
  const allFull = [first, second].filter((each) => each !== undefined);
  expect(capacity({})).toBe('True AddressesFree: every vSwitch has free addresses');
  expect(capacity({ vSwitches: oneFull })).toBe('True AddressesFree: no pod is waiting; no free address in vsw-1');
  expect(capacity({ vSwitches: oneFull, zonesWithoutAddress: new Set(['z-1']) })).toMatch(
    /^False ZoneFull: pods wait for an address in z-1 \(vsw-1\)/,
  );
  // Someone took the last address of the zone, and it has been returned since.
  expect(capacity({ zonesWithoutAddress: new Set(['z-1']) })).toMatch(/^True/);
  expect(capacity({ vSwitches: allFull })).toBe('False AllVSwitchesFull: no free address in vsw-1, vsw-2');
  expect(capacity({ vSwitches: undefined })).toMatch(/^Unknown NotKnown/);
});

test('the last failure is quoted', () => {
  const failing = ['01', '03', '02'].map((second) => ({
    key: `default/web-${second}`,
    since: `2026-01-01T00:00:${second}Z`,
    reason: 'CloudError',
    message: `CreateNetworkInterface: Code-${second}: no (request id R-${second})`,
  }));
  expect(said('AllocationHealthy', {})).toBe('True Healthy: no failing pods');
  expect(said('AllocationHealthy', { stats: stats({ failing: failing.slice(0, 1) }) })).toMatch(
    /^False PodsFailing: the interface of one pod fails/,
  );
  expect(said('AllocationHealthy', { stats: stats({ failing }) })).toBe(
    'False PodsFailing: the interfaces of 3 pods fail, most recently default/web-03: CloudError: CreateNetworkInterface: Code-03: no (request id R-03)',
  );
});

test('a rollout is counted, and says what holds it up', () => {
  const half = stats({ updated: 2, changing: ['c'], outdated: ['d'] });
  const rollout = (view: Partial<ServiceView>) => said('RolloutComplete', view);
  expect(rollout({ stats: stats({ updated: 4 }) })).toMatch(/^True UpToDate/);
  expect(rollout({ stats: half })).toBe(
    'False RollingOut: 2 of 4 running pods have the security groups of the spec, 1 in progress',
  );
  expect(rollout({ stats: half, gate: 'AwaitingRecreation' })).toMatch(
    /^False AwaitingRecreation: 2 of 4 .*OnRecreate/,
  );
  expect(rollout({ stats: half, gate: 'RolloutBlocked' })).toMatch(
    /^False RolloutBlocked: 2 of 4 .*until the PodNetworking is Ready/,
  );
  // A rollout that has begun is finished whatever the gate says.
  expect(rollout({ stats: stats({ changing: ['c'] }), gate: 'AwaitingRecreation' })).toMatch(/^False RollingOut/);
});
