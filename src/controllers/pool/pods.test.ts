import { expect, test } from 'vitest';
import { podNetworking } from '../../allocation/test-support/fixtures.ts';
import { NETWORKING_INDEXERS } from '../../cluster/networking-lookup.ts';
import type { Namespace, Pod } from '../../cluster/resources.ts';
import { ANNOTATION_POD_ENI, ANNOTATION_POD_NETWORKING, LABEL_IGNORE, LABEL_POD_ENI } from '../../crds/names.ts';
import { type PodEni, podEniSchema } from '../../crds/pod-eni.ts';
import type { PodNetworking } from '../../crds/pod-networking.ts';
import { Store } from '../../kube/store.ts';
import { poolPods } from './pods.ts';

interface PodOptions {
  name?: string;
  uid?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  createdAt?: string;
  namespace?: string;
  isDeleted?: boolean;
  hostNetwork?: boolean;
  phase?: string;
  ips?: string[];
}

function podOf({ name = 'a', uid = `uid-${name}`, labels = {}, annotations = {}, ...rest }: PodOptions): Pod {
  const { createdAt = '2026-03-01T10:00:00Z', namespace = 'shop', phase = 'Pending', ips = [] } = rest;
  const deleted = rest.isDeleted === true ? { deletionTimestamp: createdAt } : {};
  return {
    metadata: { namespace, name, uid, labels, annotations, creationTimestamp: createdAt, ...deleted },
    spec: { nodeName: 'node-1', hostNetwork: rest.hostNetwork ?? false },
    status: { phase, podIPs: ips },
  };
}

/** A node with these pods, and a PodNetworking that selects those with the label `app: web`. */
function cluster(options: {
  pods: Pod[];
  namespaceLabels?: Record<string, string>;
  isReady?: boolean;
  podEni?: string;
}) {
  const pods = new Store<Pod>({ indexers: { node: ({ spec }) => [spec.nodeName] } });
  const namespaces = new Store<Namespace>();
  const podNetworkings = new Store<PodNetworking>({ indexers: NETWORKING_INDEXERS });
  const podEnis = new Store<PodEni>();
  for (const pod of options.pods) pods.upsert(pod);
  namespaces.upsert({ metadata: { name: 'shop', labels: options.namespaceLabels ?? {} } });
  const selector = { podSelector: { matchLabels: { app: 'web' } } };
  const networking = podNetworking({ selector }, { name: 'web' });
  podNetworkings.upsert(options.isReady === false ? { ...networking, status: {} } : networking);
  if (options.podEni !== undefined) {
    podEnis.upsert(podEniSchema.parse({ metadata: { namespace: 'shop', name: options.podEni } }));
  }
  const informers = {
    pods: { store: pods },
    namespaces: { store: namespaces },
    podNetworkings: { store: podNetworkings },
    podEnis: { store: podEnis },
  };
  return { stableNameKinds: [], informers };
}

const WEB = { app: 'web' };
const names = (pods: ReturnType<typeof poolPods>, mayGet: boolean) =>
  pods.filter((pod) => pod.mayGet === mayGet).map(({ key }) => key);

test.each<[string, Parameters<typeof cluster>[0], boolean]>([
  ['one that nothing picks', { pods: [podOf({})] }, true],
  ['one that a PodNetworking picks and the webhook has missed', { pods: [podOf({ labels: WEB })] }, false],
  ['the same while the PodNetworking is not Ready', { pods: [podOf({ labels: WEB })], isReady: false }, false],
  ['one that the webhook has marked', { pods: [podOf({ annotations: { [ANNOTATION_POD_ENI]: 'true' } })] }, false],
  ['one that has a PodENI', { pods: [podOf({})], podEni: 'a' }, false],
  ['one that names a PodNetworking', { pods: [podOf({ annotations: { [ANNOTATION_POD_NETWORKING]: 'web' } })] }, false],
  [
    'one in a namespace that selectors skip',
    { pods: [podOf({ labels: WEB })], namespaceLabels: { [LABEL_POD_ENI]: 'false' } },
    true,
  ],
  ['one whose namespace is not known yet', { pods: [podOf({ namespace: 'new' })] }, false],
  ['one that asks for nothing of ours', { pods: [podOf({ labels: { [LABEL_IGNORE]: 'true' } })] }, false],
  ['one that is being deleted', { pods: [podOf({ isDeleted: true })] }, false],
])('%s', (_, options, mayGet) => {
  const context = cluster(options);
  const [pod] = poolPods(context, 'node-1', new Set());
  expect(pod?.mayGet).toBe(mayGet);
});

test.each<[string, PodOptions]>([
  ['that use the network of the node', { hostNetwork: true }],
  ['that have ended', { phase: 'Succeeded' }],
])('pods %s are none of the pool', (_, options) => {
  expect(poolPods(cluster({ pods: [podOf(options)] }), 'node-1', new Set())).toEqual([]);
});

test('what a pod has it keeps, whatever picks it by now', () => {
  const context = cluster({ pods: [podOf({ labels: WEB, ips: ['10.0.0.1'] })] });
  expect(poolPods(context, 'node-1', new Set(['uid-a']))).toMatchObject([{ mayGet: true, reported: ['10.0.0.1'] }]);
  expect(poolPods(context, 'node-1', new Set())).toMatchObject([{ mayGet: false, reported: ['10.0.0.1'] }]);
});

test('an address of a former pod gives its name no claim', () => {
  const context = cluster({ pods: [podOf({ labels: WEB, uid: 'second' })] });
  expect(names(poolPods(context, 'node-1', new Set(['first'])), false)).toEqual(['shop/a']);
});

test('the oldest pod comes first', () => {
  const at = (minute: number) => `2026-03-01T10:0${minute}:00Z`;
  const made = [
    podOf({ name: 'b', createdAt: at(2) }),
    podOf({ name: 'c', createdAt: at(1) }),
    podOf({ name: 'a', createdAt: at(3) }),
  ];
  const found = poolPods(cluster({ pods: made }), 'node-1', new Set());
  expect(found.map(({ key }) => key)).toEqual(['shop/c', 'shop/b', 'shop/a']);
});
