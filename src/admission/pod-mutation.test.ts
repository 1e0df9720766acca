import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parsePodNetworks } from '../allocation/network-request.ts';
import { ALLOCATION_TYPE, podNetworking } from '../allocation/test-support/fixtures.ts';
import type { PodNetworking } from '../crds/pod-networking.ts';
import { applyJsonPatch } from '../kube/test-support/json-patch.ts';
import { mutatePod, type PodMutationView, readPod } from './pod-mutation.ts';
import type { Verdict } from './review.ts';

const WEB = { podSelector: { matchLabels: { app: 'web' } } };
const DEFAULTS = { vSwitchOptions: ['vsw-c1', 'vsw-c2'], securityGroupIDs: ['sg-c'] };
const ENI_ONLY = { 'k8s.aliyun.com/exclusive-mode-eni-type': 'eniOnly' };

function networking(name: string, spec: object = {}, zones: Record<string, number | undefined> = {}): PodNetworking {
  const vSwitches = Object.entries(zones).map(([zone, availableIPCount], at) => ({
    id: `vsw-${at}`,
    zone,
    ...(availableIPCount === undefined ? {} : { availableIPCount }),
  }));
  const made = podNetworking(spec, { name });
  return { ...made, status: { ...made.status, vSwitches } };
}

function view(networkings: PodNetworking[], changes: Partial<PodMutationView> = {}): PodMutationView {
  return {
    namespace: 'default',
    namespaceLabels: {},
    networkings,
    fixedZone: undefined,
    defaults: DEFAULTS,
    enableTrunk: true,
    stableNameKinds: [],
    injectResources: true,
    ...changes,
  };
}

interface PodShape {
  metadata: { annotations?: Record<string, string>; [key: string]: unknown };
  spec: {
    containers: { resources?: { requests?: object; limits?: object } }[];
    affinity?: { nodeAffinity?: { requiredDuringSchedulingIgnoredDuringExecution?: { nodeSelectorTerms: unknown[] } } };
    [key: string]: unknown;
  };
}

function pod(changes: { metadata?: object; spec?: object } = {}): Record<string, unknown> {
  return {
    metadata: { name: 'web-0', labels: { app: 'web' }, ...changes.metadata },
    spec: { containers: [{ name: 'main' }], ...changes.spec },
  };
}

function decide(raw: Record<string, unknown>, known: PodMutationView): Verdict {
  const read = readPod(raw);
  if ('error' in read) throw new Error(read.error);
  return mutatePod(read, known);
}

/** The pod after the patch, as the API server stores it. */
function admitted(raw: Record<string, unknown>, known: PodMutationView): PodShape {
  const verdict = decide(raw, known);
  if (verdict.kind === 'denied') throw new Error(`denied: ${verdict.message}`);
  return applyJsonPatch(raw, verdict.patch) as PodShape;
}

function refusal(raw: Record<string, unknown>, known: PodMutationView): string {
  const verdict = decide(raw, known);
  if (verdict.kind !== 'denied') throw new Error('not denied');
  expect(verdict.code).toBe(403);
  return verdict.message;
}

function limitsOf(shape: PodShape): (object | undefined)[] {
  return shape.spec.containers.map(({ resources }) => {
    expect(resources?.requests).toEqual(resources?.limits);
    return resources?.limits;
  });
}

function termsOf({ spec }: PodShape): unknown[] | undefined {
  return spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;
}

const inZones = (...values: string[]) => ({ key: 'topology.kubernetes.io/zone', operator: 'In', values });
const annotation = (name: string, value: unknown) => ({
  annotations: { [`k8s.aliyun.com/${name}`]: typeof value === 'string' ? value : JSON.stringify(value) },
});

describe('a pod is left unchanged', () => {
  const known = view([networking('web', { selector: WEB })]);
  test.each([
    ['in the network of its node', pod({ spec: { hostNetwork: true } })],
    ['with the ignore label', pod({ metadata: { labels: { app: 'web', 'k8s.aliyun.com/ignore-by-terway': 'true' } } })],
    ['without containers', pod({ spec: { containers: [] } })],
    ['that no PodNetworking selects', pod({ metadata: { labels: { app: 'other' } } })],
  ])('%s', (_name, raw) => {
    expect(decide(raw, known)).toEqual({ kind: 'allowed', patch: [], warnings: [] });
  });

  test('in a namespace that opted out', () => {
    const outside = view(known.networkings.slice(), { namespaceLabels: { 'k8s.aliyun.com/pod-eni': 'false' } });
    expect(decide(pod(), outside)).toMatchObject({ kind: 'allowed', patch: [] });
  });
});

