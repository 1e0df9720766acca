import { expect, test } from 'vitest';
import { echo, fragment, ROUTER_MAC, tcp, udp, unreachable } from './test-frames.ts';
import { onWire, SwitchLab } from './test-lab.ts';

/** Who may send what to whom, with which tag; and that this ends when the cloud's state says so. */

test('a member reaches a member of another node and of its own trunk, each with its own tag', async () => {
  await using lab = await SwitchLab.start();
  const [a, b] = [await lab.addNode(), await lab.addNode()];
  const [one, two, three] = [await lab.addMember(a), await lab.addMember(a), await lab.addMember(b)];
  expect([one.vlanId, two.vlanId, three.vlanId]).toEqual([1, 2, 1]);

  await using watched = await lab.vpcSwitch.capture({ eniId: two.eniId });
  await using wire = await lab.vpcSwitch.capture({ eniId: a.trunk.id });
  lab.send(one, three, '#across');
  const across = await b.wire.frames.wait((frame) => frame.payload === '#across');
  expect(across).toMatchObject({ vlans: [1], srcMac: ROUTER_MAC, dstMac: b.trunk.macAddress });

  lab.send(one, two, '#hairpin');
  const hairpin = await a.wire.frames.wait((frame) => frame.payload === '#hairpin');
  expect(hairpin).toMatchObject({ vlans: [2], srcMac: ROUTER_MAC, dstMac: a.trunk.macAddress });
  const asSeen = {
    device: a.trunk.id,
    src: one.ip,
    dst: two.ip,
    protocol: 17,
    srcPort: 4000,
    dstPort: 5000,
    verdict: 'forwarded',
  };
  const delivered = {
    ...asSeen,
    eni: two.eniId,
    direction: 'toNode',
    vlan: 2,
    srcMac: ROUTER_MAC,
    dstMac: a.trunk.macAddress,
  };
  await watched.frames.wait((frame) => frame.dst === two.ip);
  expect(await watched.all()).toMatchObject([delivered]);
  // The trunk's device saw it twice: sent and delivered. The packet to the other node appears only once.
  expect(wire.frames.list().filter((frame) => frame.protocol === 17)).toMatchObject([
    { direction: 'fromNode', eni: one.eniId, vlan: 1, dst: three.ip, srcMac: a.trunk.macAddress, dstMac: ROUTER_MAC },
    { ...asSeen, direction: 'fromNode', eni: one.eniId, vlan: 1 },
    delivered,
  ]);
  expect(b.wire.payloads()).toEqual(['#across']);
  expect(await lab.vpcSwitch.counters()).toMatchObject({
    flows: 2,
    lostLines: 0,
    enis: { [one.eniId]: { fromNode: 2, toNode: 0 }, [two.eniId]: { toNode: 1 }, [three.eniId]: { toNode: 1 } },
  });
});

test('the trunk ENI itself sends and receives untagged frames', async () => {
  await using lab = await SwitchLab.start();
  const [a, b] = [await lab.addNode(), await lab.addNode()];
  const member = await lab.addMember(b);
  const trunkIp = a.trunk.ipv4[0] ?? '';
  a.wire.send(udp({ src: a.trunk.macAddress }, { src: trunkIp, dst: member.ip, payload: '#out' }));
  expect(await b.wire.frames.wait((frame) => frame.payload === '#out')).toMatchObject({ vlans: [member.vlanId] });
  lab.send(member, { ip: trunkIp }, '#back', { srcPort: 5000, dstPort: 4000 });
  expect(await a.wire.frames.wait((frame) => frame.payload === '#back')).toMatchObject({ vlans: [] });
});

test('IPv6 and prefixes are forwarded too', async () => {
  await using lab = await SwitchLab.start();
  const [a, b] = [await lab.addNode(), await lab.addNode()];
  const [one, two] = [await lab.addMember(a), await lab.addMember(b)];
  lab.call('AssignIpv6Addresses', { NetworkInterfaceId: one.eniId, Ipv6PrefixCount: 1 });
  lab.call('AssignPrivateIpAddresses', { NetworkInterfaceId: two.eniId, Ipv4PrefixCount: 1 });
  await lab.vpcSwitch.settled();
  await lab.sees(one, two, '#v6', { src: one.ip6, dst: two.ip6 });
  const prefix6 = lab.eni(one.eniId).ipv6Prefixes[0] ?? '';
  await lab.sees(two, one, '#v6prefix', { src: two.ip6, dst: prefix6.replace('::/80', '::77') });
  const prefix4 = lab.eni(two.eniId).ipv4Prefixes[0] ?? '';
  await lab.sees(one, two, '#v4prefix', {
    dst: prefix4.replace(/\d+\/28$/, (last) => `${Number.parseInt(last, 10) + 9}`),
  });
});

