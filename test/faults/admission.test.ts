import { afterAll, beforeAll, expect, test } from 'vitest';
import { stringify } from 'yaml';
import * as z from 'zod';
import { pause, pollUntil } from '../../tools/machine/poll.ts';
import { chooseFreePorts } from '../../tools/machine/ports.ts';
import { ApiStatusError } from '../cluster/errors.ts';
import { sharedCluster, type TestNamespace, withNamespace } from '../cluster/shared.ts';
import { Balancer } from '../harness/balancer.ts';
import { type ControlPlane, ControlPlaneLab, POD_SECURITY_GROUP, POD_VSWITCH, ZONES } from '../harness/lab.ts';
import {
  applyWebhookConfigurations,
  bundlesOf,
  certificateOf,
  removeWebhookConfigurations,
} from '../harness/webhook.ts';

/** The webhook while everything about it changes: its certificate, and the processes behind its Service. */

const PODS = 1000;
const CREATORS = 4;
/** Between two pods of a creator: a thousand are spread over the rotation, instead of thousands more that fill the time after them. */
const PACE_MS = 120;
/** Renewed twelve seconds after it was made, in three steps of a second. */
const ROTATING = { certificateValidity: '36s', rotationStep: '1s' };
const QUICK_LEASE = { leaseDuration: '4s', renewDeadline: '3s', retryPeriod: '500ms' };

let lab: ControlPlaneLab;
let balancer: Balancer;
let servicePort: number;
let namespace: TestNamespace;

const podSchema = z.object({
  metadata: z.object({ name: z.string(), annotations: z.record(z.string(), z.string()).default({}) }),
});

beforeAll(async () => {
  const cluster = await sharedCluster();
  lab = await ControlPlaneLab.start({ cluster });
  namespace = await withNamespace(cluster, 'admission-faults');
  [servicePort = 0] = await chooseFreePorts(1);
  balancer = await Balancer.start(servicePort);
});

afterAll(async () => {
  if (lab !== undefined) await removeWebhookConfigurations(lab);
  await balancer?.close();
  await namespace?.delete();
  await lab?.api.delete('/apis/network.alibabacloud.com/v1beta1/podnetworkings/web').catch(() => undefined);
  await lab?.close();
});

interface Replica extends ControlPlane {
  port: number;
}

async function startReplica(): Promise<Replica> {
  const [port = 0] = await chooseFreePorts(1);
  const webhook = { port, bindHost: '127.0.0.1', hosts: ['127.0.0.1'], drain: '2s', ...ROTATING };
  return { ...(await lab.startControlPlane({ config: { ...QUICK_LEASE, webhook } })), port };
}

/** The leader writes its CA into the configurations, and the API server sees that a moment later. */
async function webhookIsTrusted(networking: object): Promise<void> {
  await pollUntil(
    async () => {
      if ((await bundlesOf(lab)).includes('')) return undefined;
      const path = '/apis/network.alibabacloud.com/v1beta1/podnetworkings';
      return lab.api.create(path, networking, { query: { dryRun: 'All' } }).then(
        () => true,
        (error: unknown) => {
          if (error instanceof ApiStatusError && error.status === 500) return undefined;
          throw error;
        },
      );
    },
    { what: 'the webhook to be trusted', timeoutMs: 30_000 },
  );
}

function backend({ port, telemetryUrl }: Replica) {
  return { port, readyUrl: `${telemetryUrl}/readyz` };
}

test('#12, #27: a thousand pods during a rotation and a rolling replacement of two replicas all come out right', async () => {
  let [first, second] = await Promise.all([startReplica(), startReplica()]);
  await balancer.use(backend(first), backend(second));
  await applyWebhookConfigurations(lab, servicePort);
  const networking = {
    apiVersion: 'network.alibabacloud.com/v1beta1',
    kind: 'PodNetworking',
    metadata: { name: 'web' },
    spec: {
      selector: { podSelector: { matchLabels: { net: 'web' } } },
      vSwitchOptions: ZONES.map((zone) => POD_VSWITCH[zone]),
      securityGroupIDs: [POD_SECURITY_GROUP],
    },
  };
  await webhookIsTrusted(networking);
  await lab.apply(stringify(networking));
  const create = async (name: string, dryRun: boolean) =>
    podSchema.parse(
      await lab.api.create(
        `/api/v1/namespaces/${namespace.name}/pods`,
        {
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { name, labels: { net: 'web' } },
          spec: { schedulerName: 'nobody', containers: [{ name: 'main', image: 'registry.k8s.io/pause:3.10' }] },
        },
        { query: dryRun ? { dryRun: 'All' } : {} },
      ),
    );
  await pollUntil(
    async () =>
      (await create('probe', true)).metadata.annotations['k8s.aliyun.com/pod-networking'] === 'web' ? true : undefined,
    { what: 'the webhook to be asked', timeoutMs: 30_000 },
  );

  const certificates = new Set<string>();
  let replaced = false;
  let made = 0;
  const wrong: string[] = [];
  /** Goes on past the thousand until everything that is to happen has happened. */
  const creator = async () => {
    while (made < PODS || !replaced || certificates.size < 3) {
      made += 1;
      const { metadata } = await create(`pod-${made}`, made > PODS);
      if (metadata.annotations['k8s.aliyun.com/pod-networking'] !== 'web') wrong.push(metadata.name);
      if (made % 20 === 0) certificates.add((await certificateOf(servicePort)).fingerprint256);
      await pause(PACE_MS);
    }
  };
  const replacement = async () => {
    const third = await startReplica();
    await balancer.use(backend(first), backend(second), backend(third));
    await first.process.stop();
    const fourth = await startReplica();
    await balancer.use(backend(second), backend(third), backend(fourth));
    await second.process.stop();
    [first, second] = [third, fourth];
    await balancer.use(backend(first), backend(second));
    replaced = true;
  };
  await Promise.all([replacement(), ...Array.from({ length: CREATORS }, creator)]);
  expect(wrong).toEqual([]);
  const { objects } = await lab.api.list(`/api/v1/namespaces/${namespace.name}/pods`);
  expect(objects).toHaveLength(PODS);
  expect(objects.map((object) => podSchema.parse(object).metadata.annotations['k8s.aliyun.com/pod-eni'])).toEqual(
    Array.from({ length: PODS }, () => 'true'),
  );
});