describe('the choice', () => {
  test('#11: among overlapping PodNetworkings is by priority, then name, whatever their order, and the author gets a warning', () => {
    const all = [
      networking('c', { selector: WEB }),
      networking('a', { selector: WEB }),
      networking('z', { selector: WEB, priority: 5 }),
    ];
    for (const order of [all, [...all].reverse()]) {
      const verdict = decide(pod(), view(order));
      expect(verdict).toMatchObject({
        warnings: ['PodNetworking a, c also select the pod; z has precedence by priority and name'],
      });
      expect(admitted(pod(), view(order)).metadata.annotations).toEqual({
        'k8s.aliyun.com/pod-eni': 'true',
        'k8s.aliyun.com/pod-networking': 'z',
      });
    }
  });

  test('#61: by annotation needs no selector, but the PodNetworking must exist', () => {
    const raw = pod({ metadata: annotation('pod-networking', 'named') });
    expect(admitted(raw, view([networking('named')])).metadata.annotations).toMatchObject({
      'k8s.aliyun.com/pod-eni': 'true',
      'k8s.aliyun.com/pod-networking': 'named',
    });
    expect(refusal(raw, view([]))).toMatch(/pod-networking names PodNetworking named, which does not exist/);
  });

  test('takes one that is not Ready: the pod waits instead of getting another network', () => {
    const failing = { ...networking('web', { selector: WEB }), status: { status: 'Fail' as const } };
    expect(admitted(pod(), view([failing])).metadata.annotations).toMatchObject({
      'k8s.aliyun.com/pod-networking': 'web',
    });
  });

  test('between contradictory annotations is refused', () => {
    const raw = pod({
      metadata: { annotations: { 'k8s.aliyun.com/pod-networking': 'a', 'k8s.aliyun.com/pod-networks': '' } },
    });
    expect(refusal(raw, view([networking('a')]))).toMatch(/pod-networks and .*pod-networking are mutually exclusive/);
  });

  test('#58: ignores an invalid selector of another PodNetworking', () => {
    const broken = networking('a', {
      selector: { podSelector: { matchExpressions: [{ key: 'x', operator: 'Like' }] } },
    });
    expect(admitted(pod(), view([broken, networking('b', { selector: WEB })])).metadata.annotations).toMatchObject({
      'k8s.aliyun.com/pod-networking': 'b',
    });
  });

  test('#71: of a Fixed PodNetworking needs a pod with a stable name', () => {
    const known = view([networking('web', { selector: WEB, allocationType: ALLOCATION_TYPE.fixedForever })]);
    const owned = (kind: string) => pod({ metadata: { ownerReferences: [{ kind, name: 'x' }] } });
    expect(refusal(owned('ReplicaSet'), known)).toMatch(/allocationType Fixed/);
    expect(admitted(owned('StatefulSet'), known).metadata.annotations).toMatchObject({
      'k8s.aliyun.com/pod-eni': 'true',
    });
    // Configured kinds count for both webhook and controller.
    expect(refusal(owned('CloneSet'), known)).toMatch(/allocationType Fixed/);
    expect(admitted(owned('CloneSet'), { ...known, stableNameKinds: ['CloneSet'] })).toBeDefined();
  });
});

