import fc from 'fast-check';
import { expect, test } from 'vitest';
import { chooseNetworkings, type PodToMatch } from './match.ts';
import { candidatesFor, selectorKeys } from './networking-candidates.ts';
import { podNetworking } from './test-support/fixtures.ts';

const NAMES = ['a', 'b', 'c', 'd'];
const word = fc.constantFrom('x', 'y', 'constructor');
const labels = fc.dictionary(word, word, { maxKeys: 2 });
const labelSelector = fc.record(
  {
    matchLabels: labels,
    matchExpressions: fc.array(
      fc.record({
        key: word,
        operator: fc.constantFrom('In', 'NotIn', 'Exists', 'DoesNotExist', 'Like'),
        values: fc.array(word, { maxLength: 2 }),
      }),
      { maxLength: 2 },
    ),
  },
  { requiredKeys: [] },
);
const spec = fc.record(
  {
    selector: fc.record({ podSelector: labelSelector, namespaceSelector: labelSelector }, { requiredKeys: [] }),
    priority: fc.constantFrom(0, 1),
    allocationType: fc.constantFrom({ type: 'Elastic' }, { type: 'Fixed' }),
  },
  { requiredKeys: [] },
);
const name = fc.constantFrom(...NAMES, 'nobody');
const annotations = fc.record(
  {
    'k8s.aliyun.com/pod-networking': name,
    'k8s.aliyun.com/pod-networks': fc
      .array(name, { maxLength: 2 })
      .map((names) =>
        JSON.stringify({ podNetworks: names.map((network, at) => ({ interface: `eth${at}`, network })) }),
      ),
    'k8s.aliyun.com/pod-networks-request': fc.oneof(
      name.map((network) => JSON.stringify([{ network }])),
      fc.constant('nonsense'),
    ),
  },
  { requiredKeys: [] },
);

function lookupOf(networkings: readonly ReturnType<typeof podNetworking>[]) {
  return {
    get: (wanted: string) => networkings.find(({ metadata }) => metadata.name === wanted),
    bySelectorKey: (key: string) => networkings.filter((networking) => selectorKeys(networking).includes(key)),
  };
}

test('a choice among the candidates equals the choice among all', () => {
  fc.assert(
    fc.property(
      fc.array(spec, { maxLength: NAMES.length }),
      fc.record({ labels, annotations, namespaceLabels: labels, hasStableName: fc.boolean() }),
      (specs, some) => {
        const pod: PodToMatch = { key: 'default/pod', ...some };
        const all = specs.map((each, at) => podNetworking(each, { name: NAMES[at] ?? '' }));
        expect(chooseNetworkings(pod, candidatesFor(pod, lookupOf(all)))).toEqual(chooseNetworkings(pod, all));
      },
    ),
    { numRuns: 200 },
  );
});

test('PodNetworkings that require other labels are not considered', () => {
  const all = Array.from({ length: 500 }, (_, at) =>
    podNetworking({ selector: { podSelector: { matchLabels: { app: `app-${at}` } } } }, { name: `n-${at}` }),
  );
  const pod: PodToMatch = {
    key: 'default/pod',
    labels: { app: 'app-7', tier: 'front' },
    annotations: { 'k8s.aliyun.com/pod-networking': 'n-9' },
    namespaceLabels: { app: 'app-8' },
    hasStableName: true,
  };
  expect(candidatesFor(pod, lookupOf(all)).map(({ metadata }) => metadata.name)).toEqual(['n-7', 'n-9']);
});
