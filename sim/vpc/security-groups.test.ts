import { beforeEach, expect, test } from 'vitest';
import type { ParamTree } from '../cloud/model/action.ts';
import { type LabMember, type LabNode, SwitchLab } from './test-lab.ts';

/** How the rules of both ends judge the first packet of a flow, and that the rest of the flow follows that decision. */

const ANY = { IpProtocol: 'ALL', PortRange: '-1/-1' };

interface Scene extends AsyncDisposable {
  lab: SwitchLab;
  node: LabNode;
  /** `client` and `server` are each in a group of their own. */
  client: LabMember;
  server: LabMember;
  clientGroup: string;
  serverGroup: string;
}

let ports: number;
beforeEach(() => {
  ports = 10_000;
});

async function scene(type: 'normal' | 'enterprise' = 'normal'): Promise<Scene> {
  await using cleanup = new AsyncDisposableStack();
  const lab = cleanup.use(await SwitchLab.start());
  const { model, clock } = lab.simulator;
  const node = await lab.addNode();
  const [clientGroup, serverGroup] = [
    model.createSecurityGroup({ vpcId: lab.vpcId, type }, clock.now()),
    model.createSecurityGroup({ vpcId: lab.vpcId, type }, clock.now()),
  ];
  const client = await lab.addMember(node, lab.createEni({ SecurityGroupIds: [clientGroup] }));
  const server = await lab.addMember(node, lab.createEni({ SecurityGroupIds: [serverGroup] }));
  const owned = cleanup.move();
  return {
    lab,
    node,
    client,
    server,
    clientGroup,
    serverGroup,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** The outcome of a packet of a new flow: `passed`, or the reason with its detail. */
async function outcome(lab: SwitchLab, from: LabMember, to: LabMember, dstPort = 5000): Promise<string> {
  ports += 1;
  return follow(lab, from, to, ports, dstPort);
}

async function follow(lab: SwitchLab, from: LabMember, to: LabMember, srcPort: number, dstPort: number) {
  await using sent = await lab.vpcSwitch.capture({ eniId: from.eniId });
  lab.send(from, to, '#x', { srcPort, dstPort });
  const frame = await sent.frames.wait(({ direction }) => direction === 'fromNode');
  return frame.verdict === 'forwarded' ? 'passed' : frame.reason;
}

async function change(lab: SwitchLab, action: string, SecurityGroupId: string, rule: ParamTree): Promise<void> {
  lab.call(action, { SecurityGroupId, Permissions: [rule] });
  await lab.vpcSwitch.settled();
}

test('a basic group allows egress, and ingress only from itself', async () => {
  await using s = await scene();
  const sibling = await s.lab.addMember(s.node, s.lab.createEni({ SecurityGroupIds: [s.serverGroup] }));
  expect(await outcome(s.lab, s.client, s.server)).toBe('security-group-ingress');
  expect(await outcome(s.lab, sibling, s.server)).toBe('passed');
  // Inner access takes precedence over rules, as documented.
  await change(s.lab, 'AuthorizeSecurityGroup', s.serverGroup, { ...ANY, Policy: 'drop', SourceCidrIp: '0.0.0.0/0' });
  expect(await outcome(s.lab, sibling, s.server)).toBe('passed');
});

test('replies pass without their own rule; the reverse direction cannot begin a flow', async () => {
  await using s = await scene();
  await change(s.lab, 'AuthorizeSecurityGroup', s.serverGroup, {
    IpProtocol: 'UDP',
    PortRange: '5000/5001',
    SourceGroupId: s.clientGroup,
  });
  expect(await follow(s.lab, s.server, s.client, 5000, 4000)).toBe('security-group-ingress');
  expect(await follow(s.lab, s.client, s.server, 4000, 5000)).toBe('passed');
  expect(await follow(s.lab, s.server, s.client, 5000, 4000)).toBe('passed');
  expect(await follow(s.lab, s.server, s.client, 5000, 4001)).toBe('security-group-ingress');
  expect(await follow(s.lab, s.client, s.server, 4000, 5002)).toBe('security-group-ingress');

  await change(s.lab, 'RevokeSecurityGroup', s.serverGroup, {
    IpProtocol: 'UDP',
    PortRange: '5000/5001',
    SourceGroupId: s.clientGroup,
  });
  expect(await follow(s.lab, s.client, s.server, 4000, 5000)).toBe('security-group-ingress');
  expect(await follow(s.lab, s.server, s.client, 5000, 4000)).toBe('security-group-ingress');
});

test('a flow survives a change that still allows it', async () => {
  await using s = await scene();
  const rule = { IpProtocol: 'UDP', PortRange: '5000/5000', SourceCidrIp: s.client.ip };
  await change(s.lab, 'AuthorizeSecurityGroup', s.serverGroup, rule);
  expect(await follow(s.lab, s.client, s.server, 4000, 5000)).toBe('passed');
  await change(s.lab, 'AuthorizeSecurityGroup', s.serverGroup, { ...ANY, Priority: 100, SourceCidrIp: '10.0.0.0/8' });
  await change(s.lab, 'RevokeSecurityGroup', s.serverGroup, rule);
  expect(await follow(s.lab, s.server, s.client, 5000, 4000)).toBe('passed');
});

test('over all groups of the ENI, the lower priority wins, and Drop at equal priorities', async () => {
  await using s = await scene();
  const second = s.lab.simulator.model.createSecurityGroup({ vpcId: s.lab.vpcId }, s.lab.simulator.clock.now());
  s.lab.call('ModifyNetworkInterfaceAttribute', {
    NetworkInterfaceId: s.server.eniId,
    SecurityGroupId: [s.serverGroup, second],
  });
  const add = (group: string, Policy: string, Priority: number) =>
    change(s.lab, 'AuthorizeSecurityGroup', group, { ...ANY, Policy, Priority, SourceCidrIp: '10.0.0.0/8' });
  await add(s.serverGroup, 'accept', 50);
  expect(await outcome(s.lab, s.client, s.server)).toBe('passed');
  await add(second, 'drop', 50);
  expect(await outcome(s.lab, s.client, s.server)).toBe('security-group-ingress');
  await add(s.serverGroup, 'accept', 49);
  expect(await outcome(s.lab, s.client, s.server)).toBe('passed');
  await add(s.clientGroup, 'drop', 1);
  expect(await outcome(s.lab, s.client, s.server)).toBe('passed');
  await change(s.lab, 'AuthorizeSecurityGroupEgress', s.clientGroup, {
    IpProtocol: 'UDP',
    PortRange: '5000/5000',
    Policy: 'drop',
    DestCidrIp: s.server.ip,
  });
  expect(await outcome(s.lab, s.client, s.server)).toBe('security-group-egress');
  expect(await outcome(s.lab, s.client, s.server, 5001)).toBe('passed');
});

test('an enterprise group allows nothing by default, not even between its members', async () => {
  await using s = await scene('enterprise');
  const sibling = await s.lab.addMember(s.node, s.lab.createEni({ SecurityGroupIds: [s.clientGroup] }));
  expect(await outcome(s.lab, s.client, sibling)).toBe('security-group-egress');
  await change(s.lab, 'AuthorizeSecurityGroupEgress', s.clientGroup, { ...ANY, DestCidrIp: '10.0.0.0/8' });
  expect(await outcome(s.lab, s.client, sibling)).toBe('security-group-ingress');
  await change(s.lab, 'AuthorizeSecurityGroup', s.clientGroup, { ...ANY, SourceCidrIp: '10.0.0.0/8' });
  expect(await outcome(s.lab, s.client, sibling)).toBe('passed');
});

test('an ENI that moves to another group keeps only flows that are still allowed', async () => {
  await using s = await scene();
  const both = { NetworkInterfaceId: s.server.eniId, SecurityGroupId: [s.clientGroup] };
  s.lab.call('ModifyNetworkInterfaceAttribute', both);
  await s.lab.vpcSwitch.settled();
  expect(await follow(s.lab, s.client, s.server, 4000, 5000)).toBe('passed');
  s.lab.call('ModifyNetworkInterfaceAttribute', { ...both, SecurityGroupId: [s.serverGroup] });
  await s.lab.vpcSwitch.settled();
  expect(await follow(s.lab, s.client, s.server, 4000, 5000)).toBe('security-group-ingress');
});