test('a detachment in the middle of a flow ends it, and the address is no longer valid', async () => {
  await using lab = await SwitchLab.start();
  const [a, b] = [await lab.addNode(), await lab.addNode()];
  const [one, two, other] = [await lab.addMember(a), await lab.addMember(b), await lab.addMember(b)];
  await lab.sees(one, two, '#before');
  await lab.detachMember(two);
  lab.send(one, two, '#to');
  expect(await lab.vpcSwitch.refusals.wait((refusal) => refusal.dst === two.ip)).toMatchObject({
    reason: 'not-attached',
    eni: one.eniId,
    peer: two.eniId,
    vlan: one.vlanId,
    detail: 'the receiver is Available',
  });
  lab.send(two, one, '#from', { srcPort: 5000, dstPort: 4000 });
  expect(await lab.vpcSwitch.refusals.wait((refusal) => refusal.src === two.ip)).toMatchObject({
    reason: 'unknown-vlan',
    eni: '',
    device: b.trunk.id,
    vlan: two.vlanId,
  });
  await lab.sees(one, other, '#marker');
  expect(b.wire.payloads()).toEqual(['#before', '#marker']);

  // Attached elsewhere, the ENI is reached there. Its old tag now belongs to another ENI.
  const moved = await lab.addMember(a, two.eniId);
  const successor = await lab.addMember(b);
  expect(successor.vlanId).toBe(two.vlanId);
  await lab.sees(one, moved, '#moved');
  lab.send({ ...successor, ip: two.ip }, one, '#stale');
  expect(await lab.vpcSwitch.refusals.wait(({ eni }) => eni === successor.eniId)).toMatchObject({
    reason: 'wrong-source-address',
    src: two.ip,
  });
});

test('nothing passes before the attachment is complete, or during the detachment', async () => {
  await using lab = await SwitchLab.start();
  const node = await lab.addNode();
  const [one, two] = [await lab.addMember(node), await lab.addMember(node)];
  const { model, clock } = lab.simulator;
  const slow = 3_600_000;
  model.setLatencies({ attachMs: slow, detachMs: slow }, clock.now());
  const early = await lab.addMember(node);
  lab.send(early, one, '#early');
  expect(await lab.vpcSwitch.refusals.wait(({ eni }) => eni === early.eniId)).toMatchObject({
    reason: 'not-attached',
    detail: 'the sender is Attaching',
  });
  await lab.detachMember(two);
  lab.send(one, two, '#late');
  expect(await lab.vpcSwitch.refusals.wait(({ peer }) => peer === two.eniId)).toMatchObject({
    reason: 'not-attached',
    detail: 'the receiver is Detaching',
  });
  model.completeAll(clock.now());
  await lab.vpcSwitch.settled();
  await lab.sees(early, one, '#now');
  expect(node.wire.payloads()).toEqual(['#now']);

  model.setInstanceStatus(node.instanceId, 'Stopped', clock.now());
  await lab.vpcSwitch.settled();
  lab.send(early, one, '#stopped');
  const refusal = await lab.vpcSwitch.refusals.wait(({ detail }) => detail.includes('Stopped'));
  expect(refusal.reason).toBe('not-attached');
});

test('a change of the cloud reaches the switch by itself', async () => {
  await using lab = await SwitchLab.start();
  const node = await lab.addNode();
  const [one, two] = [await lab.addMember(node), await lab.addMember(node)];
  await lab.sees(one, two, '#before');
  const instance = lab.runInstance();
  const namespace = await lab.namespace();
  await lab.vpcSwitch.addNode({ instanceId: instance.instanceId, netnsPath: namespace.path });
  const eniId = lab.createEni();
  lab.call('AttachNetworkInterface', { NetworkInterfaceId: eniId, InstanceId: instance.instanceId });
  await lab.vpcSwitch.deviceEvents.wait((event) => event.eni === eniId && event.state === 'created');
  lab.call('DetachNetworkInterface', { NetworkInterfaceId: eniId, InstanceId: instance.instanceId });
  await lab.vpcSwitch.deviceEvents.wait((event) => event.eni === eniId && event.state === 'removed');
  expect(lab.vpcSwitch.devices().map((device) => device.eniId)).not.toContain(eniId);
});