describe('several interfaces', () => {
  const request = [
    { interfaceName: 'eth0', network: 'a', defaultRoute: true },
    { interfaceName: 'net1', network: 'b', routes: [{ dst: '10.9.0.0/16' }] },
  ];
  const raw = pod({ metadata: annotation('pod-networks-request', request) });

  test('count once each, in zones that all their PodNetworkings share, with routes for the controller', () => {
    const result = admitted(raw, view([networking('a', {}, { h: 5, i: 5 }), networking('b', {}, { i: 5, j: 5 })]));
    expect(limitsOf(result)).toEqual([{ 'aliyun/member-eni': '2' }]);
    expect(termsOf(result)).toEqual([{ matchExpressions: [inZones('i')] }]);
    const written = parsePodNetworks(result.metadata.annotations?.['k8s.aliyun.com/pod-networks'] ?? '');
    expect(written).toMatchObject({
      entries: [
        { interface: 'eth0', network: 'a', defaultRoute: true },
        { interface: 'net1', network: 'b', extraRoutes: [{ dst: '10.9.0.0/16' }] },
      ],
    });
  });

  test('#14: of PodNetworkings without a common zone are denied with the zones named', () => {
    const known = view([networking('a', {}, { h: 5 }), networking('b', {}, { i: 5 })]);
    expect(refusal(raw, known)).toMatch(/no zone in common \(vSwitches of a in h; of b in i\)/);
  });

  test('of PodNetworkings that do not exist or have different types are denied', () => {
    expect(refusal(raw, view([networking('a')]))).toMatch(/pod-networks-request names PodNetworking b/);
    const mixed = view([networking('a', { eniOptions: { eniType: 'ENI' } }), networking('b')]);
    expect(refusal(raw, mixed)).toMatch(/different eniTypes \(eth0 ENI, net1 Default\)/);
  });

  test('that the pod itself describes are completed from eni-config and otherwise unchanged', () => {
    const described = {
      podNetworks: [
        { interface: 'eth0', resourceGroupID: 'rg-1' },
        { interface: 'eth1', vSwitchOptions: ['vsw-9'], securityGroupIDs: ['sg-9'] },
      ],
    };
    const own = pod({ metadata: { labels: {}, ...annotation('pod-networks', described) } });
    const result = admitted(own, view([]));
    expect(JSON.parse(result.metadata.annotations?.['k8s.aliyun.com/pod-networks'] ?? '')).toEqual({
      podNetworks: [{ ...described.podNetworks[0], ...DEFAULTS }, described.podNetworks[1]],
    });
    expect(limitsOf(result)).toEqual([{ 'aliyun/member-eni': '2' }]);
    const asksOnly = pod({ metadata: { labels: {}, ...annotation('pod-eni', 'true') } });
    expect(admitted(asksOnly, view([])).metadata.annotations?.['k8s.aliyun.com/pod-networks']).toContain('vsw-c1');
    expect(refusal(asksOnly, view([], { defaults: { message: 'there is no eni-config' } }))).toMatch(/no eni-config/);
  });
});

describe('#62: the request for ENIs', () => {
  const known = view([networking('web', { selector: WEB })]);
  const asks = (name: string, amount: string, more: object = {}) => ({
    name,
    resources: { requests: { [name]: amount }, limits: { [name]: amount } },
    ...more,
  });

  test('goes to the first container, in addition to its own requests', () => {
    const containers = [{ name: 'a', resources: { limits: { cpu: '1' } } }, { name: 'b' }];
    const result = admitted(pod({ spec: { containers } }), known);
    expect(result.spec.containers[0]?.resources).toEqual({
      limits: { cpu: '1', 'aliyun/member-eni': '1' },
      requests: { 'aliyun/member-eni': '1' },
    });
    expect(result.spec.containers[1]).toEqual({ name: 'b' });
  });

  test('of a user is respected, in another container or a sidecar', () => {
    const mine = asks('aliyun/member-eni', '2');
    expect(limitsOf(admitted(pod({ spec: { containers: [{ name: 'a' }, mine] } }), known))).toEqual([
      undefined,
      { 'aliyun/member-eni': '2' },
    ]);
    const sidecar = { ...mine, restartPolicy: 'Always' };
    expect(
      limitsOf(admitted(pod({ spec: { initContainers: [sidecar], containers: [{ name: 'a' }] } }), known)),
    ).toEqual([undefined]);
  });

  test('of an init container that ends does not count; running containers need one', () => {
    const initContainers = [asks('aliyun/member-eni', '1')];
    expect(limitsOf(admitted(pod({ spec: { initContainers, containers: [{ name: 'a' }] } }), known))).toEqual([
      { 'aliyun/member-eni': '1' },
    ]);
  });

  test('that is too small is respected, with a warning', () => {
    const two = [{ network: 'web' }, { interfaceName: 'net1', network: 'web' }];
    const raw = pod({
      metadata: annotation('pod-networks-request', two),
      spec: { containers: [asks('aliyun/member-eni', '1')] },
    });
    expect(decide(raw, known)).toMatchObject({
      warnings: [expect.stringMatching(/asks for 1 aliyun\/member-eni but has 2/)],
    });
  });

  test('is not added when injection is turned off', () => {
    expect(limitsOf(admitted(pod(), view([...known.networkings], { injectResources: false })))).toEqual([undefined]);
  });

  test('names what the nodes provide: trunk members or whole ENIs', () => {
    const of = (eniType: string) => [networking('web', { selector: WEB, eniOptions: { eniType } })];
    const resource = (raw: Record<string, unknown>, known: PodMutationView) =>
      Object.keys(limitsOf(admitted(raw, known))[0] ?? {});
    expect(resource(pod(), view(of('ENI')))).toEqual(['aliyun/eni']);
    expect(resource(pod(), view(of('Trunk')))).toEqual(['aliyun/member-eni']);
    expect(resource(pod(), view(of('Default'), { enableTrunk: false }))).toEqual(['aliyun/eni']);
    expect(resource(pod({ spec: { nodeSelector: ENI_ONLY } }), view(of('Default')))).toEqual(['aliyun/eni']);
    expect(refusal(pod(), view(of('Trunk'), { enableTrunk: false }))).toMatch(
      /web has eniType Trunk, but enableTrunk is false/,
    );
    expect(refusal(pod({ spec: { nodeSelector: ENI_ONLY } }), view(of('Trunk')))).toMatch(
      /eniOnly, which provide whole ENIs/,
    );
  });
});

