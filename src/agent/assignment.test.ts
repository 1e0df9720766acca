import { describe, expect, test } from 'vitest';
import { ANNOTATION_POD_ENI } from '../crds/names.ts';
import type { NodeEni, TerwayNode } from '../crds/node.ts';
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
    [
      'no PodENI',
      (it) =>
        Object.assign(it, { podEni: undefined, pod: aPod('web-0', 'uid-web-0', { [ANNOTATION_POD_ENI]: 'true' }) }),
      /has no PodENI/,
    ],
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

describe('a pod that shares an ENI', () => {
  const pooled = (change: (eni: NodeEni, node: TerwayNode) => void = () => undefined) =>
    assignmentOf(
      input((it) => {
        const eni: NodeEni = {
          id: 'eni-shared',
          status: 'InUse',
          macAddress: '00:16:3e:00:00:09',
          ipv4CIDR: '10.0.16.0/20',
          ipv6CIDR: 'fd00::/64',
          networkInterfaceType: 'Secondary',
          ipv4: {
            '10.0.16.4': { ip: '10.0.16.4', primary: true, status: 'Valid', podID: 'shop/other', podUID: 'uid-other' },
            '10.0.16.5': { ip: '10.0.16.5', primary: false, status: 'Valid', podID: 'shop/web-0', podUID: 'uid-web-0' },
          },
          ipv6: {
            'fd00::5': { ip: 'fd00::5', primary: false, status: 'Valid', podID: 'shop/web-0', podUID: 'uid-web-0' },
          },
        };
        const node = aNode();
        change(eni, node);
        node.status = { networkInterfaces: { ...node.status?.networkInterfaces, [eni.id]: eni } };
        Object.assign(it, { podEni: undefined, node });
      }),
    );

  test('gets the addresses that its Node CR gives it', () => {
    expect(pooled()).toMatchObject({
      state: 'ready',
      attachment: {
        interfaces: [
          {
            name: 'eth0',
            ipv4: { address: '10.0.16.5', subnet: '10.0.16.0/20' },
            ipv6: { address: 'fd00::5', subnet: 'fd00::/64' },
            defaultRoute: true,
            attachment: {
              kind: 'shared',
              eni: { mac: '00:16:3e:00:00:09', gateway: { ipv4: '10.0.31.253', ipv6: 'fd00::ffff:ffff:ffff:fffd' } },
            },
          },
        ],
      },
    });
  });

  const cases: [string, (eni: NodeEni, node: TerwayNode) => void, RegExp][] = [
    [
      'none is his',
      (eni) => Object.assign(eni, { ipv4: {}, ipv6: {} }),
      /neither a PodENI nor an address in Node node-1/,
    ],
    [
      'it is that of an earlier pod of the name',
      (eni) => {
        for (const address of [eni.ipv4?.['10.0.16.5'], eni.ipv6?.['fd00::5']])
          Object.assign(address ?? {}, { podUID: 'x' });
      },
      /neither a PodENI nor an address/,
    ],
    [
      'the ENI is not in use',
      (eni) => Object.assign(eni, { status: 'Attaching' }),
      /ENI eni-shared, which is Attaching/,
    ],
    [
      'the cloud has taken one of its addresses',
      (eni) => Object.assign(eni.ipv6?.['fd00::5'] ?? {}, { status: 'Invalid' }),
      /fd00::5 of ENI eni-shared, which is Invalid/,
    ],
  ];
  test.each(cases)('waits while %s', (_, change, reason) => {
    expect(pooled(change)).toEqual({ state: 'waiting', reason: expect.stringMatching(reason) });
  });

  test('is what the record has, where IPv6 was turned on after it was given', () => {
    const assigned = pooled((eni, node) => {
      node.spec.eni = { vSwitchOptions: [], securityGroupIDs: [], vSwitchSelectPolicy: 'most', enableIPv6: true };
      delete eni.ipv6;
    });
    expect(assigned.state).toBe('ready');
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
