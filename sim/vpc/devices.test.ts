import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';
import { udp } from './test-frames.ts';
import { SwitchLab } from './test-lab.ts';

/** Adapters of instances. They come and go with attachments and with the forwarding program. */

test('each adapter is a device with its name, MAC address and MTU; only eth0 is up', async () => {
  await using lab = await SwitchLab.start();
  const { instanceId, primary } = lab.runInstance();
  const namespace = await lab.namespace();
  await lab.vpcSwitch.settled();
  await lab.vpcSwitch.addNode({ instanceId, netnsPath: namespace.path });
  const [trunkId, secondaryId] = [lab.createEni({ InstanceType: 'Trunk' }), lab.createEni()];
  for (const NetworkInterfaceId of [trunkId, secondaryId]) {
    lab.call('AttachNetworkInterface', { NetworkInterfaceId, InstanceId: instanceId });
    await lab.vpcSwitch.settled();
  }
  lab.call('AttachNetworkInterface', {
    NetworkInterfaceId: lab.createEni(),
    InstanceId: instanceId,
    TrunkNetworkInstanceId: trunkId,
  });
  await lab.vpcSwitch.settled();
  const expected = (eniId: string, name: string, up: boolean) => ({
    name,
    up,
    mtu: 1500,
    mac: lab.eni(eniId).macAddress,
  });
  expect(await namespace.links()).toEqual([
    expected(primary.id, 'eth0', true),
    expected(trunkId, 'eth1', false),
    expected(secondaryId, 'eth2', false),
  ]);
  expect(await namespace.ip('-4', 'addr', 'show')).toBe('');
  expect(lab.vpcSwitch.devices()).toEqual([
    { eniId: primary.id, instanceId, name: 'eth0' },
    { eniId: trunkId, instanceId, name: 'eth1' },
    { eniId: secondaryId, instanceId, name: 'eth2' },
  ]);

  lab.call('DetachNetworkInterface', { NetworkInterfaceId: secondaryId, InstanceId: instanceId });
  await lab.vpcSwitch.settled();
  expect((await namespace.links()).map(({ name }) => name)).toEqual(['eth0', 'eth1']);
  await lab.vpcSwitch.removeNode(instanceId);
  expect(await namespace.links()).toEqual([]);
});

test('an adapter that disappears with a pod returns to its node, every time', async () => {
  await using lab = await SwitchLab.start();
  const node = await lab.addNode();
  const member = await lab.addMember(node);
  const eniId = lab.createEni();
  lab.call('AttachNetworkInterface', { NetworkInterfaceId: eniId, InstanceId: node.instanceId });
  await lab.vpcSwitch.settled();
  for (const round of [1, 2]) {
    {
      await using pod = await lab.namespace();
      await node.namespace.ip('link', 'set', 'eth2', 'netns', pod.name, 'name', 'eth0');
      await using inPod = await lab.endpoint(pod, 'eth0');
      inPod.send(
        udp({ src: lab.eni(eniId).macAddress }, { src: lab.eni(eniId).ipv4[0] ?? '', dst: member.ip, payload: '#pod' }),
      );
      await node.wire.frames.wait(({ payload, vlans }) => payload === '#pod' && vlans[0] === member.vlanId);
      node.wire.frames.clear();
      expect((await node.namespace.links()).map(({ name }) => name)).toEqual(['eth0', 'eth1']);
    }
    const happened = () => lab.vpcSwitch.deviceEvents.list().filter((event) => event.eni === eniId);
    await lab.vpcSwitch.deviceEvents.wait(() => happened().length === 1 + 2 * round);
    expect(
      happened()
        .map(({ state }) => state)
        .slice(-2),
    ).toEqual(['lost', 'created']);
    const back = (await node.namespace.links()).find(({ name }) => name === 'eth2');
    expect(back).toMatchObject({ mac: lab.eni(eniId).macAddress, up: false });
  }
});

test('an adapter that is detached while in a pod disappears and does not return', async () => {
  await using lab = await SwitchLab.start();
  const node = await lab.addNode();
  const eniId = lab.createEni();
  lab.call('AttachNetworkInterface', { NetworkInterfaceId: eniId, InstanceId: node.instanceId });
  await lab.vpcSwitch.settled();
  await using pod = await lab.namespace();
  await node.namespace.ip('link', 'set', 'eth2', 'netns', pod.name);
  lab.call('DetachNetworkInterface', { NetworkInterfaceId: eniId, InstanceId: node.instanceId });
  await lab.vpcSwitch.settled();
  expect(await pod.links()).toEqual([]);
  expect((await node.namespace.links()).map(({ name }) => name)).toEqual(['eth0', 'eth1']);
});

