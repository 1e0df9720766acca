import { expect, test } from 'vitest';
import { parse } from 'yaml';
import type { CapturedFrame } from '../sim/vpc/protocol.ts';
import { nodeSchema } from '../src/crds/node.ts';
import { ORDINARY, ordinaryManifests, sharedProblems, sharedRows, untaggedProblems } from './shared-pods.ts';

const pod = (name: string, nodeName: string, podIP: string) => ({
  metadata: { name, namespace: 'ordinary', uid: `uid-${name}` },
  spec: { nodeName },
  status: { podIP },
});

const address = (ip: string, podUID?: string) => ({ ip, primary: false, status: 'Valid', podUID });

const node = nodeSchema.parse({
  metadata: { name: 'node-1' },
  status: {
    networkInterfaces: {
      'eni-t': {
        ...{ id: 'eni-t', status: 'InUse', networkInterfaceType: 'Trunk' },
        ipv4: { '10.0.0.5': address('10.0.0.5', 'uid-a'), '10.0.0.6': address('10.0.0.6') },
      },
      'eni-p': {
        ...{ id: 'eni-p', status: 'InUse', networkInterfaceType: 'Secondary' },
        ipv4: { '10.0.0.9': address('10.0.0.9', 'uid-b') },
      },
    },
  },
});

const rows = () => sharedRows([pod('b', 'node-1', '10.0.0.9'), pod('a', 'node-1', '10.0.0.5')], [node]);

type Enis = Parameters<typeof sharedProblems>[1]['enis'];
const eni = (id: string, ipv4: string[]): Enis[number] => ({
  ...{
    id,
    ipv4,
    name: '',
    description: '',
    type: 'Secondary',
    status: 'InUse',
    macAddress: '',
    vpcId: '',
    vSwitchId: '',
  },
  ...{ zoneId: '', ipv4Prefixes: [], ipv6: [], ipv6Prefixes: [], securityGroupIds: [], resourceGroupId: '', tags: {} },
  ...{ deleteOnRelease: true, sourceDestCheck: false, trafficMode: 'Standard', creationTimeMs: 0 },
});
const cloud = { enis: [eni('eni-t', ['10.0.0.5', '10.0.0.6']), eni('eni-p', ['10.0.0.9'])] };

const frame = (changes: Partial<CapturedFrame> = {}): CapturedFrame => ({
  ...({ type: 'frame', capture: 1, direction: 'fromNode', verdict: 'forwarded', reason: '' } as const),
  ...{ device: 'eni-t', eni: 'eni-t', vlan: 0, srcMac: '', dstMac: '', etherType: 0x0800 },
  ...{ src: '10.0.0.5', dst: '10.0.0.9', protocol: 1, srcPort: 0, dstPort: 0, icmpType: 8, length: 98 },
  ...changes,
});

test('the pods of the Deployment have a page each, and nothing that a PodNetworking picks', () => {
  const [namespace, deployment] = ordinaryManifests().map((manifest) => parse(manifest));
  expect(namespace.metadata.name).toBe(ORDINARY.namespace);
  const { metadata, spec } = deployment.spec.template;
  expect(metadata).toEqual({ labels: { app: ORDINARY.name } });
  expect(spec.containers[0].command.join(' ')).toContain('httpd');
  expect(spec.containers[0].resources).toBeUndefined();
});

test('a pod is shown with the ENI on which its node has an address for it', () => {
  const [a, b] = rows();
  expect(a).toMatchObject({ name: 'a', address: '10.0.0.5', recorded: '10.0.0.5', eniId: 'eni-t', isTrunk: true });
  expect(b).toMatchObject({ name: 'b', eniId: 'eni-p', isTrunk: false });
  expect(sharedRows([pod('c', 'node-1', '')], [node])).toMatchObject([{ name: 'c', eniId: '', recorded: '' }]);
  expect(sharedProblems(rows(), cloud)).toEqual([]);
});

test('records, pods and cloud that do not agree are told of', () => {
  const wrong = sharedRows([pod('a', 'node-1', '10.0.0.7')], [node]);
  expect(sharedProblems(wrong, cloud)).toEqual(['a has 10.0.0.7, its Node CR says 10.0.0.5']);
  expect(sharedProblems(rows(), { enis: [eni('eni-p', ['10.0.0.9'])] })).toEqual([
    'in the cloud eni-t of node-1 lacks 10.0.0.5',
  ]);
  const [a] = rows();
  const twice = a === undefined ? [] : [a, { ...a, name: 'z' }];
  expect(sharedProblems(twice, cloud)).toEqual(['a and z have the same address, 10.0.0.5']);
});

test('frames of shared pods have no tag, and are on the ENI of their pod', () => {
  expect(untaggedProblems([frame(), frame({ direction: 'toNode', eni: 'eni-p' })], rows())).toEqual([]);
  expect(untaggedProblems([frame({ vlan: 3 })], rows())).toEqual(['a frame 10.0.0.5 → 10.0.0.9 of a has VLAN id 3']);
  expect(untaggedProblems([frame({ eni: 'eni-p' })], rows())).toEqual([
    'a frame 10.0.0.5 → 10.0.0.9 of a was on eni-p, not on eni-t',
  ]);
  expect(untaggedProblems([frame({ verdict: 'refused', reason: 'unknown-destination' })], rows())).toEqual([
    'a frame 10.0.0.5 → 10.0.0.9 of a was refused: unknown-destination',
  ]);
  expect(untaggedProblems([frame({ src: '10.0.0.1' })], rows())).toEqual([
    'a frame 10.0.0.1 → 10.0.0.9 belongs to no pod',
  ]);
});
