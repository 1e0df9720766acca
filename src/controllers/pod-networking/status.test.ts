import { describe, expect, test } from 'vitest';
import { PodNetworkingStats } from '../../allocation/pod-networking-stats.ts';
import { type PodNetworking, type PodNetworkingStatus, podNetworkingSchema } from '../../crds/pod-networking.ts';
import { isNewVerdict, networkingStatus, type StatusView } from './status.ts';

const NOW_MS = Date.parse('2026-01-01T00:00:00Z');
const SOUND = [
  { type: 'VSwitchesReady', ok: true, reason: 'Found', message: '1 vSwitches exist in vpc-1' },
  { type: 'SecurityGroupsReady', ok: true, reason: 'Found', message: '1 security groups exist in vpc-1' },
] as const;

const networking = (status?: PodNetworking['status']) =>
  podNetworkingSchema.parse({
    metadata: { name: 'web', generation: 2 },
    spec: { vSwitchOptions: ['vsw-1'], securityGroupIDs: ['sg-1'] },
    ...(status === undefined ? {} : { status }),
  });

function view(changes: Partial<StatusView> = {}): StatusView {
  const vSwitch = { id: 'vsw-1', vpcId: 'vpc-1', zoneId: 'z', cidrBlock: '10.0.0.0/24', ipv6CidrBlock: '', status: '' };
  return {
    checked: {
      conditions: [...SOUND],
      answer: { vSwitches: new Map([['vsw-1', { ...vSwitch, availableIpCount: 7 }]]), securityGroups: new Map() },
    },
    stats: new PodNetworkingStats(() => {}).of('web'),
    unserved: { pods: 2, zonesWithoutAddress: new Set() },
    free: () => undefined,
    nowMs: NOW_MS,
    ...changes,
  };
}

const conditions = (status: PodNetworking['status']) =>
  Object.fromEntries((status?.conditions ?? []).map(({ type, status: is, reason }) => [type, `${is} ${reason}`]));

test('states everything; repeating the same view changes nothing, not even the time', () => {
  const status = networkingStatus(networking(), view());
  expect(conditions(status)).toEqual({
    Ready: 'True Checked',
    VSwitchesReady: 'True Found',
    SecurityGroupsReady: 'True Found',
    CapacityAvailable: 'True AddressesFree',
    AllocationHealthy: 'True Healthy',
    RolloutComplete: 'True UpToDate',
  });
  expect(status).toMatchObject({
    status: 'Ready',
    observedGeneration: 2,
    updateAt: '2026-01-01T00:00:00Z',
    availableIPCount: 7,
    pods: { waiting: 2 },
    vSwitches: [{ id: 'vsw-1', zone: 'z', availableIPCount: 7, reservedIPCount: 0 }],
  });
  expect(networkingStatus(networking(status), view({ nowMs: NOW_MS + 60_000 }))).toEqual(status);
});

test('a cloud that does not respond changes nothing', () => {
  const status = networkingStatus(networking(), view());
  expect(networkingStatus(networking(status), view({ checked: { conditions: [] } }))).toEqual(status);
});

test('a remark follows the verdict', () => {
  const status = networkingStatus(networking(), view({ remark: 'PodNetworking db picks some of its pods' }));
  expect(status.conditions?.find(({ type }) => type === 'Ready')?.message).toMatch(/; PodNetworking db picks some/);
});

test('a refused configuration file is reported, then its correction; nothing before that', () => {
  const told = (status: PodNetworkingStatus) => conditions(status)['ConfigurationValid'];
  const sound = networkingStatus(networking(), view());
  expect(told(sound)).toBeUndefined();
  const refused = networkingStatus(networking(sound), view({ configProblem: 'f.yaml: rateLimit: must be a map' }));
  expect(told(refused)).toBe('False ConfigurationRefused');
  expect(told(networkingStatus(networking(refused), view()))).toBe('True ConfigurationInForce');
});

describe('a status is written at once', () => {
  const before = networkingStatus(networking(), view());

  test('when it has news about the spec', () => {
    const [, groups] = SOUND;
    const broken = { ...SOUND[0], ok: false, reason: 'VSwitchNotFound', message: 'no' } as const;
    const after = networkingStatus(networking(before), view({ checked: { conditions: [broken, groups] } }));
    expect(after.status).toBe('Fail');
    expect(isNewVerdict(before, after)).toBe(true);
    expect(isNewVerdict({ ...before, observedGeneration: 1 }, before)).toBe(true);
    expect(isNewVerdict(undefined, before)).toBe(true);
  });

  test('but not when only pods or addresses changed', () => {
    const unserved = { pods: 9, zonesWithoutAddress: new Set(['z']) };
    const after = networkingStatus(networking(before), view({ unserved, free: () => 0 }));
    expect(conditions(after)['CapacityAvailable']).toBe('False AllVSwitchesFull');
    expect(isNewVerdict(before, after)).toBe(false);
  });
});