test('an echo is answered, an ICMP error within a flow passes, fragments follow their first', async () => {
  await using lab = await SwitchLab.start();
  const [a, b] = [await lab.addNode(), await lab.addNode()];
  const other = lab.simulator.model.createSecurityGroup({ vpcId: lab.vpcId }, lab.simulator.clock.now());
  const one = await lab.addMember(a);
  const two = await lab.addMember(b, lab.createEni({ SecurityGroupIds: [other] }));
  for (const [IpProtocol, peer] of [
    ['ICMP', { SourceCidrIp: '10.0.0.0/8' }],
    ['ICMPv6', { Ipv6SourceCidrIp: '2408:4321:180:1700::/56' }],
    ['UDP', { SourceCidrIp: '10.0.0.0/8' }],
    ['UDP', { Ipv6SourceCidrIp: '2408:4321:180:1700::/56' }],
  ] as const) {
    const rule = { IpProtocol, PortRange: IpProtocol === 'UDP' ? '5000/5000' : '-1/-1', ...peer };
    lab.call('AuthorizeSecurityGroup', { SecurityGroupId: other, Permissions: [rule] });
  }
  await lab.vpcSwitch.settled();

  for (const [src, dst] of [
    [one.ip, two.ip],
    [one.ip6, two.ip6],
  ] as const) {
    const protocol = src.includes(':') ? 58 : 1;
    const arrived = (frame: { src: string; direction: string; protocol: number }): boolean =>
      frame.direction === 'toNode' && frame.protocol === protocol;
    await using toTwo = await lab.vpcSwitch.capture({ eniId: two.eniId });
    await using toOne = await lab.vpcSwitch.capture({ eniId: one.eniId });
    a.wire.send(echo(onWire(one), { src, dst, id: 7 }));
    expect(await toTwo.frames.wait(arrived)).toMatchObject({ srcPort: 7 });
    // The reply passes although no rule lets `two` reach the group of `one`. A reply with another identifier does not.
    b.wire.send(echo(onWire(two), { src: dst, dst: src, id: 8, reply: true }));
    b.wire.send(echo(onWire(two), { src: dst, dst: src, id: 7, reply: true }));
    expect(await toOne.frames.wait(arrived)).toMatchObject({ srcPort: 7 });
    expect(await lab.vpcSwitch.refusals.wait((refusal) => refusal.src === dst)).toMatchObject({
      reason: 'security-group-ingress',
      srcPort: 8,
      peer: one.eniId,
    });

    const request = udp(onWire(one), { src, dst, payload: '#asked' });
    a.wire.send(request);
    await b.wire.frames.wait((frame) => frame.payload === '#asked');
    b.wire.send(unreachable(onWire(two), dst, src, udp(onWire(one), { src, dst, dstPort: 5001 })));
    b.wire.send(unreachable(onWire(two), dst, src, request));
    const error = await toOne.frames.wait((frame) => arrived(frame) && frame.icmpType === (protocol === 1 ? 3 : 1));
    expect(error.src).toBe(dst);
    expect(toOne.frames.list().filter(arrived)).toHaveLength(2);
    a.wire.frames.clear();
    b.wire.frames.clear();
  }

  const datagram = { src: one.ip, dst: two.ip };
  a.wire.send(fragment(onWire(one), datagram, { id: 9, offset: 0, more: true, payload: '#first##' }));
  a.wire.send(fragment(onWire(one), datagram, { id: 9, offset: 16, more: false, payload: 'and last' }));
  await b.wire.frames.wait((frame) => frame.body.toString('latin1').endsWith('and last'));
  a.wire.send(fragment(onWire(one), datagram, { id: 10, offset: 16, more: false, payload: 'orphan' }));
  await lab.vpcSwitch.refusals.wait(({ reason, detail }) => reason === 'fragment-without-first' && detail === '');
  const closed = { ...datagram, dstPort: 5001 };
  a.wire.send(fragment(onWire(one), closed, { id: 11, offset: 0, more: true, payload: '#closed#' }));
  a.wire.send(tcp(onWire(one), { ...datagram, payload: '#no' }));
  await lab.vpcSwitch.refusals.wait(({ protocol }) => protocol === 6);
  expect(b.wire.payloads()).toEqual(['#first##']);
});
