import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { REFUSAL_REASONS, type Refusal, type RefusalReason } from './protocol.ts';
import {
  arpRequest,
  BROADCAST_MAC,
  type Ethernet,
  ethernet,
  fragment,
  neighborSolicitation,
  udp,
} from './test-frames.ts';
import { type LabMember, type LabNode, onWire, SwitchLab } from './test-lab.ts';

/** One frame for each reason of refusal. */

let lab: SwitchLab;
let node: LabNode;
let one: LabMember;
let two: LabMember;
let wire: Ethernet;

beforeAll(async () => {
  lab = await SwitchLab.start();
  node = await lab.addNode();
  [one, two] = [await lab.addMember(node), await lab.addMember(node)];
  wire = onWire(one);
});

afterAll(() => lab[Symbol.asyncDispose]());

beforeEach(() => {
  lab.vpcSwitch.refusals.clear();
  node.wire.frames.clear();
});

const seen = new Set<RefusalReason>();

/** Sends a frame that must be refused, and a later one that must arrive. */
async function refused(frame: Buffer, expected: Partial<Refusal> & { reason: RefusalReason }): Promise<void> {
  node.wire.send(frame);
  const refusal = await lab.vpcSwitch.refusals.wait(({ reason }) => reason === expected.reason);
  expect(refusal).toMatchObject({ device: node.trunk.id, count: 1, ...expected });
  await lab.sees(one, two, '#after');
  expect(node.wire.payloads()).toEqual(['#after']);
  seen.add(expected.reason);
}

const datagram = () => ({ src: one.ip, dst: two.ip, payload: '#no' });

test('a tag that no member has', () =>
  refused(udp({ ...wire, vlans: [77] }, datagram()), { reason: 'unknown-vlan', vlan: 77, eni: '', src: one.ip }));

test('the tag of another member', () =>
  refused(udp({ ...wire, vlans: [two.vlanId] }, { ...datagram(), dst: one.ip }), {
    reason: 'wrong-source-address',
    vlan: two.vlanId,
    eni: two.eniId,
  }));

test('no tag at all', () =>
  refused(udp({ src: wire.src }, datagram()), { reason: 'wrong-source-address', vlan: 0, eni: node.trunk.id }));

test('two tags', () =>
  refused(udp({ ...wire, vlans: [one.vlanId, two.vlanId] }, datagram()), { reason: 'double-tag', vlan: one.vlanId }));

test("the member's own MAC address instead of its trunk's", () =>
  refused(udp({ ...wire, src: lab.eni(one.eniId).macAddress }, datagram()), {
    reason: 'wrong-source-mac',
    eni: one.eniId,
    srcMac: lab.eni(one.eniId).macAddress,
  }));

test('an ARP that names another sender', async () => {
  const body = arpRequest({ ...wire, src: '02:00:00:00:00:01' }, { sender: one.ip, target: two.ip }).subarray(18);
  await refused(ethernet({ ...wire, dst: BROADCAST_MAC }, 0x0806, body), { reason: 'wrong-source-mac' });
});

test('a destination MAC address that is not the router', () =>
  refused(udp({ ...wire, dst: '02:00:00:00:00:02' }, datagram()), { reason: 'wrong-destination-mac' }));

test('a source address that the ENI does not have', () =>
  refused(udp(wire, { ...datagram(), src: two.ip }), { reason: 'wrong-source-address', src: two.ip, eni: one.eniId }));

test('an IPv6 source address that the ENI does not have', () =>
  refused(udp(wire, { ...datagram(), src: two.ip6, dst: one.ip6 }), { reason: 'wrong-source-address', src: two.ip6 }));

test('neither IP nor ARP', () =>
  refused(ethernet(wire, 0x88cc, Buffer.alloc(40)), { reason: 'unsupported-ether-type', etherType: 0x88cc }));

test('broadcast', () => refused(udp(wire, { ...datagram(), dst: '255.255.255.255' }), { reason: 'not-unicast' }));

test('multicast', () =>
  refused(udp(wire, { ...datagram(), dst: '224.0.0.251', dstPort: 5353 }), { reason: 'not-unicast' }));

