import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { VSwitch } from '../ecs/vpc.ts';
import { seededRandom } from '../util/random.ts';
import { type Capacity, type NodeView, planNewAttempt, planPodEni, planRebind, type WantedInterface } from './plan.ts';
import { SlotLedger } from './slots.ts';
import {
  ALLOCATION_TYPE,
  allocation,
  CLUSTER,
  intent,
  NOW_MS,
  podEni,
  podNetworking,
} from './test-support/fixtures.ts';
import { VSwitchPool } from './vswitch-pool.ts';

const pod = { namespace: 'default', name: 'web-0', uid: 'uid-1' };
const node: NodeView = {
  nodeName: 'node-1',
  instanceId: 'i-1',
  zone: 'z-a',
  exclusive: false,
  eniLimit: 3,
  trunkEniId: 'eni-trunk-1',
  memberLimit: 2,
};

function vSwitch(id: string, changes: Partial<VSwitch> = {}): VSwitch {
  const subnet = { cidrBlock: '10.0.0.0/24', ipv6CidrBlock: '', availableIpCount: 5 };
  return { id, vpcId: 'vpc-1', zoneId: 'z-a', status: 'Available', ...subnet, ...changes };
}

function capacity(vSwitches: VSwitch[] = [vSwitch('vsw-1'), vSwitch('vsw-2')]): Capacity {
  const pool = new VSwitchPool();
  pool.update(vSwitches);
  return {
    slots: new SlotLedger(() => undefined),
    vSwitches: pool,
    random: seededRandom(1),
    clusterId: CLUSTER,
    withIpv6: false,
    nowMs: NOW_MS,
  };
}

function wanted(networking = podNetworking()): WantedInterface[] {
  return [{ name: 'eth0', networking }];
}

function planned(in_: Capacity, name = 'web-0', networking = podNetworking()) {
  const plan = planPodEni({ ...pod, name }, wanted(networking), node, 'node-1', in_);
  if (plan.kind !== 'create') throw new Error(plan.message);
  return plan.podEni;
}

