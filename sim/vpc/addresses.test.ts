import { expect, test } from 'vitest';
import { udp } from './test-frames.ts';
import { type LabMember, type LabNode, SwitchLab } from './test-lab.ts';
import type { RawEndpoint } from './test-namespaces.ts';

/** Secondary addresses: an ENI has those that the cloud says, from the call that assigns them to the one that takes them away. */

/** An ENI of a node that is not its trunk, with raw access to its device. */
interface Adapter {
  eniId: string;
  wire: RawEndpoint;
}

test('every address that an ENI was created with is reached at its device, in both directions', async () => {
  await using lab = await SwitchLab.start();
  const [near, far] = [await lab.addNode(), await lab.addNode()];
  const adapter = await addAdapter(lab, near, { SecondaryPrivateIpAddressCount: 2, Ipv6AddressCount: 2 });
  const member = await lab.addMember(far);
  const { ipv4, ipv6 } = lab.eni(adapter.eniId);
  expect([ipv4.length, ipv6.length]).toEqual([3, 2]);
  for (const address of [...ipv4, ...ipv6]) {
    await arrivesAt(lab, member, adapter, address);
    await arrivesFrom(lab, adapter, member, address);
  }
  expect(near.wire.payloads()).toEqual([]);
  expect(lab.vpcSwitch.refusals.list()).toEqual([]);
});

test('an address counts from its assignment on, and no longer when it was taken away, in the middle of a flow', async () => {
  await using lab = await SwitchLab.start();
  const [near, far] = [await lab.addNode(), await lab.addNode()];
  const adapter = await addAdapter(lab, near, { Ipv6AddressCount: 1 });
  const member = await lab.addMember(far);
  const [ownV4 = ''] = lab.eni(adapter.eniId).ipv4;
  const [ownV6 = ''] = lab.eni(adapter.eniId).ipv6;
  const id = { NetworkInterfaceId: adapter.eniId };
  lab.call('AssignPrivateIpAddresses', { ...id, SecondaryPrivateIpAddressCount: 2 });
  lab.call('AssignIpv6Addresses', { ...id, Ipv6AddressCount: 1 });
  await lab.vpcSwitch.settled();
  const [, goes = '', stays = ''] = lab.eni(adapter.eniId).ipv4;
  const [, goes6 = ''] = lab.eni(adapter.eniId).ipv6;
  for (const address of [goes, stays, goes6]) {
    await arrivesAt(lab, member, adapter, address);
    await arrivesFrom(lab, adapter, member, address);
  }

  lab.call('UnassignPrivateIpAddresses', { ...id, PrivateIpAddress: [goes] });
  lab.call('UnassignIpv6Addresses', { ...id, Ipv6Address: [goes6] });
  await lab.vpcSwitch.settled();
  for (const address of [goes, goes6]) {
    sendTo(lab, member, address);
    expect(await lab.vpcSwitch.refusals.wait(({ dst }) => dst === address)).toMatchObject({
      reason: 'unknown-destination',
      eni: member.eniId,
    });
    sendFrom(lab, adapter, member, address);
    expect(await lab.vpcSwitch.refusals.wait(({ src }) => src === address)).toMatchObject({
      reason: 'wrong-source-address',
      eni: adapter.eniId,
    });
  }
  for (const address of [ownV4, ownV6, stays]) {
    await arrivesAt(lab, member, adapter, address);
    await arrivesFrom(lab, adapter, member, address);
  }
});

