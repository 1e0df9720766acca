import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { LabelSelector } from '../crds/pod-networking.ts';
import { matchesSelector } from './labels.ts';
import { chooseNetworkings, type Losses, matchNetworking, noteLosses, type PodToMatch } from './match.ts';
import { inlineOwner } from './network-request.ts';
import { ALLOCATION_TYPE, podNetworking } from './test-support/fixtures.ts';

describe('a label selector', () => {
  const labels = { app: 'web', tier: 'front' };
  const expression = (key: string, operator: string, values?: string[]): LabelSelector => ({
    matchExpressions: [{ key, operator, ...(values === undefined ? {} : { values }) }],
  });

  test.each<[string, LabelSelector, boolean | undefined]>([
    ['empty', {}, true],
    ['equal', { matchLabels: { app: 'web' } }, true],
    ['all of them', { matchLabels: { app: 'web', tier: 'back' } }, false],
    ['absent', { matchLabels: { other: '' } }, false],
    ['In', expression('app', 'In', ['api', 'web']), true],
    ['In, absent', expression('other', 'In', ['web']), false],
    ['In, nothing', expression('app', 'In'), false],
    ['NotIn', expression('app', 'NotIn', ['web']), false],
    ['NotIn, another', expression('app', 'NotIn', ['api']), true],
    ['NotIn, absent', expression('other', 'NotIn', ['web']), true],
    ['Exists', expression('app', 'Exists'), true],
    ['Exists, absent', expression('other', 'Exists'), false],
    ['DoesNotExist', expression('app', 'DoesNotExist'), false],
    ['DoesNotExist, absent', expression('other', 'DoesNotExist'), true],
    ['both kinds', { matchLabels: { app: 'web' }, ...expression('tier', 'NotIn', ['front']) }, false],
    ['an unknown operator', expression('app', 'Gt', ['1']), undefined],
    ['a key that objects inherit from Object', expression('constructor', 'Exists'), false],
    ['its absence', expression('toString', 'DoesNotExist'), true],
  ])('%s', (_name, selector, expected) => {
    expect(matchesSelector(selector, labels)).toBe(expected);
  });

  test('NotIn and DoesNotExist are the opposites of In and Exists', () => {
    const word = fc.constantFrom('a', 'b', 'c', 'valueOf');
    fc.assert(
      fc.property(fc.dictionary(word, word), word, fc.array(word), (some, key, values) => {
        expect(matchesSelector(expression(key, 'NotIn', values), some)).toBe(
          !matchesSelector(expression(key, 'In', values), some),
        );
        expect(matchesSelector(expression(key, 'DoesNotExist'), some)).toBe(
          !matchesSelector(expression(key, 'Exists'), some),
        );
      }),
    );
  });
});