test('a neighbour outside the VPC', () =>
  refused(arpRequest(wire, { sender: one.ip, target: '169.254.1.1' }), {
    reason: 'unknown-neighbour',
    dst: '169.254.1.1',
  }));

test('an IPv6 neighbour outside the VPC', () =>
  refused(neighborSolicitation(wire, { sender: one.ip6, target: 'fd00::1' }), {
    reason: 'unknown-neighbour',
    detail: 'for fd00::1',
  }));

test('a destination outside the VPC', () =>
  refused(udp(wire, { ...datagram(), dst: '192.168.0.1' }), { reason: 'no-route', dst: '192.168.0.1' }));

test('a destination that no ENI has', () =>
  refused(udp(wire, { ...datagram(), dst: '10.1.200.200' }), { reason: 'unknown-destination' }));

test('a destination that exists but is not attached', async () => {
  const eniId = lab.createEni();
  await lab.vpcSwitch.settled();
  const dst = lab.eni(eniId).ipv4[0] ?? '';
  await refused(udp(wire, { ...datagram(), dst }), { reason: 'not-attached', peer: eniId, eni: one.eniId });
});

test('headers that contradict each other', () => {
  const frame = udp(wire, datagram());
  frame.writeUInt16BE(2000, 20); // total length in the IP header
  return refused(frame, { reason: 'malformed', eni: one.eniId });
});

test('a fragment whose first part was not seen', () =>
  refused(fragment(wire, datagram(), { id: 1, offset: 64, more: false, payload: '#no' }), {
    reason: 'fragment-without-first',
  }));

test('a receiver whose device is down, and one whose node has not been added', async () => {
  const { instanceId } = lab.runInstance();
  const eniId = lab.createEni();
  lab.call('AttachNetworkInterface', { NetworkInterfaceId: eniId, InstanceId: instanceId });
  await lab.vpcSwitch.settled();
  const frame = (srcPort: number) => udp(wire, { ...datagram(), srcPort, dst: lab.eni(eniId).ipv4[0] ?? '' });
  await refused(frame(1), { reason: 'no-device', peer: eniId });
  lab.vpcSwitch.refusals.clear();
  node.wire.frames.clear();
  const namespace = await lab.namespace();
  await lab.vpcSwitch.addNode({ instanceId, netnsPath: namespace.path });
  await refused(frame(2), { reason: 'device-down', peer: eniId });
});

test('packets that the security groups do not allow', async () => {
  const { model, clock } = lab.simulator;
  const enterprise = model.createSecurityGroup({ vpcId: lab.vpcId, type: 'enterprise' }, clock.now());
  const lonely = await lab.addMember(node, lab.createEni({ SecurityGroupIds: [enterprise] }));
  await refused(udp(wire, { ...datagram(), dst: lonely.ip }), {
    reason: 'security-group-ingress',
    eni: one.eniId,
    peer: lonely.eniId,
    detail: 'no rule accepts',
  });
  node.wire.frames.clear();
  await refused(udp({ ...wire, vlans: [lonely.vlanId] }, { src: lonely.ip, dst: one.ip }), {
    reason: 'security-group-egress',
    eni: lonely.eniId,
    peer: one.eniId,
    detail: 'no rule accepts',
  });
});

test('similar frames are counted, not written each', async () => {
  const frame = udp({ ...wire, vlans: [78] }, datagram());
  for (let sent = 0; sent < 50; sent++) node.wire.send(frame);
  await lab.sees(one, two, '#after');
  const written = () => lab.vpcSwitch.refusals.list().filter(({ vlan }) => vlan === 78);
  await lab.vpcSwitch.refusals.wait(() => written().reduce((sum, { count }) => sum + count, 0) === 50);
  expect(written().length).toBeLessThan(5);
  expect((await lab.vpcSwitch.counters()).refusals['unknown-vlan']).toBeGreaterThanOrEqual(50);
});

test('every reason has been seen', () => {
  expect(REFUSAL_REASONS.filter((reason) => !seen.has(reason))).toEqual([]);
});