describe('the plan of a PodENI', () => {
  test('contains everything that create and attach need, and the intent (I2)', () => {
    const record = planned(
      capacity(),
      'web-0',
      podNetworking({ allocationType: ALLOCATION_TYPE.fixedTtl }, { generation: 7 }),
    );
    expect(record.metadata).toEqual({
      name: 'web-0',
      namespace: 'default',
      finalizers: ['network.alibabacloud.com/pod-eni'],
      labels: { 'k8s.aliyun.com/node': 'node-1' },
      annotations: { 'k8s.aliyun.com/pod-uid': 'uid-1' },
    });
    expect(record.spec).toMatchObject({
      zone: 'z-a',
      target: { nodeName: 'node-1', instanceID: 'i-1', trunkENIID: 'eni-trunk-1' },
    });
    expect(record.spec.allocations).toEqual([
      {
        interface: 'eth0',
        ipv4CIDR: '10.0.0.0/24',
        allocationType: ALLOCATION_TYPE.fixedTtl,
        eni: {
          id: '',
          zone: 'z-a',
          vSwitchID: 'vsw-1',
          securityGroupIDs: ['sg-1', 'sg-2'],
          attachmentOptions: { trunk: true },
        },
        intent: {
          attempt: 1,
          clientToken: expect.stringMatching(/^[0-9a-f]{64}$/),
          createdAt: '2026-01-01T12:00:00.000Z',
          networking: 'pn',
          networkingGeneration: 7,
        },
      },
    ]);
  });

  test('reserves a slot and an address', () => {
    const in_ = capacity();
    planned(in_);
    expect(in_.slots.used('i-1')).toBe(1);
    expect(in_.vSwitches.free('vsw-1')).toBe(4);
  });

  test.each([
    ['node is not known', undefined, undefined, 'NodeNotReady', { kind: 'node', nodeName: 'node-1' }],
    ['node has no trunk', { trunkEniId: undefined }, undefined, 'TrunkNotReady', { kind: 'node', nodeName: 'node-1' }],
    ['node is full', { memberLimit: 0 }, undefined, 'NoMemberSlot', { kind: 'slot', nodeName: 'node-1' }],
    [
      'vSwitches are full',
      {},
      [vSwitch('vsw-1', { availableIpCount: 0 })],
      'VSwitchFull',
      { kind: 'vSwitch', zone: 'z-a', ids: ['vsw-1'] },
    ],
    ['zone has none', {}, [vSwitch('vsw-1', { zoneId: 'z-b' })], 'NoVSwitchInZone', { kind: 'networking', name: 'pn' }],
  ] as const)('waits, and reserves nothing, when the %s', (_name, changes, vSwitches, reason, waitsFor) => {
    const in_ = capacity(vSwitches === undefined ? undefined : [...vSwitches]);
    const { trunkEniId, ...rest } = { ...node, ...changes };
    const view = changes === undefined ? undefined : { ...rest, ...(trunkEniId === undefined ? {} : { trunkEniId }) };
    const plan = planPodEni(pod, wanted(), view, 'node-1', in_);
    expect(plan).toMatchObject({ kind: 'wait', reason, waitsFor });
    if (plan.kind === 'wait') expect(plan.message).not.toContain('\n');
    expect(in_.slots.used('i-1')).toBe(0);
    expect(in_.vSwitches.free('vsw-1')).toBe(vSwitches?.[0]?.availableIpCount ?? 5);
  });

  test('a different pod, time, attempt or parameter gives a different token; equal ones give the same', () => {
    const tokenOf = (in_: Capacity, name?: string, networking = podNetworking()) =>
      planned(in_, name, networking).spec.allocations?.[0]?.intent?.clientToken;
    const tokens = [
      tokenOf(capacity()),
      tokenOf(capacity(), 'web-1'),
      tokenOf({ ...capacity(), nowMs: NOW_MS + 1000 }),
      tokenOf(capacity(), 'web-0', podNetworking({ vSwitchOptions: ['vsw-2'] })),
      tokenOf(capacity(), 'web-0', podNetworking({ securityGroupIDs: ['sg-1'] })),
      tokenOf({ ...capacity(), clusterId: 'another' }),
    ];
    expect(new Set(tokens).size).toBe(tokens.length);
    expect(tokenOf(capacity())).toBe(tokens[0]);
  });
});

test('all slots of a node are given out, but never more than its limit (I7)', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 5 }), fc.array(fc.nat(7), { maxLength: 40 }), (memberLimit, pods) => {
      const in_ = capacity([vSwitch('vsw-1', { availableIpCount: 100 })]);
      const holders = new Set<string>();
      for (const at of pods) {
        const name = `web-${at}`;
        if (holders.delete(name)) {
          in_.slots.release(`default/${name}`);
        } else {
          const plan = planPodEni({ ...pod, name }, wanted(), { ...node, memberLimit }, 'node-1', in_);
          expect(plan.kind).toBe(holders.size < memberLimit ? 'create' : 'wait');
          if (plan.kind === 'create') holders.add(name);
        }
        expect(in_.slots.used('i-1')).toBe(holders.size);
      }
    }),
  );
});