describe('#69: a pod that asks for exclusive nodes', () => {
  const expression = { key: 'k8s.aliyun.com/exclusive-mode-eni-type', operator: 'In', values: ['eniOnly'] };
  const required = (...nodeSelectorTerms: object[]) => ({
    affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } } },
  });
  test.each([
    ['by nodeSelector', { nodeSelector: ENI_ONLY }, true],
    ['by affinity', required({ matchExpressions: [expression] }), true],
    [
      'by each of its terms',
      required({ matchExpressions: [expression] }, { matchExpressions: [expression, inZones('h')] }),
      true,
    ],
    ['by one of two terms', required({ matchExpressions: [expression] }, { matchExpressions: [inZones('h')] }), false],
    ['or for others', required({ matchExpressions: [{ ...expression, values: ['eniOnly', 'default'] }] }), false],
    ['not', required({ matchExpressions: [{ ...expression, operator: 'NotIn' }] }), false],
  ])('%s', (_name, spec, asks) => {
    const raw = pod({ metadata: { labels: {} }, spec });
    expect(limitsOf(admitted(raw, view([])))).toEqual([asks ? { 'aliyun/eni': '1' } : undefined]);
  });
});

describe('the zones', () => {
  const known = (zones: Record<string, number | undefined>, changes: Partial<PodMutationView> = {}) =>
    view([networking('web', { selector: WEB }, zones)], changes);

  test('are those of the vSwitches; full ones are left out while another zone is left', () => {
    const zones = (counts: Record<string, number | undefined>) => termsOf(admitted(pod(), known(counts)));
    expect(zones({ h: 5, i: 5 })).toEqual([{ matchExpressions: [inZones('h', 'i')] }]);
    expect(zones({ h: 0, i: 5 })).toEqual([{ matchExpressions: [inZones('i')] }]);
    expect(zones({ h: 0, i: 0 })).toEqual([{ matchExpressions: [inZones('h', 'i')] }]);
    expect(zones({ h: 0, i: undefined })).toEqual([{ matchExpressions: [inZones('i')] }]);
    expect(zones({})).toBeUndefined();
  });

  test('of a pod with a fixed address is that of the address, even if the vSwitch is full', () => {
    expect(termsOf(admitted(pod(), known({ h: 0, i: 5 }, { fixedZone: 'h' })))).toEqual([
      { matchExpressions: [inZones('h')] },
    ]);
  });

  test('are not set for pods of a DaemonSet', () => {
    const raw = pod({ metadata: { ownerReferences: [{ kind: 'DaemonSet' }] } });
    expect(termsOf(admitted(raw, known({ h: 5 })))).toBeUndefined();
  });

  test('are ANDed into each term; a term that matches nothing still matches nothing', () => {
    const terms = [
      { matchExpressions: [{ key: 'a', operator: 'Exists' }] },
      { matchFields: [{ key: 'metadata.name', operator: 'In', values: ['n'] }] },
      {},
    ];
    const affinity = { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: terms } } };
    expect(termsOf(admitted(pod({ spec: { affinity } }), known({ h: 5 })))).toEqual([
      { matchExpressions: [{ key: 'a', operator: 'Exists' }, inZones('h')] },
      { matchFields: [{ key: 'metadata.name', operator: 'In', values: ['n'] }], matchExpressions: [inZones('h')] },
      {},
    ]);
  });
});

