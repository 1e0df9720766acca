import * as z from 'zod';
import { type PodEni, podEniSchema } from '../../../src/crds/pod-eni.ts';
import { pollUntil } from '../../../tools/machine/poll.ts';
import { BUSYBOX_IMAGE } from '../../../tools/product/image/busybox.ts';
import { POD_SECURITY_GROUP, POD_VSWITCH, ZONES } from '../../harness/lab.ts';
import type { NodeLab, WiredNode } from '../../harness/node-lab.ts';

export const API = '/apis/network.alibabacloud.com/v1beta1';
/** Port on which every pod of these tests serves a page with its name. */
export const PORT = 8080;

export interface WirePod {
  node?: WiredNode;
  /** Absent for a pod that shares the ENIs of its node. */
  networking?: string;
  annotations?: Record<string, string>;
  labels?: Record<string, string>;
  /** Extended resource that it asks for, as the webhook would. */
  resource?: 'aliyun/member-eni' | 'aliyun/eni';
  /** Port of its node that leads to its page. */
  hostPort?: number;
  /** Port that serves its page. Default {@link PORT}. */
  port?: number;
}

/** A pod as the tests know it once it runs. */
export interface RunningPod {
  name: string;
  ip: string;
  ipv6: string | undefined;
  vlanId: number;
  eniId: string;
  podEni: PodEni;
}

/** A PodNetworking for both zones that is Ready. */
export async function readyNetworking(lab: NodeLab, name: string, spec: Record<string, unknown> = {}): Promise<void> {
  await lab.api.create(`${API}/podnetworkings`, {
    apiVersion: 'network.alibabacloud.com/v1beta1',
    kind: 'PodNetworking',
    metadata: { name },
    spec: { vSwitchOptions: ZONES.map((zone) => POD_VSWITCH[zone]), securityGroupIDs: [POD_SECURITY_GROUP], ...spec },
  });
  await lab.lab.networkingReady(name);
}

/** The spec of a pod that serves a page with its name, and has the tools to ask others. */
export function podTemplate({
  networking,
  annotations,
  labels,
  resource = 'aliyun/member-eni',
  hostPort,
  port = PORT,
}: WirePod) {
  const own =
    networking === undefined ? {} : { 'k8s.aliyun.com/pod-eni': 'true', 'k8s.aliyun.com/pod-networking': networking };
  return {
    metadata: { labels: { app: 'wire', ...labels }, annotations: { ...own, ...annotations } },
    spec: {
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          name: 'main',
          image: BUSYBOX_IMAGE,
          imagePullPolicy: 'Never',
          command: ['sh', '-c', `mkdir /www; hostname > /www/index.html; exec httpd -f -p ${port} -h /www`],
          ...(networking === undefined ? {} : { resources: { limits: { [resource]: '1' } } }),
          ...(hostPort === undefined ? {} : { ports: [{ containerPort: PORT, hostPort }] }),
        },
      ],
    },
  };
}

/** Creates a pod; it is scheduled to the node given, or anywhere. */
export async function createPod(lab: NodeLab, namespace: string, name: string, pod: WirePod): Promise<void> {
  const { metadata, spec } = podTemplate(pod);
  const place = pod.node === undefined ? {} : { nodeSelector: { 'kubernetes.io/hostname': pod.node.name } };
  await lab.api.create(`/api/v1/namespaces/${namespace}/pods`, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...metadata, name, labels: { ...metadata.labels, pod: name } },
    spec: { ...spec, ...place },
  });
}

/** Waits until a pod is Ready. */
export async function running(lab: NodeLab, namespace: string, name: string): Promise<RunningPod> {
  await lab.podReady(namespace, name);
  const podEni = podEniSchema.parse(await lab.api.get(`${API}/namespaces/${namespace}/podenis/${name}`));
  const [allocation] = podEni.spec.allocations ?? [];
  const eniId = allocation?.eni.id ?? '';
  const pod = z
    .object({ status: z.object({ podIP: z.string() }) })
    .parse(await lab.api.get(`/api/v1/namespaces/${namespace}/pods/${name}`));
  return {
    name,
    ip: pod.status.podIP,
    ipv6: allocation?.ipv6,
    vlanId: podEni.status?.eniInfos?.[eniId]?.vid ?? 0,
    eniId,
    podEni,
  };
}

/** Asks one pod for its page from another. @returns the page, or undefined when no answer came in time. */
export async function ask(
  lab: NodeLab,
  namespace: string,
  from: string,
  address: string,
  { timeoutSeconds = 3, port = PORT }: { timeoutSeconds?: number; port?: number } = {},
): Promise<string | undefined> {
  const host = address.includes(':') ? `[${address}]` : address;
  const url = `http://${host}:${port}/`;
  // The time-out of busybox's own wget ends it with a crash.
  const command = ['busybox', 'timeout', String(timeoutSeconds), 'busybox', 'wget', '-q', '-O', '-', url];
  const { code, stdout } = await lab.inPodNetwork(namespace, from, ...command);
  return code === 0 ? stdout.trim() : undefined;
}

/** Waits until a pod answers another. */
export async function reached(
  lab: NodeLab,
  namespace: string,
  from: string,
  address: string,
  port = PORT,
): Promise<string> {
  return pollUntil(() => ask(lab, namespace, from, address, { port }), {
    what: `${from} to reach ${address}`,
    timeoutMs: 20_000,
  });
}

/** Deletes a pod and waits until it is gone. */
export async function deletePod(lab: NodeLab, namespace: string, name: string): Promise<void> {
  const path = `/api/v1/namespaces/${namespace}/pods/${name}`;
  await lab.api.delete(path);
  await pollUntil(async () => ((await lab.api.find(path)) === undefined ? true : undefined), {
    what: `pod ${name} to be gone`,
    timeoutMs: 60_000,
  });
}