describe('a new attempt', () => {
  test('takes another vSwitch and token and increments the attempt', () => {
    const before = podEni({ allocations: [allocation({ allocationType: ALLOCATION_TYPE.fixedTtl })] });
    const in_ = capacity();
    in_.vSwitches.block('vsw-1', NOW_MS);
    const plan = planNewAttempt(before, 0, podNetworking(), in_);
    if (plan.kind !== 'attempt') throw new Error(plan.message);
    expect(plan.allocation).toMatchObject({
      interface: 'eth0',
      allocationType: ALLOCATION_TYPE.fixedTtl,
      eni: { id: '', vSwitchID: 'vsw-2' },
      intent: { attempt: 2 },
    });
    expect(plan.allocation.intent?.clientToken).not.toBe(intent().clientToken);
    // The address of the old ENI must not be mistaken for that of the next one.
    expect(plan.allocation.ipv4).toBeUndefined();
    expect(plan.allocation.eni.mac).toBeUndefined();
  });

  test('stays in the zone of the record, and waits when that is full', () => {
    const in_ = capacity([vSwitch('vsw-1', { zoneId: 'z-b' }), vSwitch('vsw-2', { availableIpCount: 0 })]);
    expect(planNewAttempt(podEni(), 0, podNetworking(), in_)).toMatchObject({
      kind: 'wait',
      reason: 'VSwitchFull',
      message: 'no free address in vsw-2, the vSwitches of PodNetworking pn in zone z-a',
    });
  });
});

describe('rebinding a fixed address', () => {
  test('targets the node of the pod', () => {
    const in_ = capacity();
    const there = { ...node, nodeName: 'node-2', instanceId: 'i-2', trunkEniId: 'eni-trunk-2' };
    expect(planRebind(podEni(), pod, there, 'node-2', in_)).toEqual({
      kind: 'rebind',
      target: { nodeName: 'node-2', instanceID: 'i-2', trunkENIID: 'eni-trunk-2' },
    });
    expect(in_.slots.used('i-2')).toBe(1);
  });

  test('never targets another zone (I4)', () => {
    const in_ = capacity();
    const plan = planRebind(podEni(), pod, { ...node, zone: 'z-b' }, 'node-1', in_);
    expect(plan).toMatchObject({ kind: 'wait', reason: 'ZoneMismatch' });
    expect(in_.slots.used('i-1')).toBe(0);
  });

  test('counts a slot that the record already holds as free for it', () => {
    const in_ = capacity();
    const full = { ...node, memberLimit: 1 };
    expect(planRebind(podEni(), pod, full, 'node-1', in_)).toMatchObject({ kind: 'rebind' });
    expect(planRebind(podEni(), { ...pod, uid: 'uid-2' }, full, 'node-1', in_)).toMatchObject({ kind: 'rebind' });
    expect(planRebind(podEni(), { ...pod, name: 'web-1' }, full, 'node-1', in_)).toMatchObject({
      kind: 'wait',
      reason: 'NoMemberSlot',
    });
    expect(in_.slots.used('i-1')).toBe(1);
  });

  test('needs a slot for each of its interfaces (I7)', () => {
    const two = podEni({ allocations: [allocation(), allocation({ eni: { id: 'eni-2' } })] });
    const in_ = capacity();
    in_.slots.reserve('default/other', 'i-1', 1);
    expect(planRebind(two, pod, node, 'node-1', in_)).toMatchObject({ kind: 'wait', reason: 'NoMemberSlot' });
    in_.slots.release('default/other');
    expect(planRebind(two, pod, node, 'node-1', in_)).toMatchObject({ kind: 'rebind' });
    expect(in_.slots.used('i-1')).toBe(2);
  });
});

test('two plans for one pod within a second send different tokens', () => {
  const tokenAt = (nowMs: number) => planned({ ...capacity(), nowMs }).spec.allocations?.[0]?.intent?.clientToken;
  expect(tokenAt(NOW_MS)).toBe(tokenAt(NOW_MS));
  expect(tokenAt(NOW_MS)).not.toBe(tokenAt(NOW_MS + 1));
});