describe('#13: for any pod the patch changes only what it must, and a second review changes nothing', () => {
  const extra = fc.dictionary(fc.constantFrom('unknownField', 'newer/field', '__x'), fc.jsonValue({ maxDepth: 2 }), {
    maxKeys: 2,
  });
  const container = fc.record({ name: fc.constantFrom('a', 'b'), ports: fc.array(extra, { maxLength: 1 }) });
  const term = fc.record(
    { matchExpressions: fc.array(fc.constant({ key: 'k', operator: 'Exists' }), { maxLength: 2 }), other: extra },
    { requiredKeys: [] },
  );
  const anyPod = fc.record({
    metadata: fc.record(
      {
        name: fc.constantFrom('web-0', ''),
        labels: fc.constant({ app: 'web' }),
        annotations: fc.dictionary(fc.constantFrom('x', 'a/b', 'c~d'), fc.string(), { maxKeys: 2 }),
        ownerReferences: fc.constantFrom([{ kind: 'StatefulSet' }], [{ kind: 'DaemonSet' }], [{ kind: 'Job' }]),
        managed: extra,
      },
      { requiredKeys: ['labels'] },
    ),
    spec: fc.record(
      {
        containers: fc.array(container, { minLength: 1, maxLength: 3 }),
        initContainers: fc.array(container, { maxLength: 2 }),
        affinity: fc.record({
          podAffinity: extra,
          nodeAffinity: fc.record({
            requiredDuringSchedulingIgnoredDuringExecution: fc.record({
              nodeSelectorTerms: fc.array(term, { maxLength: 3 }),
            }),
          }),
        }),
        extra,
      },
      { requiredKeys: ['containers'] },
    ),
    status: extra,
  });

  test('also for a pod whose unknown fields have names reserved in JavaScript', () => {
    const managed: unknown = JSON.parse('{"field":{"__proto__":0,"constructor":0}}');
    const after = admitted(pod({ metadata: { managed } }), view([networking('web', { selector: WEB }, { h: 1 })]));
    expect(JSON.stringify(after)).toContain(JSON.stringify(managed));
  });

  test('holds', () => {
    const known = view([networking('web', { selector: WEB }, { h: 1, i: 0 })]);
    fc.assert(
      fc.property(anyPod, (raw) => {
        const before = structuredClone(raw);
        const after = admitted(raw, known);
        expect(raw).toEqual(before);
        expect(decide(after as unknown as Record<string, unknown>, known)).toMatchObject({ patch: [] });
        // Without the intended changes the pod is as its author wrote it.
        const { annotations = {}, ...metadata } = after.metadata;
        const theirs = Object.fromEntries(
          Object.entries(annotations).filter(([key]) => !key.startsWith('k8s.aliyun.com/')),
        );
        const { annotations: given, ...givenMetadata } = raw.metadata;
        expect(metadata).toEqual(givenMetadata);
        expect(theirs).toEqual(given ?? {});
        const { affinity: _a, containers, ...spec } = after.spec;
        const { affinity: _b, containers: givenContainers, ...givenSpec } = raw.spec;
        expect(spec).toEqual(givenSpec);
        expect(containers.map(({ resources: _r, ...rest }) => rest)).toEqual(givenContainers);
        expect(containers.slice(1).every(({ resources }) => resources === undefined)).toBe(true);
        const isDaemon = raw.metadata.ownerReferences?.[0]?.kind === 'DaemonSet';
        const required = raw.spec.affinity?.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution;
        for (const [at, { matchExpressions = [], ...rest }] of (required?.nodeSelectorTerms ?? []).entries()) {
          expect(termsOf(after)?.[at]).toMatchObject({
            ...rest,
            ...(matchExpressions.length === 0 || isDaemon
              ? {}
              : { matchExpressions: [...matchExpressions, inZones('h')] }),
          });
        }
      }),
    );
  });
});
