import type { ApiClient } from './api.ts';
import { ApiStatusError } from './errors.ts';

/** A node of the test cluster, as Alibaba Cloud's cloud provider would describe it. */
export interface NodeSpec {
  name: string;
  /** ID of the ECS instance, such as `i-2ze0001`. The provider ID is `<region>.<instanceId>`. */
  instanceId: string;
  /** Such as `ecs.g7.2xlarge`. */
  instanceType: string;
  zone: string;
  region: string;
  /** Quantities by resource name, merged over 8 CPUs, 32 GiB and 110 pods. The capacity is the same. */
  allocatable?: Readonly<Record<string, string>>;
  labels?: Readonly<Record<string, string>>;
  annotations?: Readonly<Record<string, string>>;
  /** Default: an address derived from the name. */
  internalIp?: string;
}

/** {@link startNodeLoop} manages nodes with this label. */
export const HOLLOW_NODE_LABEL = 'test.terway/hollow';

const NODES_PATH = '/api/v1/nodes';
const LEASES_PATH = '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases';
const LEASE_DURATION_SECONDS = 40;

/**
 * Registers a node without a kubelet. It is Ready from the start, and stays Ready while a node loop renews its lease.
 *
 * @returns the Node from the API server's response.
 * @throws ApiStatusError, with reason `AlreadyExists` when the name is taken.
 */
export async function createNode(client: ApiClient, spec: NodeSpec): Promise<unknown> {
  const resources = { cpu: '8', memory: '32Gi', pods: '110', ...spec.allocatable };
  return client.create(NODES_PATH, {
    metadata: {
      name: spec.name,
      annotations: spec.annotations,
      labels: {
        'topology.kubernetes.io/region': spec.region,
        'topology.kubernetes.io/zone': spec.zone,
        'node.kubernetes.io/instance-type': spec.instanceType,
        'kubernetes.io/hostname': spec.name,
        'kubernetes.io/os': 'linux',
        'kubernetes.io/arch': 'amd64',
        [HOLLOW_NODE_LABEL]: 'true',
        ...spec.labels,
      },
    },
    spec: { providerID: `${spec.region}.${spec.instanceId}` },
    status: {
      capacity: resources,
      allocatable: resources,
      addresses: [
        { type: 'InternalIP', address: spec.internalIp ?? nodeIpFor(spec.name) },
        { type: 'Hostname', address: spec.name },
      ],
      conditions: nodeConditions(),
      nodeInfo: {
        architecture: 'amd64',
        operatingSystem: 'linux',
        kubeletVersion: 'v1.36.3',
        kubeProxyVersion: '',
        containerRuntimeVersion: 'hollow://1',
        kernelVersion: '',
        osImage: '',
        machineID: spec.instanceId,
        systemUUID: spec.instanceId,
        bootID: spec.instanceId,
      },
    },
  });
}

/** Removes a node, as the cloud provider does when its instance is gone. Does nothing if the node is gone already. */
export async function deleteNode(client: ApiClient, name: string): Promise<void> {
  await ignoreMissing(client.delete(`${NODES_PATH}/${name}`));
}

/** Reports the node as Ready again. Needed after the node controller has set it to Unknown. */
export async function reportNodeReady(client: ApiClient, name: string, signal: AbortSignal): Promise<void> {
  await ignoreMissing(
    client.patch(
      `${NODES_PATH}/${name}/status`,
      'strategic-merge',
      { status: { conditions: nodeConditions() } },
      { signal },
    ),
  );
}

/** Renews the lease that tells the node controller that the node is alive. Creates the lease first if needed. */
export async function renewNodeLease(
  client: ApiClient,
  node: { name: string; uid: string },
  signal: AbortSignal,
): Promise<void> {
  // Format of metav1.MicroTime.
  const renewTime = new Date().toISOString().replace('Z', '000Z');
  try {
    await client.patch(`${LEASES_PATH}/${node.name}`, 'merge', { spec: { renewTime } }, { signal });
  } catch (error) {
    if (!(error instanceof ApiStatusError && error.status === 404)) throw error;
    await client.create(
      LEASES_PATH,
      {
        metadata: {
          name: node.name,
          // As in the kubelet, so that the lease is deleted with its node.
          ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: node.name, uid: node.uid }],
        },
        spec: { holderIdentity: node.name, leaseDurationSeconds: LEASE_DURATION_SECONDS, renewTime },
      },
      { signal },
    );
  }
}

/** Ignores a 404. Rejects with any other error. */
export async function ignoreMissing(request: Promise<unknown>): Promise<void> {
  try {
    await request;
  } catch (error) {
    if (!(error instanceof ApiStatusError && error.status === 404)) throw error;
  }
}

function nodeConditions(): object[] {
  const now = new Date().toISOString().replace(/\.\d{3}Z$/, 'Z');
  const condition = (type: string, status: string, reason: string) => ({
    type,
    status,
    reason,
    message: '',
    lastHeartbeatTime: now,
    lastTransitionTime: now,
  });
  return [
    condition('Ready', 'True', 'KubeletReady'),
    condition('MemoryPressure', 'False', 'KubeletHasSufficientMemory'),
    condition('DiskPressure', 'False', 'KubeletHasNoDiskPressure'),
    condition('PIDPressure', 'False', 'KubeletHasSufficientPID'),
  ];
}

/** An address in 198.19.0.0/16 (RFC 2544 reserves 198.18.0.0/15 for tests). Equal names get equal addresses. */
function nodeIpFor(name: string): string {
  let hash = 0;
  for (const character of name) hash = (Math.imul(hash, 31) + character.charCodeAt(0)) >>> 0;
  return `198.19.${(hash >>> 8) & 255}.${hash & 255}`;
}