describe('several interfaces', () => {
  const two = (second = podNetworking({ vSwitchOptions: ['vsw-2'] }, { name: 'storage' })): WantedInterface[] => [
    { name: 'eth0', networking: podNetworking() },
    { name: 'net1', networking: second, extraRoutes: [{ dst: '10.99.0.0/16' }] },
  ];

  test('are allocations of one record, each with its own slot and intent', () => {
    const in_ = capacity();
    const plan = planPodEni(pod, two(), node, 'node-1', in_);
    if (plan.kind !== 'create') throw new Error(plan.message);
    const allocations = plan.podEni.spec.allocations ?? [];
    expect(allocations).toMatchObject([
      { interface: 'eth0', eni: { vSwitchID: 'vsw-1' }, intent: { networking: 'pn' } },
      {
        interface: 'net1',
        eni: { vSwitchID: 'vsw-2' },
        extraRoutes: [{ dst: '10.99.0.0/16' }],
        intent: { networking: 'storage' },
      },
    ]);
    expect(new Set(allocations.map(({ intent: made }) => made?.clientToken)).size).toBe(2);
    expect(in_.slots.used('i-1')).toBe(2);
  });

  test('are planned all or none', () => {
    const in_ = capacity([vSwitch('vsw-1'), vSwitch('vsw-2', { availableIpCount: 0 })]);
    expect(planPodEni(pod, two(), node, 'node-1', in_)).toMatchObject({ kind: 'wait', reason: 'VSwitchFull' });
    expect(in_.vSwitches.free('vsw-1')).toBe(5);
    expect(in_.slots.used('i-1')).toBe(0);
    expect(planPodEni(pod, two(), { ...node, memberLimit: 1 }, 'node-1', capacity())).toMatchObject({
      reason: 'NoMemberSlot',
    });
  });
});

describe('a node whose pods get whole ENIs', () => {
  const { trunkEniId: _trunk, ...withoutTrunk } = node;
  const exclusive: NodeView = { ...withoutTrunk, exclusive: true, eniLimit: 2 };

  test('needs no trunk, and counts the ENIs of the instance', () => {
    const in_ = capacity();
    const plan = planPodEni(pod, wanted(), exclusive, 'node-1', in_);
    expect(plan).toMatchObject({
      podEni: {
        spec: {
          target: { nodeName: 'node-1', instanceID: 'i-1' },
          allocations: [{ eni: { attachmentOptions: { trunk: false } } }],
        },
      },
    });
    if (plan.kind === 'create') expect(plan.podEni.spec.target).not.toHaveProperty('trunkENIID');
    planPodEni({ ...pod, name: 'web-1' }, wanted(), exclusive, 'node-1', in_);
    expect(in_.slots.used('i-1')).toBe(2);
    expect(planPodEni({ ...pod, name: 'web-2' }, wanted(), exclusive, 'node-1', in_)).toMatchObject({
      kind: 'wait',
      reason: 'NoEniSlot',
      message: 'all 2 ENIs that node node-1 can hold for pods are in use; the pod is served when one is released',
    });
  });

  test.each([
    ['Trunk', exclusive],
    ['ENI', node],
  ])('eniType %s is refused where the node provides the other kind', (eniType, view) => {
    const networking = podNetworking({ eniOptions: { eniType } });
    expect(planPodEni(pod, wanted(networking), view, 'node-1', capacity())).toMatchObject({
      kind: 'wait',
      reason: 'EniTypeNotSupported',
      waitsFor: { kind: 'node', nodeName: 'node-1' },
      message: expect.stringContaining('k8s.aliyun.com/exclusive-mode-eni-type=eniOnly'),
    });
  });
});

describe('with IPv6', () => {
  test('a vSwitch with an IPv6 CIDR is chosen', () => {
    const in_ = { ...capacity([vSwitch('vsw-1'), vSwitch('vsw-2', { ipv6CidrBlock: 'fd00::/64' })]), withIpv6: true };
    expect(planned(in_).spec.allocations).toMatchObject([{ ipv6CIDR: 'fd00::/64', eni: { vSwitchID: 'vsw-2' } }]);
  });

  test('the message says so when no vSwitch has one', () => {
    const plan = planPodEni(pod, wanted(), node, 'node-1', { ...capacity(), withIpv6: true });
    expect(plan).toMatchObject({ reason: 'NoVSwitchInZone', message: expect.stringContaining('with an IPv6 CIDR') });
  });
});
