import { beforeEach, expect, test } from 'vitest';
import { KubeModel } from '../../sim/kube/model/model.ts';
import { SimulatedTransport } from '../../sim/kube/transport.ts';
import type { PodInterface } from '../datapath/types.ts';
import { KubeClient } from '../kube/client.ts';
import { seededRandom } from '../util/random.ts';
import { VirtualClock } from '../util/test-support/virtual-clock.ts';
import { annotatePodIps } from './pod-ips.ts';
import { type Pod, podResource } from './resources.ts';

const KEY = { namespace: 'default', name: 'web-0' };

let clock: VirtualClock;
let client: KubeClient;
let pod: Pod;
let patches: number;

beforeEach(async () => {
  clock = new VirtualClock();
  const transport = new SimulatedTransport({
    model: new KubeModel({ startMs: clock.now() }),
    clock,
    replica: 'agent',
    faults: {
      onRequest: ({ verb }) => {
        if (verb === 'patch') patches += 1;
        return undefined;
      },
    },
  });
  patches = 0;
  client = new KubeClient({ transport, clock, random: seededRandom(1) });
  pod = await settled(
    client.create(podResource, {
      metadata: { ...KEY, annotations: { theirs: 'kept' } },
      spec: { nodeName: 'node-1' },
      status: { phase: '' },
    }),
  );
});

test.each([
  ['both families', { ipv4: '10.1.0.5', ipv6: 'fd00::5' }, '10.1.0.5,fd00::5'],
  ['IPv4', { ipv4: '10.1.0.5' }, '10.1.0.5'],
  ['IPv6', { ipv6: 'fd00::5' }, 'fd00::5'],
])('the pod says its addresses of eth0: %s', async (_, addresses, expected) => {
  await annotate(pod.metadata.uid, [network('eth1', { ipv4: '10.2.0.9' }), network('eth0', addresses)]);
  const { metadata } = await settled(client.get(podResource, KEY));
  expect(metadata.annotations).toEqual({ theirs: 'kept', 'k8s.aliyun.com/pod-ips': expected });
});

test('nothing is written when the pod says so already, or has no eth0', async () => {
  const eth0 = network('eth0', { ipv4: '10.1.0.5' });
  await annotate(pod.metadata.uid, [eth0]);
  expect(patches).toBe(1);
  pod = await settled(client.get(podResource, KEY));
  await annotate(pod.metadata.uid, [eth0]);
  await annotate(pod.metadata.uid, [network('net1', { ipv4: '10.1.0.6' })]);
  expect(patches).toBe(1);
  await annotate(pod.metadata.uid, [network('eth0', { ipv4: '10.1.0.7' })]);
  const { metadata } = await settled(client.get(podResource, KEY));
  expect(metadata.annotations?.['k8s.aliyun.com/pod-ips']).toBe('10.1.0.7');
});

test('another pod of the name does not get the addresses of the one before', async () => {
  await expect(annotate('of-the-one-before', [network('eth0', { ipv4: '10.1.0.5' })])).rejects.toThrow(/uid/i);
  expect((await settled(client.get(podResource, KEY))).metadata.annotations).toEqual({ theirs: 'kept' });
});

test('what the pod before it said does not count', async () => {
  const { uid } = pod.metadata;
  const before = { ...pod.metadata, uid: 'of-the-one-before', annotations: { 'k8s.aliyun.com/pod-ips': '10.1.0.5' } };
  pod = { ...pod, metadata: before };
  await annotate(uid, [network('eth0', { ipv4: '10.1.0.5' })]);
  expect(patches).toBe(1);
});

async function annotate(uid: string | undefined, interfaces: PodInterface[]): Promise<void> {
  const pods = { get: (key: string) => (key === 'default/web-0' ? pod : undefined) };
  const attachment = { ...KEY, uid: uid ?? '', containerId: 'c1', netnsPath: '/run/netns/c1', interfaces };
  await settled(annotatePodIps(client, pods, attachment));
}

function network(name: string, addresses: { ipv4?: string; ipv6?: string }): PodInterface {
  const { ipv4, ipv6 } = addresses;
  return {
    name,
    ...(ipv4 === undefined ? {} : { ipv4: { address: ipv4, subnet: '10.1.0.0/16' } }),
    ...(ipv6 === undefined ? {} : { ipv6: { address: ipv6, subnet: 'fd00::/64' } }),
    mtu: 1500,
    defaultRoute: name === 'eth0',
    extraRoutes: [],
    attachment: { kind: 'shared', eni: { mac: '00:16:3e:00:00:01', gateway: {} } },
  };
}

/** Lets the time pass that the request takes. */
async function settled<T>(request: Promise<T>): Promise<T> {
  const ended = request.then(
    () => undefined,
    () => undefined,
  );
  await clock.advance(1000);
  await ended;
  return request;
}
