import { stringify } from 'yaml';
import { writeSingleLayerImage } from '../../tools/product/image/oci.ts';
import type { BuildOptions } from '../../tools/programs/cache.ts';
import { COREDNS_VERSION, ensureCoreDns } from '../../tools/programs/coredns.ts';
import { POD_SECURITY_GROUP, POD_VSWITCH, ZONES } from './lab.ts';

/** The resolver that the kubelets of a lab give their pods (test/cluster/real-nodes/machine-config.ts). */
const DNS_ADDRESS = '10.96.0.10';
const IMAGE = `registry.k8s.io/coredns/coredns:${COREDNS_VERSION}`;
const LABELS = { 'k8s-app': 'kube-dns' };
const NAMESPACE = 'kube-system';

/** Name of the PodNetworking that gives CoreDNS its ENIs. */
export const DNS_NETWORKING = 'kube-dns';
export const DNS_REPLICAS = 2;

/** Writes the archive of the CoreDNS image. */
export async function writeDnsImage(path: string, options: BuildOptions = {}): Promise<void> {
  const from = await ensureCoreDns(options);
  await writeSingleLayerImage(path, [{ kind: 'file', path: 'coredns', mode: 0o755, content: { from } }], {
    reference: IMAGE,
    entrypoint: ['/coredns'],
  });
}

/** How CoreDNS gets its network: addresses of shared ENIs, or ENIs of a PodNetworking that selects its pods, or that these name themselves. */
export type DnsNetwork = 'shared' | 'selected' | 'named';

/** CoreDNS as clusters run it: an ordinary Deployment behind the Service `kube-dns`. */
export function dnsManifests(network: DnsNetwork): string {
  const metadata = { name: 'coredns', namespace: NAMESPACE };
  const subject = { kind: 'ServiceAccount', ...metadata };
  const role = { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'system:coredns' };
  const watched = (apiGroup: string, resources: readonly string[]) => ({
    apiGroups: [apiGroup],
    resources,
    verbs: ['list', 'watch'],
  });
  const networking = {
    apiVersion: 'network.alibabacloud.com/v1beta1',
    kind: 'PodNetworking',
    metadata: { name: DNS_NETWORKING },
    spec: {
      selector: {
        podSelector: { matchLabels: LABELS },
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': NAMESPACE } },
      },
      vSwitchOptions: ZONES.map((zone) => POD_VSWITCH[zone]),
      securityGroupIDs: [POD_SECURITY_GROUP],
    },
  };
  const objects = [
    ...(network === 'shared' ? [] : [networking]),
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: { name: role.name },
      rules: [
        watched('', ['endpoints', 'services', 'pods', 'namespaces']),
        watched('discovery.k8s.io', ['endpointslices']),
      ],
    },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: role.name },
      roleRef: role,
      subjects: [subject],
    },
    { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { Corefile: COREFILE } },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'kube-dns', namespace: NAMESPACE, labels: LABELS },
      spec: {
        clusterIP: DNS_ADDRESS,
        selector: LABELS,
        ports: [
          { name: 'dns', port: 53, protocol: 'UDP' },
          { name: 'dns-tcp', port: 53, protocol: 'TCP' },
          { name: 'metrics', port: 9153, protocol: 'TCP' },
        ],
      },
    },
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { ...metadata, labels: LABELS },
      spec: {
        replicas: DNS_REPLICAS,
        selector: { matchLabels: LABELS },
        template: {
          metadata: {
            labels: LABELS,
            ...(network === 'named'
              ? { annotations: { 'k8s.aliyun.com/pod-eni': 'true', 'k8s.aliyun.com/pod-networking': DNS_NETWORKING } }
              : {}),
          },
          spec: {
            serviceAccountName: metadata.name,
            priorityClassName: 'system-cluster-critical',
            dnsPolicy: 'Default',
            topologySpreadConstraints: [
              {
                maxSkew: 1,
                topologyKey: 'kubernetes.io/hostname',
                whenUnsatisfiable: 'ScheduleAnyway',
                labelSelector: { matchLabels: LABELS },
              },
            ],
            containers: [
              {
                name: 'coredns',
                image: IMAGE,
                imagePullPolicy: 'Never',
                args: ['-conf', '/etc/coredns/Corefile'],
                volumeMounts: [{ name: 'config', mountPath: '/etc/coredns', readOnly: true }],
                readinessProbe: { httpGet: { path: '/ready', port: 8181 }, periodSeconds: 1 },
                livenessProbe: { httpGet: { path: '/health', port: 8080 }, initialDelaySeconds: 60 },
                resources: network === 'named' ? { limits: { 'aliyun/member-eni': '1' } } : {},
              },
            ],
            volumes: [{ name: 'config', configMap: { name: metadata.name } }],
          },
        },
      },
    },
  ];
  return objects.map((object) => stringify(object)).join('---\n');
}

/** What kubeadm installs, except for forwarding: the lab has no resolver outside. */
const COREFILE = `.:53 {
  errors
  health
  ready
  kubernetes cluster.local in-addr.arpa ip6.arpa {
    pods insecure
    fallthrough in-addr.arpa ip6.arpa
    ttl 30
  }
  prometheus :9153
  cache 30 {
    disable success cluster.local
    disable denial cluster.local
  }
  loop
  reload
  loadbalance
}
`;
