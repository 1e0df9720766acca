import { type IncomingHttpHeaders, type OutgoingHttpHeaders, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { VirtualClock } from '../../../src/util/test-support/virtual-clock.ts';
import type { ParamTree } from '../model/action.ts';
import { type CloudSimulator, startCloudSimulator } from '../server.ts';
import { REGION, seedNetwork, type TestNetwork } from '../test-network.ts';

/** Instance metadata on a real socket, as documented and as Terway, cloud-init and scripts read them. */

let clock: VirtualClock;
let simulator: CloudSimulator;
let network: TestNetwork;
let node: string;

beforeEach(async () => {
  clock = new VirtualClock();
  simulator = await startCloudSimulator({
    clock,
    metadataListen: { host: '127.0.0.1', port: 0 },
    account: { latencies: { createMs: 0, attachMs: 0, detachMs: 0, deleteMs: 0 } },
  });
  network = seedNetwork(simulator.model, clock.now());
  node = addressOf(network.primaryEniId);
});

afterEach(() => simulator.close());

test('the instance is told who and where it is', async () => {
  const { instanceId, primaryEniId, vpcId, vSwitchId } = network;
  const items = {
    'instance-id': instanceId,
    hostname: instanceId,
    'instance/instance-type': 'ecs.g7.4xlarge',
    'instance/instance-name': instanceId,
    'region-id': REGION,
    'zone-id': 'cn-hangzhou-i',
    mac: eni(primaryEniId).macAddress,
    'network-type': 'vpc',
    'private-ipv4': node,
    'vpc-id': vpcId,
    'vpc-cidr-block': '10.0.0.0/8',
    'vswitch-id': vSwitchId,
    'vswitch-cidr-block': '10.1.0.0/16',
  };
  for (const [item, expected] of Object.entries(items)) {
    expect(await read(item), item).toBe(expected);
    expect(await answer('GET', `/2016-01-01/meta-data/${item}`), item).toMatchObject({ status: 200, body: expected });
  }
});

test('each adapter with its addresses, from the attachment to the detachment', async () => {
  const { instanceId, primaryEniId, vpcId, otherZoneVSwitchId } = network;
  expect(await list('network/interfaces/macs/')).toEqual([`${eni(primaryEniId).macAddress}/`]);
  const eniId = create({ SecondaryPrivateIpAddressCount: 2, Ipv6AddressCount: 2 });
  const { macAddress: mac, vSwitchId } = eni(eniId);
  expect((await ask('GET', `network/interfaces/macs/${mac}/network-interface-id`)).status).toBe(404);
  call('AttachNetworkInterface', { NetworkInterfaceId: eniId, InstanceId: instanceId });
  expect(await list('network/interfaces/macs')).toEqual([`${eni(primaryEniId).macAddress}/`, `${mac}/`]);

  const { ipv4, ipv6 } = eni(eniId);
  const items = {
    gateway: '10.1.255.253',
    'ipv6-gateway': '2408:4321:180:1701:ffff:ffff:ffff:fffd',
    ipv6s: `[${ipv6[0]},${ipv6[1]}]`,
    netmask: '255.255.0.0',
    'network-interface-id': eniId,
    'primary-ip-address': ipv4[0] ?? '',
    'private-ipv4s': `["${ipv4[0]}","${ipv4[1]}","${ipv4[2]}"]`,
    'vpc-cidr-block': '10.0.0.0/8',
    'vpc-id': vpcId,
    'vpc-ipv6-cidr-blocks': '[2408:4321:180:1700::/56]',
    'vswitch-cidr-block': '10.1.0.0/16',
    'vswitch-id': vSwitchId,
    'vswitch-ipv6-cidr-block': '2408:4321:180:1701::/64',
  };
  expect(await list(`network/interfaces/macs/${mac}/`)).toEqual(Object.keys(items));
  for (const [item, expected] of Object.entries(items)) {
    expect(await read(`network/interfaces/macs/${mac}/${item}`), item).toBe(expected);
  }

  call('AssignPrivateIpAddresses', { NetworkInterfaceId: eniId, SecondaryPrivateIpAddressCount: 1 });
  call('UnassignIpv6Addresses', { NetworkInterfaceId: eniId, Ipv6Address: [...ipv6] });
  const addresses = await read(`network/interfaces/macs/${mac}/private-ipv4s`);
  expect(JSON.parse(addresses)).toEqual([...eni(eniId).ipv4]);
  expect(eni(eniId).ipv4).toHaveLength(4);
  expect((await ask('GET', `network/interfaces/macs/${mac}/ipv6s`)).status).toBe(404);

  call('DetachNetworkInterface', { NetworkInterfaceId: eniId, InstanceId: instanceId });
  expect((await ask('GET', `network/interfaces/macs/${mac}/gateway`)).status).toBe(404);

  // In a vSwitch without IPv6 there are no items of IPv6.
  const other = runIn(otherZoneVSwitchId);
  const own = eni(other.primaryEniId);
  const without = await list(`network/interfaces/macs/${own.macAddress}/`, { client: other.address });
  expect(without.filter((item) => item.includes('ipv6'))).toEqual(['vpc-ipv6-cidr-blocks']);
});

test('who asks decides the answer: every address of the instance, those of its pods included, and nobody else', async () => {
  const { instanceId, otherZoneVSwitchId } = network;
  const other = runIn(otherZoneVSwitchId);
  const trunk = create({ InstanceType: 'Trunk' });
  call('AttachNetworkInterface', { NetworkInterfaceId: trunk, InstanceId: instanceId });
  const member = create({ Ipv4PrefixCount: 1 });
  expect((await ask('GET', 'instance-id', { client: addressOf(member) })).status).toBe(404);
  call('AttachNetworkInterface', {
    NetworkInterfaceId: member,
    InstanceId: instanceId,
    TrunkNetworkInstanceId: trunk,
  });
  call('AssignPrivateIpAddresses', { NetworkInterfaceId: trunk, SecondaryPrivateIpAddressCount: 1 });
  const inPrefix = (eni(member).ipv4Prefixes[0] ?? '').replace(/\d+\/28$/, (end) => `${Number.parseInt(end, 10) + 3}`);
  for (const client of [node, ...eni(trunk).ipv4, addressOf(member), inPrefix]) {
    expect(await read('instance-id', { client }), client).toBe(instanceId);
  }
  simulator.model.setLatencies({ attachMs: 60_000 }, clock.now());
  const late = create({});
  call('AttachNetworkInterface', { NetworkInterfaceId: late, InstanceId: instanceId });
  expect((await ask('GET', 'instance-id', { client: addressOf(late) })).status).toBe(404);
  // Neither a member, nor what is still being attached, is an adapter.
  expect(await list('network/interfaces/macs/')).toHaveLength(2);
  expect(await read('instance-id', { client: other.address })).toBe(other.instanceId);
  for (const client of ['10.1.99.99', '127.0.0.1', '0.0.0.0']) {
    expect((await ask('GET', 'instance-id', { client })).status, client).toBe(404);
    expect((await answer('PUT', TOKEN, { client, headers: TTL })).status, client).toBe(404);
  }
});

test('a token is valid for its instance until it expires', async () => {
  const { instanceId, otherZoneVSwitchId } = network;
  const other = runIn(otherZoneVSwitchId);
  const { status, body } = await answer('PUT', TOKEN, { headers: { [TTL_HEADER]: '60' } });
  expect([status, body.length > 20, /\s/.test(body)]).toEqual([200, true, false]);
  const headers = { 'X-aliyun-ecs-metadata-token': body };
  expect(await read('instance-id', { headers })).toBe(instanceId);
  expect(await ask('GET', 'instance-id', { headers, client: other.address })).toMatchObject(UNAUTHORIZED);
  expect(await ask('GET', 'instance-id', { headers: { [TOKEN_HEADER]: 'aaa' } })).toMatchObject(UNAUTHORIZED);
  await clock.advance(59_999);
  expect(await read('instance-id', { headers })).toBe(instanceId);
  await clock.advance(1);
  expect(await ask('GET', 'instance-id', { headers })).toMatchObject(UNAUTHORIZED);
});

test('an instance that requires tokens answers nothing without one', async () => {
  const guarded = runIn(network.otherZoneVSwitchId, { httpTokens: 'required' });
  const client = guarded.address;
  for (const path of ['/', '/latest/meta-data/', '/latest/meta-data/instance-id', '/latest/none']) {
    expect(await answer('GET', path, { client }), path).toMatchObject({ status: 403, body: '403 - Forbidden' });
  }
  const { body } = await answer('PUT', TOKEN, { client, headers: TTL });
  expect(await read('instance-id', { client, headers: { [TOKEN_HEADER]: body } })).toBe(guarded.instanceId);
  expect(call('DescribeInstances', { InstanceIds: JSON.stringify([guarded.instanceId]) })).toMatchObject({
    Instances: { Instance: [{ MetadataOptions: { HttpEndpoint: 'enabled', HttpTokens: 'required' } }] },
  });
});

test('a request for a token that is not as documented is refused', async () => {
  const bad = { status: 400, body: '400 - Missing or Invalid Parameters' };
  for (const ttl of ['', '0', '21601', '-1', '1.5', '1e3', 'x', '60 ', '999999999999999999999']) {
    const expected = ttl === '60 ' ? { status: 200 } : bad;
    expect(await answer('PUT', TOKEN, { headers: { [TTL_HEADER]: ttl } }), ttl).toMatchObject(expected);
  }
  expect(await answer('PUT', TOKEN)).toMatchObject(bad);
  expect(await answer('PUT', TOKEN, { headers: { [TTL_HEADER]: '21600' } })).toMatchObject({ status: 200 });
  const forwarded = { ...TTL, 'X-Forwarded-For': 'www.example.com' };
  expect(await answer('PUT', TOKEN, { headers: forwarded })).toMatchObject({ status: 403, body: '403 - Forbidden' });
  expect((await answer('GET', TOKEN)).status).toBe(405);
  expect((await answer('PUT', '/2016-01-01/api/token', { headers: TTL })).status).toBe(405);
});

test('folders list what is in them; what does not exist is a 404', async () => {
  expect(await answer('GET', '/')).toMatchObject({ status: 200, body: '2016-01-01\nlatest' });
  expect(await answer('GET', '/latest')).toMatchObject({ status: 200, body: 'meta-data/' });
  const root = await list('');
  expect(root).toEqual(expect.arrayContaining(['instance/', 'instance-id', 'network/', 'region-id', 'zone-id']));
  expect(await list('network/')).toEqual(['interfaces/']);
  const { macAddress } = eni(network.primaryEniId);
  // A script that appends to what a folder lists writes two slashes; some clients escape the colons.
  expect(await read(`network/interfaces/macs/${macAddress}//netmask`)).toBe('255.255.0.0');
  expect(await read(`network/interfaces/macs/${encodeURIComponent(macAddress)}/netmask`)).toBe('255.255.0.0');
  for (const path of [
    ...['/latest/meta-data/none', '/latest/meta-data/instance-id/none', '/latest/meta-data/network/none'],
    ...['/latest/meta-data/network/interfaces/macs/00:16:3e:ff:ff:ff/gateway', '/latest/meta-data/eipv4'],
    ...['/latest/meta-data/__proto__', '/latest/meta-data/constructor/name', '/latest/meta-data/%ff', '/latest/%'],
    ...['/latest/user-data', '/latest/dynamic/instance-identity/document', '/2009-04-04/meta-data/instance-id'],
    ...['/meta-data/instance-id', '/latest/meta-data/ram/security-credentials/'],
  ]) {
    expect(await answer('GET', path), path).toMatchObject({ status: 404, body: '404 - Not Found' });
  }
  for (const method of ['POST', 'DELETE', 'PUT']) {
    expect((await answer(method, '/latest/meta-data/instance-id')).status, method).toBe(405);
  }
});

test('who does not say from where, is disconnected; an introduction in pieces is understood', async () => {
  const get = 'GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';
  const line = `PROXY TCP4 ${node} 100.100.100.200 40000 80\r\n`;
  for (const pieces of [[`${line}${get}`], [line, get], [line.slice(0, 9), `${line.slice(9, -1)}`, `\n${get}`]]) {
    expect(await conversation(pieces)).toMatch(new RegExp(`^HTTP/1.1 200 OK\r\n.*\r\n${network.instanceId}$`, 's'));
  }
  for (const pieces of [
    [get],
    ['PROXY UNKNOWN\r\n', get],
    ['PROXY TCP4 10.1.0.999 100.100.100.200 1 80\r\n', get],
    [`PROXY TCP6 fd00::1 fd00::2 1 80\r\n${get}`],
    ['x'.repeat(107)],
    [`PROXY TCP4 ${node} ${'x'.repeat(107)}\r\n${get}`],
  ]) {
    expect(await conversation(pieces), pieces[0]).toBe('');
  }
  expect(await read('instance-id')).toBe(network.instanceId);
});

test('the service ends with the simulator, and listens on loopback only', async () => {
  await expect(startCloudSimulator({ metadataListen: { host: '0.0.0.0', port: 0 } })).rejects.toThrow(RangeError);
  await using without = await startCloudSimulator();
  expect(without.metadataEndpoint).toBe('');
  const idle = open();
  await new Promise<void>((resolve) => idle.once('connect', () => resolve()));
  const closed = new Promise<void>((resolve) => idle.once('close', () => resolve()));
  await simulator.close();
  await closed;
  await expect(read('instance-id')).rejects.toThrow();
});

const TOKEN = '/latest/api/token';
const TTL_HEADER = 'X-aliyun-ecs-metadata-token-ttl-seconds';
const TOKEN_HEADER = 'X-aliyun-ecs-metadata-token';
const TTL = { [TTL_HEADER]: '300' };
const UNAUTHORIZED = { status: 401, body: '401 - Unauthorized' };

interface AskOptions {
  /** Address from which the request comes. Default: that of the node. */
  client?: string;
  headers?: OutgoingHttpHeaders;
}

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

function open(): Socket {
  const [host = '', port] = simulator.metadataEndpoint.split(':');
  const socket = connect(Number(port), host);
  socket.on('error', () => undefined);
  return socket;
}

/** Sends a request as the VPC switch does. */
function answer(method: string, path: string, { client = node, headers = {} }: AskOptions = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const createConnection = (): Socket => {
      const socket = open();
      socket.write(`PROXY TCP4 ${client} 100.100.100.200 40000 80\r\n`);
      return socket;
    };
    const sent = request({ method, path, headers, createConnection }, (response) => {
      void text(response).then((body) => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body });
      }, reject);
    });
    sent.once('error', reject).end();
  });
}