describe('the PodNetworking of a pod', () => {
  const pod = (changes: Partial<PodToMatch> = {}): PodToMatch => ({
    key: 'default/web-0',
    labels: { app: 'web' },
    annotations: {},
    namespaceLabels: { team: 'red' },
    hasStableName: true,
    ...changes,
  });
  const web = { podSelector: { matchLabels: { app: 'web' } } };
  const red = { namespaceSelector: { matchLabels: { team: 'red' } } };
  const blue = { namespaceSelector: { matchLabels: { team: 'blue' } } };
  const networking = (name: string, spec: object) => podNetworking(spec, { name });
  const named = (name: string) => ({ 'k8s.aliyun.com/pod-networking': name });

  test.each([
    ['the pod selector', { selector: web }, true],
    ['the namespace selector', { selector: red }, true],
    ['both', { selector: { ...web, ...red } }, true],
    ['only one of two', { selector: { ...web, ...blue } }, false],
    ['no selector', {}, false],
    ['an empty selector object', { selector: {} }, false],
    ['a selector of everything', { selector: { podSelector: {} } }, true],
    [
      'an invalid operator',
      { selector: { podSelector: { matchExpressions: [{ key: 'app', operator: 'Like', values: [] }] } } },
      false,
    ],
  ])('by %s', (_name, spec, matched) => {
    expect(matchNetworking(pod(), [networking('a', spec)]).kind).toBe(matched ? 'matched' : 'none');
  });

  test('is the first of several by name, whatever their order; the others are reported', () => {
    const all = ['b', 'a', 'c'].map((name) => networking(name, { selector: web }));
    for (const order of [all, [...all].reverse()]) {
      expect(matchNetworking(pod(), order)).toMatchObject({
        kind: 'matched',
        wanted: [{ name: 'eth0', networking: { metadata: { name: 'a' } } }],
        others: ['b', 'c'],
      });
    }
  });

  test('#11: of several is the one with the highest priority', () => {
    const all = [
      networking('a', { selector: web }),
      networking('b', { selector: web, priority: 1 }),
      networking('c', {}),
    ];
    for (const order of [all, [...all].reverse()]) {
      expect(matchNetworking(pod(), order)).toMatchObject({
        wanted: [{ networking: { metadata: { name: 'b' } } }],
        others: ['a'],
      });
    }
    // A choice written by the webhook still has losers; against a user's explicit choice nobody loses.
    expect(matchNetworking(pod({ annotations: named('b') }), all)).toMatchObject({ others: ['a'] });
    expect(matchNetworking(pod({ annotations: named('c') }), all)).toMatchObject({ others: [] });
    const losses: Losses = new Map();
    for (const each of [pod(), pod(), pod({ labels: {} }), pod({ annotations: named('a') })])
      noteLosses(losses, each, all);
    expect(losses).toEqual(
      new Map([
        ['a', new Map([['b', 2]])],
        ['b', new Map([['a', 1]])],
      ]),
    );
  });

  test('is not chosen by selector in a namespace that opted out', () => {
    const out = pod({ namespaceLabels: { 'k8s.aliyun.com/pod-eni': 'false' } });
    const all = [networking('a', { selector: web })];
    expect(matchNetworking(out, all).kind).toBe('none');
    expect(matchNetworking({ ...out, annotations: named('a') }, all).kind).toBe('matched');
  });

  test('is the one that the annotation names, selected or not', () => {
    const all = [networking('a', { selector: web }), networking('b', {})];
    expect(matchNetworking(pod({ annotations: named('b') }), all)).toMatchObject({
      wanted: [{ networking: { metadata: { name: 'b' } } }],
    });
    expect(matchNetworking(pod({ annotations: named('z') }), all)).toEqual({ kind: 'unknown', name: 'z' });
    expect(matchNetworking(pod({ annotations: named('') }), all)).toMatchObject({
      wanted: [{ networking: { metadata: { name: 'a' } } }],
    });
  });

  test('with fixed addresses does not serve a pod whose name is not stable', () => {
    const fixed = networking('a', { selector: web, allocationType: ALLOCATION_TYPE.fixedForever });
    const elastic = networking('b', { selector: web });
    const passing = pod({ hasStableName: false });
    expect(matchNetworking(passing, [fixed])).toEqual({ kind: 'needsStableName', name: 'a' });
    expect(matchNetworking(passing, [fixed, elastic])).toMatchObject({
      wanted: [{ networking: { metadata: { name: 'b' } } }],
    });
    expect(matchNetworking(pod(), [fixed, elastic])).toMatchObject({
      wanted: [{ networking: { metadata: { name: 'a' } } }],
    });
    expect(matchNetworking({ ...passing, annotations: named('a') }, [fixed, elastic]).kind).toBe('needsStableName');
  });

  test('serves no pod before its current generation was checked', () => {
    const base = networking('a', { selector: web });
    const judge = (status: typeof base.status) =>
      matchNetworking(pod(), [
        { ...base, metadata: { ...base.metadata, generation: 2 }, ...(status ? { status } : {}) },
      ]).kind;
    expect(matchNetworking(pod(), [{ metadata: base.metadata, spec: base.spec }]).kind).toBe('notReady');
    expect(judge({ status: 'Fail', observedGeneration: 2 })).toBe('notReady');
    expect(judge({ status: 'Ready', observedGeneration: 1 })).toBe('notReady');
    expect(judge({ status: 'Ready', observedGeneration: 2 })).toBe('matched');
    // Upstream writes no generation.
    expect(judge({ status: 'Ready' })).toBe('matched');
  });

  test('that is first by name but not ready is waited for, not skipped', () => {
    const first = { ...networking('a', { selector: web }), status: { status: 'Fail' as const } };
    expect(matchNetworking(pod(), [first, networking('b', { selector: web })])).toEqual({
      kind: 'notReady',
      name: 'a',
    });
  });
});