test('an address that another ENI has now is reached there, and only there', async () => {
  await using lab = await SwitchLab.start();
  const [one, two, far] = [await lab.addNode(), await lab.addNode(), await lab.addNode()];
  const before = await addAdapter(lab, one, { SecondaryPrivateIpAddressCount: 1 });
  const after = await addAdapter(lab, two, {});
  const member = await lab.addMember(far);
  const [, address = ''] = lab.eni(before.eniId).ipv4;
  await arrivesAt(lab, member, before, address);
  lab.call('UnassignPrivateIpAddresses', { NetworkInterfaceId: before.eniId, PrivateIpAddress: [address] });
  lab.call('AssignPrivateIpAddresses', { NetworkInterfaceId: after.eniId, PrivateIpAddress: [address] });
  await lab.vpcSwitch.settled();
  await arrivesAt(lab, member, after, address);
  await arrivesFrom(lab, after, member, address);
  sendFrom(lab, before, member, address);
  expect(await lab.vpcSwitch.refusals.wait(({ eni }) => eni === before.eniId)).toMatchObject({
    reason: 'wrong-source-address',
    src: address,
  });
  expect(before.wire.payloads()).toHaveLength(1);
});

test('secondary addresses of a trunk and of a member travel with the tag of their ENI', async () => {
  await using lab = await SwitchLab.start();
  const [near, far] = [await lab.addNode(), await lab.addNode()];
  const [one, two] = [await lab.addMember(near), await lab.addMember(far)];
  for (const NetworkInterfaceId of [near.trunk.id, one.eniId]) {
    lab.call('AssignPrivateIpAddresses', { NetworkInterfaceId, SecondaryPrivateIpAddressCount: 1 });
  }
  await lab.vpcSwitch.settled();
  const [, ofTrunk = ''] = lab.eni(near.trunk.id).ipv4;
  const [, ofMember = ''] = lab.eni(one.eniId).ipv4;
  lab.send(two, { ip: ofTrunk }, '#trunk');
  expect(await near.wire.frames.wait(({ payload }) => payload === '#trunk')).toMatchObject({ vlans: [] });
  await lab.sees(two, one, '#member', { dst: ofMember });
  near.wire.send(udp({ src: near.trunk.macAddress }, { src: ofMember, dst: two.ip, payload: '#untagged' }));
  expect(await lab.vpcSwitch.refusals.wait(({ src }) => src === ofMember)).toMatchObject({
    reason: 'wrong-source-address',
    eni: near.trunk.id,
  });
});

/** Attaches a new secondary ENI. Its device is eth2, after the trunk's. */
async function addAdapter(lab: SwitchLab, node: LabNode, params: Record<string, number>): Promise<Adapter> {
  const eniId = lab.createEni(params);
  lab.call('AttachNetworkInterface', { NetworkInterfaceId: eniId, InstanceId: node.instanceId });
  await lab.vpcSwitch.settled();
  return { eniId, wire: await lab.endpoint(node.namespace, 'eth2') };
}

let sent = 0;

/** Sends a packet to an address of the adapter. Returns its payload. */
function sendTo(lab: SwitchLab, member: LabMember, address: string): string {
  sent += 1;
  const payload = `#${sent}`;
  lab.send(member, { ip: address }, payload, address.includes(':') ? { src: member.ip6 } : {});
  return payload;
}

async function arrivesAt(lab: SwitchLab, member: LabMember, adapter: Adapter, address: string): Promise<void> {
  const payload = sendTo(lab, member, address);
  const frame = await adapter.wire.frames.wait((candidate) => candidate.payload === payload);
  expect(frame).toMatchObject({ vlans: [], dstMac: lab.eni(adapter.eniId).macAddress });
}

/** Sends a packet from an address of the adapter. Returns its payload. */
function sendFrom(lab: SwitchLab, adapter: Adapter, member: LabMember, address: string): string {
  sent += 1;
  const payload = `#${sent}`;
  const dst = address.includes(':') ? member.ip6 : member.ip;
  // A reply to what `sendTo` sends, so that it belongs to the same flow.
  const packet = { src: address, dst, srcPort: 5000, dstPort: 4000, payload };
  adapter.wire.send(udp({ src: lab.eni(adapter.eniId).macAddress }, packet));
  return payload;
}

async function arrivesFrom(lab: SwitchLab, adapter: Adapter, member: LabMember, address: string): Promise<void> {
  const payload = sendFrom(lab, adapter, member, address);
  await member.node.wire.frames.wait((frame) => frame.payload === payload && frame.vlans[0] === member.vlanId);
}