test("the machine's own namespace, a missing one and one with another eth0 are refused", async () => {
  await using lab = await SwitchLab.start();
  const { instanceId } = lab.runInstance();
  await lab.vpcSwitch.settled();
  for (const [netnsPath, message] of [
    [`/proc/${process.pid}/ns/net`, /machine's own/],
    ['/run/netns/vpctest-absent', /no such file/],
    ['/run/netns/vpctest-absent', /no such file/],
  ] as const) {
    await expect(lab.vpcSwitch.addNode({ instanceId, netnsPath })).rejects.toThrow(message);
  }
  const namespace = await lab.namespace();
  const node = { instanceId, netnsPath: namespace.path };
  await namespace.ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'other');
  await expect(lab.vpcSwitch.addNode(node)).rejects.toThrow(/device eth0 .* already/);
  await namespace.ip('link', 'del', 'eth0');
  await lab.vpcSwitch.addNode(node);
  expect(lab.vpcSwitch.devices()).toMatchObject([{ name: 'eth0' }]);
});

test('the kernels of two nodes use TCP and UDP over their configured eth0, with IPv4 and IPv6', async () => {
  await using lab = await SwitchLab.start();
  const [a, b] = [await lab.addNode({ configurePrimary: true }), await lab.addNode()];
  await lab.vpcSwitch.removeNode(b.instanceId);
  lab.call('AssignIpv6Addresses', { NetworkInterfaceId: b.primary.id, Ipv6AddressCount: 1 });
  lab.call('AssignIpv6Addresses', { NetworkInterfaceId: a.primary.id, Ipv6AddressCount: 1 });
  await lab.vpcSwitch.settled();
  await lab.vpcSwitch.addNode({ instanceId: b.instanceId, netnsPath: b.namespace.path, configurePrimary: true });
  await a.namespace.ip('addr', 'add', `${lab.eni(a.primary.id).ipv6[0]}/64`, 'dev', 'eth0', 'nodad');
  expect(await a.namespace.ip('route')).toContain('default via 10.1.255.253 dev eth0');
  expect(await b.namespace.ip('-6', 'route')).toContain('default via 2408:4321:180:1701:ffff:ffff:ffff:fffd dev eth0');

  for (const host of [b.primary.ipv4[0] ?? '', lab.eni(b.primary.id).ipv6[0] ?? '']) {
    const server = b.namespace.spawn(process.execPath, [
      '-e',
      `require('node:net').createServer((s) => s.pipe(s)).listen(7000, '${host}', () => console.log('ready'))`,
    ]);
    await once(createInterface({ input: server.stdout }), 'line');
    const client = a.namespace.spawn(process.execPath, [
      '-e',
      `const s = require('node:net').connect(7000, '${host}');
       let got = 0;
       s.on('data', (d) => { got += d.length; if (got === 300000) { console.log('all'); s.destroy(); } });
       s.write(Buffer.alloc(300000));`,
    ]);
    expect(await once(createInterface({ input: client.stdout }), 'line')).toEqual(['all']);
    const closed = once(server, 'close');
    server.kill();
    await closed;
  }
  expect(lab.vpcSwitch.refusals.list()).toEqual([]);
});

test('the devices disappear with the program, and every wait ends', async () => {
  await using lab = await SwitchLab.start();
  const node = await lab.addNode();
  const waiting = expect(lab.vpcSwitch.refusals.wait(() => false)).rejects.toThrow(/ended with signal SIGKILL/);
  process.kill(lab.vpcSwitch.pid ?? 0, 'SIGKILL');
  await waiting;
  expect(await node.namespace.links()).toEqual([]);
  await expect(lab.vpcSwitch.settled()).rejects.toThrow(/ended/);
  expect(lab.vpcSwitch.devices()).toEqual([]);
});

test('the program does not outlive its owner, however the owner ends', async () => {
  await using lab = await SwitchLab.start();
  const namespace = await lab.namespace();
  const { instanceId } = lab.runInstance();
  const script = `
    const { startVpcSwitch } = await import(${JSON.stringify(`${import.meta.dirname}/vpc-switch.ts`)});
    const vpcSwitch = await startVpcSwitch(${JSON.stringify({ cloud: lab.simulator.adminUrl, stateDir: `${lab.recordPath}.d` })});
    await vpcSwitch.addNode(${JSON.stringify({ instanceId, netnsPath: namespace.path })});
    console.log('ready');`;
  const owner = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(createInterface({ input: owner.stdout }), 'line');
  expect((await namespace.links()).map(({ name }) => name)).toEqual(['eth0']);
  owner.kill('SIGKILL');
  await expect.poll(() => namespace.links()).toEqual([]);
});

test('the log file has device events and refusals', async () => {
  await using lab = await SwitchLab.start();
  const node = await lab.addNode();
  const member = await lab.addMember(node);
  lab.send(member, { ip: '192.168.1.1' }, '#out');
  await lab.vpcSwitch.refusals.wait(({ reason }) => reason === 'no-route');
  await lab.vpcSwitch.close();
  const lines = (await readFile(lab.recordPath, 'utf8')).trim().split('\n');
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([
    { type: 'device', name: 'eth0', state: 'created' },
    { type: 'device', name: 'eth1', state: 'created' },
    { type: 'refusal', reason: 'no-route', dst: '192.168.1.1' },
  ]);
  expect(await node.namespace.links()).toEqual([]);
});
