/** The labels of Kubernetes' own domains that a kubelet may set on its node. It may set any label of other domains. */
const KUBELET_LABELS = [
  'kubernetes.io/hostname',
  'topology.kubernetes.io/zone',
  'topology.kubernetes.io/region',
  'node.kubernetes.io/instance-type',
  'kubernetes.io/os',
  'kubernetes.io/arch',
];
const KUBELET_DOMAINS = ['kubelet.kubernetes.io', 'node.kubernetes.io'];

/** Splits a node's labels into those that its kubelet may set and those that need more rights. */
export function splitLabels(labels: Readonly<Record<string, string>>): {
  byKubelet: Record<string, string>;
  byOthers: Record<string, string>;
} {
  const byKubelet: Record<string, string> = {};
  const byOthers: Record<string, string> = {};
  for (const [key, value] of Object.entries(labels)) {
    if (mayKubeletSet(key)) byKubelet[key] = value;
    else byOthers[key] = value;
  }
  return { byKubelet, byOthers };
}

function mayKubeletSet(key: string): boolean {
  if (KUBELET_LABELS.includes(key)) return true;
  const domain = key.includes('/') ? key.slice(0, key.indexOf('/')) : '';
  const isIn = (parent: string) => domain === parent || domain.endsWith(`.${parent}`);
  return KUBELET_DOMAINS.some(isIn) || !['kubernetes.io', 'k8s.io'].some(isIn);
}
