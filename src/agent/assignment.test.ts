import { describe, expect, test } from 'vitest';
import type { PodEni } from '../crds/pod-eni.ts';
import { type AssignmentInput, assignmentOf } from './assignment.ts';
import { aNode, aPod, aPodEni, aRequest } from './test-support/fixtures.ts';

function input(change: (input: AssignmentInput & { podEni: PodEni }) => void = () => undefined): AssignmentInput {
  const fresh = { request: aRequest(), pod: aPod(), podEni: aPodEni(), node: aNode(), mtu: 1500 };
  change(fresh);
  return fresh;
}

function first(podEni: PodEni) {
  const allocation = podEni.spec.allocations?.[0];
  if (allocation === undefined) throw new Error('no allocation');
  return allocation;
}

test('a bound PodENI is a member of the trunk with its VLAN id, routed by the trunk’s gateway', () => {
  expect(assignmentOf(input())).toEqual({
    state: 'ready',
    problems: [],
    attachment: {
      namespace: 'shop',
      name: 'web-0',
      uid: 'uid-web-0',
      containerId: 'sandbox-web-0',
      netnsPath: '/run/netns/sandbox-web-0',
      interfaces: [
        {
          name: 'eth0',
          ipv4: { address: '10.10.0.7', subnet: '10.10.0.0/16' },
          mtu: 1500,
          defaultRoute: true,
          extraRoutes: [],
          attachment: {
            kind: 'member',
            trunk: { mac: '00:16:3e:00:00:01', gateway: { ipv4: '10.0.15.253' } },
            vlanId: 101,
          },
        },
      ],
    },
  });
});

describe('what may still come is waited for, with the reason', () => {
  const cases: [string, Parameters<typeof input>[0], RegExp][] = [
    ['the pod is not known', (it) => Object.assign(it, { pod: undefined }), /pod shop\/web-0 is not known/],
    ['another pod of the name', (it) => Object.assign(it, { pod: aPod('web-0', 'older') }), /uid older.*uid-web-0/],
    ['no PodENI', (it) => Object.assign(it, { podEni: undefined }), /has no PodENI.*PodNetworking/],
    ['a PodENI that goes', (it) => Object.assign(it.podEni.metadata, { deletionTimestamp: 'now' }), /being deleted/],
    ['the PodENI of an earlier pod', (it) => Object.assign(it.podEni.metadata, { annotations: {} }), /still belongs/],
    ['not bound', (it) => Object.assign(it.podEni, { status: { phase: 'Binding' } }), /is Binding, not Bind/],
    [
      'not bound, and the condition says why',
      (it) =>
        Object.assign(it.podEni, {
          status: {
            phase: '',
            conditions: [
              {
                type: 'Ready',
                status: 'False',
                reason: 'VSwitchFull',
                message: 'vsw-1 is full',
                lastTransitionTime: '',
              },
            ],
          },
        }),
      /is Initial, not Bind \(VSwitchFull: vsw-1 is full\)/,
    ],
    [
      'bound elsewhere',
      (it) => Object.assign(it.podEni.status ?? {}, { instanceID: 'i-2' }),
      /instance i-2; this node is i-1/,
    ],
    ['no Node CR', (it) => Object.assign(it, { node: undefined }), /Node CR/],
    [
      'trunk unknown',
      (it) => Object.assign(it.podEni.status ?? {}, { trunkENIID: 'eni-x' }),
      /trunk eni-x is not recorded/,
    ],
  ];
  test.each(cases)('%s', (_, change, reason) => {
    expect(assignmentOf(input(change))).toEqual({ state: 'waiting', reason: expect.stringMatching(reason) });
  });
});

