import type { OutgoingHttpHeaders } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import * as z from 'zod';
import { udp } from './test-frames.ts';
import { onWire, SwitchLab } from './test-lab.ts';
import type { Namespace } from './test-namespaces.ts';

/** Instance metadata as a node's kernel reaches them: packets to the service's address, answers from it. */

const SERVICE = '100.100.100.200';
const ITEMS = `http://${SERVICE}/latest/meta-data`;

test('each node reads its own metadata, in normal mode and with a token', async () => {
  await using lab = await SwitchLab.start();
  const [a, b] = [await lab.addNode({ configurePrimary: true }), await lab.addNode({ configurePrimary: true })];
  await using wire = await lab.vpcSwitch.capture({ eniId: a.primary.id });
  for (const { namespace, instanceId, primary } of [a, b]) {
    expect(await ask(namespace, `${ITEMS}/instance-id`)).toEqual({ status: 200, body: instanceId });
    const token = await ask(namespace, `http://${SERVICE}/latest/api/token`, {
      method: 'PUT',
      headers: { 'X-aliyun-ecs-metadata-token-ttl-seconds': '60' },
    });
    const headers = { 'X-aliyun-ecs-metadata-token': token.body };
    const macs = `${ITEMS}/network/interfaces/macs`;
    const addresses = await ask(namespace, `${macs}/${primary.macAddress}/private-ipv4s`, { headers });
    expect(JSON.parse(addresses.body)).toEqual(primary.ipv4);
  }
  expect(await ask(a.namespace, `${ITEMS}/none`)).toMatchObject({ status: 404 });

  const own = a.primary.ipv4[0] ?? '';
  const packets = (await wire.all()).filter(({ protocol }) => protocol === 6);
  expect(packets.some(({ direction }) => direction === 'fromNode')).toBe(true);
  for (const packet of packets) {
    const [src, dst] = packet.direction === 'fromNode' ? [own, SERVICE] : [SERVICE, own];
    expect(packet).toMatchObject({ src, dst, verdict: 'forwarded', eni: a.primary.id, vlan: 0 });
  }
  expect(lab.vpcSwitch.refusals.list()).toEqual([]);
});

test('the control plane finds its region and its VPC there', async () => {
  await using lab = await SwitchLab.start();
  const { namespace } = await lab.addNode({ configurePrimary: true });
  const child = namespace.spawn(process.execPath, ['--input-type=module', '-e', OWN_READER]);
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)]);
  expect([output, errors]).toEqual([`cn-hangzhou ${lab.vpcId}\n`, '']);
});

test('a secondary address asks for its node while the ENI has it', async () => {
  await using lab = await SwitchLab.start();
  const { namespace, instanceId, primary } = await lab.addNode({ configurePrimary: true });
  lab.call('AssignPrivateIpAddresses', { NetworkInterfaceId: primary.id, SecondaryPrivateIpAddressCount: 1 });
  await lab.vpcSwitch.settled();
  const [, secondary = ''] = lab.eni(primary.id).ipv4;
  await namespace.ip('addr', 'add', `${secondary}/32`, 'dev', 'eth0');
  const from = { localAddress: secondary };
  expect(await ask(namespace, `${ITEMS}/instance-id`, from)).toEqual({ status: 200, body: instanceId });

  lab.call('UnassignPrivateIpAddresses', { NetworkInterfaceId: primary.id, PrivateIpAddress: [secondary] });
  await lab.vpcSwitch.settled();
  const waiting = namespace.spawn(process.execPath, ['-e', ASK, JSON.stringify([`${ITEMS}/instance-id`, from])]);
  expect(await lab.vpcSwitch.refusals.wait(({ src }) => src === secondary)).toMatchObject({
    reason: 'wrong-source-address',
    dst: SERVICE,
  });
  waiting.kill();
  expect(await ask(namespace, `${ITEMS}/instance-id`)).toEqual({ status: 200, body: instanceId });
});

test('a member of a trunk is answered with its tag, until it is detached', async () => {
  await using lab = await SwitchLab.start();
  const node = await lab.addNode();
  const member = await lab.addMember(node);
  // Nobody listens on this port, so the kernel behind the service's address says that it cannot be reached.
  const datagram = udp(onWire(member), { src: member.ip, dst: SERVICE });
  node.wire.send(datagram);
  const answer = await node.wire.frames.wait(({ etherType, body }) => etherType === 0x0800 && body[9] === 1);
  expect(answer).toMatchObject({ vlans: [member.vlanId], dstMac: node.trunk.macAddress });
  await lab.detachMember(member);
  node.wire.send(datagram);
  expect(await lab.vpcSwitch.refusals.wait(({ dst }) => dst === SERVICE)).toMatchObject({ reason: 'unknown-vlan' });
});

test('the address can be another one; then the usual one has no route', async () => {
  await using lab = await SwitchLab.start({ metadataAddress: '198.18.7.7:8080' });
  const node = await lab.addNode({ configurePrimary: true });
  const url = 'http://198.18.7.7:8080/latest/meta-data/region-id';
  expect(await ask(node.namespace, url)).toEqual({ status: 200, body: 'cn-hangzhou' });
  const trunk = { src: node.trunk.macAddress };
  node.wire.send(udp(trunk, { src: node.trunk.ipv4[0] ?? '', dst: SERVICE, payload: '#no' }));
  expect(await lab.vpcSwitch.refusals.wait(({ dst }) => dst === SERVICE)).toMatchObject({ reason: 'no-route' });
});

/** Sends a request; its URL and options are the argument. Writes status and body. */
const ASK = `
  const [url, options] = JSON.parse(process.argv[1]);
  const sent = require('node:http').request(url, options, (response) => {
    let body = '';
    response.setEncoding('utf8').on('data', (data) => { body += data; });
    response.on('end', () => console.log(JSON.stringify({ status: response.statusCode, body })));
  });
  sent.end();`;

/** The control plane's own reader, as it starts on an instance. */
const OWN_READER = `
  const source = ${JSON.stringify(join(import.meta.dirname, '../../src'))};
  const { METADATA_ENDPOINT, openMetadata } = await import(source + '/cloud/metadata.ts');
  const { systemClock } = await import(source + '/util/clock.ts');
  const read = await openMetadata(METADATA_ENDPOINT, systemClock, AbortSignal.timeout(10_000));
  console.log(await read('region-id'), await read('vpc-id'));`;

const answerSchema = z.object({ status: z.number(), body: z.string() });

interface AskOptions {
  method?: string;
  headers?: OutgoingHttpHeaders;
  localAddress?: string;
}

async function ask(
  namespace: Namespace,
  url: string,
  options: AskOptions = {},
): Promise<z.output<typeof answerSchema>> {
  const child = namespace.spawn(process.execPath, ['-e', ASK, JSON.stringify([url, options])]);
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)]);
  expect(errors).toBe('');
  return answerSchema.parse(JSON.parse(output));
}