function ask(method: string, item: string, options?: AskOptions): Promise<Answer> {
  return answer(method, `/latest/meta-data/${item}`, options);
}

async function read(item: string, options?: AskOptions): Promise<string> {
  const { status, body } = await ask('GET', item, options);
  expect(status, item).toBe(200);
  return body;
}

async function list(folder: string, options?: AskOptions): Promise<string[]> {
  return (await read(folder, options)).split('\n');
}

/** Writes the pieces one after the other. Returns everything that comes back until the connection ends. */
async function conversation(pieces: readonly string[]): Promise<string> {
  const socket = open();
  let received = '';
  socket.on('data', (chunk: Buffer) => {
    received += chunk.toString('latin1');
  });
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  for (const piece of pieces) {
    socket.write(piece);
    await new Promise<void>((resolve) => setTimeout(resolve, 20));
  }
  await closed;
  return received;
}

function call(action: string, params: ParamTree): Record<string, unknown> {
  const outcome = simulator.model.apply({ action, params: { RegionId: REGION, ...params } }, clock.now());
  if (!outcome.ok) throw outcome.error;
  simulator.model.advance(clock.now());
  return { ...outcome.body };
}

function create(params: ParamTree): string {
  const where = { VSwitchId: network.vSwitchId, SecurityGroupIds: [network.securityGroupId] };
  return String(call('CreateNetworkInterface', { ...where, ...params })['NetworkInterfaceId']);
}

function eni(eniId: string) {
  const found = simulator.model.eni(eniId);
  if (found === undefined) throw new Error(`no ENI ${eniId}`);
  return found;
}

function addressOf(eniId: string): string {
  return eni(eniId).ipv4[0] ?? '';
}

/** Another instance. */
function runIn(vSwitchId: string, options: { httpTokens?: 'required' } = {}) {
  const instance = simulator.model.runInstance(
    { instanceType: 'ecs.g7.xlarge', vSwitchId, securityGroupIds: [network.securityGroupId], ...options },
    clock.now(),
  );
  return { ...instance, address: addressOf(instance.primaryEniId) };
}