describe('what is Bind but incomplete is refused (weak spot 13)', () => {
  const cases: [string, Parameters<typeof input>[0], RegExp][] = [
    ['no allocations', (it) => Object.assign(it.podEni.spec, { allocations: [] }), /no allocations/],
    [
      'no eniInfos',
      (it) => Object.assign(it.podEni.status ?? {}, { eniInfos: {} }),
      /eniInfos has no entry for eni-web-0/,
    ],
    ['no CIDR', (it) => Object.assign(first(it.podEni), { ipv4CIDR: undefined }), /CIDR/],
    ['no address', (it) => Object.assign(first(it.podEni), { ipv4: '' }), /no address/],
    ['VLAN id 0', (it) => Object.assign(it, { podEni: aPodEni('web-0', 0) }), /VLAN id 0/],
    ['VLAN id 4095', (it) => Object.assign(it, { podEni: aPodEni('web-0', 4095) }), /VLAN id 4095/],
    [
      'a route that is none',
      (it) => Object.assign(first(it.podEni), { extraRoutes: [{ dst: 'x' }] }),
      /extra route "x"/,
    ],
    [
      'another interface only',
      (it) => Object.assign(first(it.podEni), { interface: 'net1' }),
      /no allocation is for interface eth0/,
    ],
  ];
  test.each(cases)('%s', (_, change, reason) => {
    expect(assignmentOf(input(change))).toEqual({ state: 'refused', reason: expect.stringMatching(reason) });
  });
});

test('two interfaces: the marked one has the default route; two marks are refused', () => {
  const two = (defaults: [boolean, boolean]) =>
    input(({ podEni }) => {
      const [eth0] = podEni.spec.allocations ?? [];
      if (eth0 === undefined) throw new Error('no allocation');
      podEni.spec.allocations = [
        { ...eth0, defaultRoute: defaults[0] },
        {
          ...eth0,
          interface: 'net1',
          ipv4: '10.10.0.8',
          defaultRoute: defaults[1],
          extraRoutes: [{ dst: '10.99.0.0/16' }],
        },
      ];
    });
  const marked = assignmentOf(two([false, true]));
  expect(marked).toMatchObject({
    attachment: {
      interfaces: [
        { name: 'eth0', defaultRoute: false },
        { name: 'net1', defaultRoute: true, extraRoutes: ['10.99.0.0/16'] },
      ],
    },
  });
  expect(assignmentOf(two([true, true]))).toMatchObject({
    state: 'refused',
    reason: expect.stringMatching(/eth0 and net1/),
  });
});

test('an ENI of its own is moved into the pod', () => {
  const assignment = assignmentOf(
    input(({ podEni }) => {
      if (podEni.status === undefined) return;
      podEni.status = {
        ...podEni.status,
        trunkENIID: '',
        eniInfos: { 'eni-web-0': { type: 'Secondary', status: 'Bind' } },
      };
    }),
  );
  expect(assignment).toMatchObject({
    attachment: {
      interfaces: [
        { attachment: { kind: 'exclusive', eni: { mac: '00:16:3e:00:00:07', gateway: { ipv4: '10.10.255.253' } } } },
      ],
    },
  });
});

test('limits: the runtime’s go before the annotations, and a wrong annotation is named', () => {
  const annotations = { 'k8s.aliyun.com/ingress-bandwidth': '10M', 'k8s.aliyun.com/egress-bandwidth': '5' };
  const annotated = assignmentOf(input((it) => Object.assign(it, { pod: aPod('web-0', 'uid-web-0', annotations) })));
  expect(annotated).toMatchObject({
    problems: [expect.stringMatching(/egress-bandwidth: "5" is not a bandwidth/)],
    attachment: { interfaces: [{ ingressBytesPerSecond: 10 * 1024 * 1024 }] },
  });
  const given = assignmentOf(
    input((it) => {
      it.pod = aPod('web-0', 'uid-web-0', annotations);
      it.request.config = {
        ...it.request.config,
        mtu: 1400,
        runtimeConfig: { bandwidth: { ingressRate: 8000, egressRate: 16_000 } },
      };
    }),
  );
  expect(given).toMatchObject({
    problems: [],
    attachment: { interfaces: [{ mtu: 1400, ingressBytesPerSecond: 1000, egressBytesPerSecond: 2000 }] },
  });
});
