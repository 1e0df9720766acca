import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseControlPlaneConfig } from './config-file.ts';
import { fromUpstreamKeys } from './upstream-keys.ts';

describe('#64: a configuration that was written for upstream’s control plane', () => {
  // What upstream's chart renders with every value set.
  const text = `
leaseLockName: terway-controller-lock
leaseLockNamespace: kube-system
controllerNamespace: kube-system
controllerName: terway-controlplane
healthzBindAddress: 0.0.0.0:8080
metricsBindAddress: "0"
clusterDomain: cluster.local
disableWebhook: false
webhookPort: 4443
certDir: /var/run/webhook-cert
leaderElection: true
leaseDuration: 15s
podMaxConcurrent: 10
podENIMaxConcurrent: 10
nodeMaxConcurrent: 10
eniMaxConcurrent: 300
multiIPPodMaxConcurrent: 500
multiIPNodeMaxConcurrent: 500
multiIPNodeSyncPeriod: 12h
multiIPGCPeriod: 30s
multiIPMinSyncPeriodOnFailure: 1s
multiIPMaxSyncPeriodOnFailure: 300s
controllers: [pod-eni, pod, pod-networking, node, multi-ip-node, multi-ip-pod]
regionID: cn-hangzhou
clusterID: c1
vpcID: vpc-1
enableTrunk: false
ipStack: ipv4
enableWebhookInjectResource: true
kubeClientQPS: 20
kubeClientBurst: 30
centralizedIPAM: false
degradation: l1
customStatefulWorkloadKinds: [CloneSet]
nodeLabelWhiteList: { pool: trunk }
rateLimit: { CreateNetworkInterface: 800 }
backoffOverride: { eni_create: { Duration: 10000000000 } }
`;

  test('is read; keys without effect here are reported, each once', () => {
    const { config, notes } = parseControlPlaneConfig('ctrl-config.yaml', text);
    expect(config).toMatchObject({
      regionID: 'cn-hangzhou',
      enableTrunk: false,
      degradation: 'l1',
      podENIMaxConcurrent: 10,
      multiIPGCPeriod: 30_000,
      customStatefulWorkloadKinds: ['CloneSet'],
      nodeLabelWhiteList: { pool: 'trunk' },
    });
    const keys = notes.map((note) => note.split(' ')[0]);
    expect(keys).toEqual([...new Set(keys)]);
    expect(keys).toEqual(expect.arrayContaining(['leaseLockName', 'controllers', 'backoffOverride', 'kubeClientQPS']));
    expect(keys.filter((key) => key?.startsWith('multiIP'))).toEqual([
      'multiIPPodMaxConcurrent',
      'multiIPNodeMaxConcurrent',
      'multiIPNodeSyncPeriod',
      'multiIPMinSyncPeriodOnFailure',
      'multiIPMaxSyncPeriodOnFailure',
    ]);
    expect(notes.every((note) => / has no effect: \S/.test(note))).toBe(true);
  });

  test.each([
    ['a key that neither knows', 'rateLimits: {}', 'unknown key rateLimits'],
    ['the legacy mode', 'ipamType: crd', 'only "" is supported: where ordinary pods are to share ENIs'],
    ['a level that does not exist', 'degradation: l2', 'degradation: '],
  ])('%s is refused', (_title, line, words) => {
    expect(() => parseControlPlaneConfig('f.yaml', line)).toThrow(words);
  });

  test('our own key wins over the one that moved', () => {
    expect(fromUpstreamKeys({ webhookPort: 1, webhook: { port: 2 } }).raw).toEqual({ webhook: { port: 2 } });
    expect(fromUpstreamKeys({ disableWebhook: true }).raw).toEqual({ webhook: { enabled: false } });
  });

  test('any input is kept, and nothing is thrown', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const { raw, notes } = fromUpstreamKeys(value);
        if (notes.length === 0 && !JSON.stringify(value).includes('ebhook')) expect(raw).toEqual(value);
      }),
      { examples: [[JSON.parse('{"__proto__": 1}')], [JSON.parse('{"a": {"__proto__": {"b": 2}}}')]] },
    );
  });
});