describe('a request for several interfaces', () => {
  const ask = (request: unknown, networkings = [podNetworking({}, { name: 'a' }), podNetworking({}, { name: 'b' })]) =>
    matchNetworking(
      {
        key: 'default/web-0',
        labels: {},
        annotations: {
          'k8s.aliyun.com/pod-networks-request': typeof request === 'string' ? request : JSON.stringify(request),
          // The request takes precedence.
          'k8s.aliyun.com/pod-networking': 'other',
        },
        namespaceLabels: {},
        hasStableName: true,
      },
      networkings,
    );

  test('names a PodNetworking for each', () => {
    const routes = [{ dst: '10.99.0.0/16' }];
    expect(
      ask([
        { network: 'a', defaultRoute: true },
        { interfaceName: 'net1', network: 'b', routes },
      ]),
    ).toMatchObject({
      kind: 'matched',
      wanted: [
        { name: 'eth0', networking: { metadata: { name: 'a' } }, defaultRoute: true },
        { name: 'net1', networking: { metadata: { name: 'b' } }, extraRoutes: routes },
      ],
    });
  });

  test('is refused with a message that names field and rule', () => {
    const message = (request: unknown) => {
      const match = ask(request);
      return match.kind === 'invalidRequest' ? match.message : match.kind;
    };
    expect(message('[')).toMatch(/pod-networks-request: is not JSON/);
    expect(message([])).toMatch(/top level/);
    expect(message([{ network: 'a', interfaceName: 'a/b' }])).toMatch(/0\.interfaceName: must be an interface name/);
    expect(message([{ network: 'a' }, { network: 'b' }])).toMatch(/interfaceName eth0 appears twice/);
    expect(message([{ network: 'a', interfaceName: 'net1' }])).toMatch(/no entry for eth0/);
    expect(message([{ network: 'a', routes: [{ dst: 'x' }] }])).toMatch(/0\.routes\.0\.dst: must be a CIDR/);
    expect(
      message([
        { network: 'a', defaultRoute: true },
        { network: 'b', interfaceName: 'net1', defaultRoute: true },
      ]),
    ).toMatch(/more than one interface/);
  });

  test('waits for what does not exist yet', () => {
    expect(ask([{ network: 'a' }, { interfaceName: 'net1', network: 'c' }])).toEqual({ kind: 'unknown', name: 'c' });
  });
});

describe('interfaces that a pod describes', () => {
  const of = (podNetworks: unknown, more: Record<string, string> = {}): PodToMatch => ({
    key: 'default/web-0',
    labels: {},
    annotations: { 'k8s.aliyun.com/pod-networks': JSON.stringify({ podNetworks }), ...more },
    namespaceLabels: {},
    hasStableName: true,
  });
  const entry = { interface: 'eth0', vSwitchOptions: ['vsw-1'], securityGroupIDs: ['sg-1'] };

  test('become PodNetworkings of their own whose names lead back to the pod', () => {
    const match = matchNetworking(of([{ ...entry, vSwitchSelectOptions: { vSwitchSelectionPolicy: 'most' } }]), []);
    expect(match).toMatchObject({
      kind: 'matched',
      wanted: [
        {
          name: 'eth0',
          networking: {
            metadata: { name: 'pod:default/web-0:eth0' },
            spec: { vSwitchOptions: ['vsw-1'], vSwitchSelectOptions: { vSwitchSelectionPolicy: 'most' } },
          },
        },
      ],
    });
    expect(inlineOwner('pod:default/web-0:eth0')).toEqual({ podKey: 'default/web-0', interfaceName: 'eth0' });
    expect(inlineOwner('web')).toBeUndefined();
  });

  test('written by the webhook take precedence over the request', () => {
    const written = of([{ interface: 'eth0', network: 'a' }], {
      'k8s.aliyun.com/pod-networks-request': JSON.stringify([{ network: 'b' }]),
    });
    const all = ['a', 'b'].map((name) => podNetworking({}, { name }));
    expect(matchNetworking(written, all)).toMatchObject({ wanted: [{ networking: { metadata: { name: 'a' } } }] });
    // Upstream's webhook writes a copy of the vSwitches besides the name; the name takes precedence.
    const upstreams = of([entry], { 'k8s.aliyun.com/pod-networking': 'b' });
    expect(matchNetworking(upstreams, all)).toMatchObject({ wanted: [{ networking: { metadata: { name: 'b' } } }] });
  });

  test('are refused with a message that names field and rule; an empty list means none', () => {
    const message = (podNetworks: unknown) => {
      const choice = chooseNetworkings(of(podNetworks), []);
      return choice.kind === 'invalidRequest' ? choice.message : choice.kind;
    };
    expect(message([])).toBe('none');
    expect(message(null)).toBe('none');
    expect(message([{ ...entry, vSwitchOptions: [] }])).toMatch(/vSwitchOptions of interface eth0 is empty/);
    expect(message([{ ...entry, interface: 'eth1' }])).toMatch(/no entry for eth0/);
    const groups = Array.from({ length: 11 }, (_, at) => `sg-${at}`);
    expect(message([{ ...entry, securityGroupIDs: groups }])).toMatch(/0\.securityGroupIDs: must name at most 10/);
  });

  test('may be any text without a crash', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        chooseNetworkings({ ...of([]), annotations: { 'k8s.aliyun.com/pod-networks': text } }, []);
      }),
    );
  });
});
