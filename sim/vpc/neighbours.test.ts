import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { gateways } from './table.ts';
import {
  address,
  arpRequest,
  checksum,
  type Ethernet,
  macText,
  neighborSolicitation,
  type ParsedFrame,
  ROUTER_MAC,
} from './test-frames.ts';
import { type LabMember, type LabNode, onWire, SwitchLab } from './test-lab.ts';

/** ARP and neighbour discovery: every address of the VPC resolves to the router's MAC address. */

let lab: SwitchLab;
let node: LabNode;
let member: LabMember;
let gateway: string;
let gateway6: string;

beforeAll(async () => {
  lab = await SwitchLab.start();
  node = await lab.addNode();
  member = await lab.addMember(node);
  [gateway = '', gateway6 = ''] = gateways({ cidrBlock: '10.1.0.0/16', ipv6CidrBlock: '2408:4321:180:1701::/64' });
});

afterAll(() => lab[Symbol.asyncDispose]());

beforeEach(() => node.wire.frames.clear());

const isReply = ({ etherType, body }: ParsedFrame) => etherType === 0x0806 && body.readUInt16BE(6) === 2;
const isAdvertisement = ({ etherType, body }: ParsedFrame) => etherType === 0x86dd && body[40] === 136;

async function arp(header: Ethernet, sender: string, target: string): Promise<void> {
  node.wire.send(arpRequest(header, { sender, target }));
  const { vlans, srcMac, dstMac, body } = await node.wire.frames.wait(isReply);
  expect({ vlans, srcMac, dstMac }).toEqual({ vlans: header.vlans ?? [], srcMac: ROUTER_MAC, dstMac: header.src });
  expect(macText(body.subarray(8, 14))).toBe(ROUTER_MAC);
  expect(body.subarray(14, 18)).toEqual(address(target));
  expect(macText(body.subarray(18, 24))).toBe(header.src);
  expect(body.subarray(24, 28)).toEqual(address(sender));
}

test('the gateway, with and without a tag', async () => {
  expect([gateway, gateway6]).toEqual(['10.1.255.253', '2408:4321:180:1701:ffff:ffff:ffff:fffd']);
  await arp(onWire(member), member.ip, gateway);
  node.wire.frames.clear();
  await arp({ src: node.trunk.macAddress }, node.trunk.ipv4[0] ?? '', gateway);
});

test('any address of the VPC, used or not, and a unicast request', async () => {
  await arp(onWire(member), member.ip, '10.200.3.4');
  node.wire.frames.clear();
  await arp({ ...onWire(member), dst: ROUTER_MAC }, member.ip, gateway);
});

test('a node that asks for its own address gets no answer', async () => {
  const header = onWire(member);
  const about = { sender: member.ip, target: member.ip };
  node.wire.send(arpRequest(header, about));
  node.wire.send(arpRequest(header, { ...about, operation: 2 }));
  node.wire.send(arpRequest(header, { ...about, sender: '0.0.0.0' }));
  node.wire.send(neighborSolicitation(header, { sender: '::', target: member.ip6 }));
  await arp(header, member.ip, gateway);
  expect(node.wire.frames.list().filter((frame) => isReply(frame) || isAdvertisement(frame))).toHaveLength(1);
  expect(lab.vpcSwitch.refusals.list()).toEqual([]);
});

test('IPv6: the gateway, its link-local address, any address of the VPC', async () => {
  for (const [target, router] of [
    [gateway6, true],
    ['fe80::ecff:ffff:feff:ffff', true],
    ['2408:4321:180:17ff::1', false],
  ] as const) {
    for (const sender of [member.ip6, 'fe80::1']) {
      node.wire.frames.clear();
      node.wire.send(neighborSolicitation(onWire(member), { sender, target }));
      const { vlans, srcMac, dstMac, body } = await node.wire.frames.wait(isAdvertisement);
      expect({ vlans, srcMac, dstMac }).toEqual({
        vlans: [member.vlanId],
        srcMac: ROUTER_MAC,
        dstMac: node.trunk.macAddress,
      });
      expect([body.subarray(8, 24), body.subarray(24, 40)]).toEqual([address(target), address(sender)]);
      expect(body[44]).toBe(router ? 0xe0 : 0x60);
      expect(body.subarray(48, 64)).toEqual(address(target));
      expect(macText(body.subarray(66, 72))).toBe(ROUTER_MAC);
      const pseudoHeader = Buffer.concat([body.subarray(8, 40), Buffer.from([0, 0, 0, 32, 0, 0, 0, 58])]);
      expect(checksum(Buffer.concat([pseudoHeader, body.subarray(40)]))).toBe(0);
    }
  }
});
