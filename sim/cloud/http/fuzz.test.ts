import { request } from 'node:http';
import { connect } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { PRODUCT_VERSIONS } from '../model/action.ts';
import { ACTIONS } from '../model/actions/registry.ts';
import { accountViolations } from '../model/invariants.ts';
import { type CloudSimulator, DEFAULT_ACCESS_KEY, startCloudSimulator } from '../server.ts';
import { seedNetwork } from '../test-network.ts';
import { rpcV1, rpcV3 } from './raw-clients.ts';

/** Any input must get a status below 500, and the next request must be served. */

let simulator: CloudSimulator;
const bugs: unknown[] = [];
const onWarning = (warning: unknown): void => void bugs.push(warning);

beforeAll(async () => {
  process.on('warning', onWarning);
  simulator = await startCloudSimulator({
    account: { latencies: { createMs: 0, attachMs: 1, detachMs: 1, deleteMs: 1 } },
  });
  const network = seedNetwork(simulator.model, simulator.clock.now());
  known.push(...Object.values(network), 'cn-hangzhou');
});

afterAll(async () => {
  process.off('warning', onWarning);
  await simulator.close();
});

/** Existing ids, so that some random requests pass the checks of an action. */
const known: string[] = ['eni-none'];

const oddText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.constantFrom(
    '',
    '0',
    '-1',
    '1',
    '1e9',
    '99999999999999999999',
    'true',
    'null',
    '[]',
    '["i-x"]',
    '{}',
    '__proto__',
    '%',
    '\u0000',
    '10.1.0.5',
    '::1',
  ),
  fc.nat(1_000).map((index) => known[index % known.length] ?? ''),
);
const names = [
  'RegionId',
  'NetworkInterfaceId',
  'NetworkInterfaceId.1',
  'VSwitchId',
  'SecurityGroupId',
  'SecurityGroupIds.1',
  'InstanceId',
  'InstanceIds',
  'TrunkNetworkInstanceId',
  'Tag.1.Key',
  'Tag.1.Value',
  'Tag',
  'MaxResults',
  'NextToken',
  'PageNumber',
  'PageSize',
  'ClientToken',
  'PrivateIpAddress.1',
  'Ipv6Address.1',
  'Ipv4Prefix.1',
  'Ipv6Prefix.1',
  'SecondaryPrivateIpAddressCount',
  'Ipv6AddressCount',
  'Permissions.1.PortRange',
  'Permissions.1.IpProtocol',
  'Permissions.1.SourceCidrIp',
  'ResourceId.1',
  'ResourceType',
  'TagFilter.1.TagKey',
  'VpcId',
  'InstanceName',
  'InstanceTypes.1',
];
const paramName = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom(...names) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '__proto__.1',
      'constructor.prototype.x',
      'Tag.__proto__.Key',
      '...',
      'Tag.1.Key.1.2.3.4.5',
      '.',
    ),
  },
  { weight: 1, arbitrary: fc.string({ maxLength: 20 }) },
);
const params = fc.array(fc.tuple(paramName, oddText), { maxLength: 10 }).map((pairs) => ({
  RegionId: 'cn-hangzhou',
  ...Object.fromEntries(pairs.map(([name, value]) => [name.toWellFormed(), value.toWellFormed()])),
}));
const action = fc.oneof(fc.constantFrom(...ACTIONS), fc.constant({ name: 'NoSuchAction', product: 'Ecs' as const }));

async function serves(): Promise<void> {
  const response = await rpcV3(simulator.endpoint, DEFAULT_ACCESS_KEY, { action: 'DescribeRegions' });
  expect(response.status).toBe(200);
}

test('signed requests with random parameters', async () => {
  await fc.assert(
    fc.asyncProperty(action, params, fc.boolean(), async ({ name, product }, random, old) => {
      const version = PRODUCT_VERSIONS[product];
      const response = old
        ? await rpcV1(simulator.endpoint, DEFAULT_ACCESS_KEY, {
            method: 'POST',
            params: { ...random, Action: name, Version: version },
          })
        : await rpcV3(simulator.endpoint, DEFAULT_ACCESS_KEY, { action: name, version, form: random });
      expect(response.status, await response.text()).toBeLessThan(500);
    }),
    { numRuns: 400 },
  );
  await serves();
  expect(accountViolations(simulator.model)).toEqual([]);
  expect(bugs).toEqual([]);
});

const headerName = fc.constantFrom(
  'authorization',
  'x-acs-action',
  'x-acs-version',
  'x-acs-date',
  'x-acs-signature-nonce',
  'x-acs-content-sha256',
  'content-type',
  'accept',
  'x-acs-security-token',
);
const headerValue = fc.oneof(
  fc.string({ maxLength: 80 }).map((text) => text.replace(/[^\x20-\x7e]/g, '')),
  fc.constantFrom(
    'ACS3-HMAC-SHA256 Credential=a,SignedHeaders=host,Signature=0',
    'ACS3-HMAC-SHA256 Credential=LTAI5tSimulatedKeyId,SignedHeaders=;;;,Signature=zz',
    'application/x-www-form-urlencoded',
    'DescribeRegions',
    '2014-05-26',
  ),
);

test('unsigned requests with random method, path, headers and body', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('GET', 'POST', 'PUT', 'HEAD', 'OPTIONS', 'DELETE', 'PATCH', 'TRACE'),
      fc.string({ maxLength: 60 }).map((text) => `/${text.replace(/[^\x21-\x7e]/g, '')}`),
      fc.array(fc.tuple(headerName, headerValue), { maxLength: 8 }),
      fc.uint8Array({ maxLength: 200 }),
      async (method, path, headers, body) => {
        const status = await send(method, path, Object.fromEntries(headers), Buffer.from(body));
        expect(status).toBeGreaterThanOrEqual(400);
        expect(status).toBeLessThan(500);
      },
    ),
    { numRuns: 300 },
  );
  await serves();
  expect(bugs).toEqual([]);
});

test('bytes that are not HTTP, and connections that break', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.boolean(), async (bytes, announced) => {
      const [host = '', port = ''] = simulator.endpoint.split(':');
      await new Promise<void>((resolve) => {
        const socket = connect(Number(port), host, () => {
          if (announced) socket.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n');
          socket.write(bytes);
          setTimeout(() => socket.destroy(), 2);
        });
        socket.on('close', () => resolve()).on('error', () => {});
      });
    }),
    { numRuns: 40 },
  );
  await serves();
  expect(bugs).toEqual([]);
});

function send(method: string, path: string, headers: Record<string, string>, body: Buffer): Promise<number> {
  const [host = '', port = ''] = simulator.endpoint.split(':');
  return new Promise((resolve, reject) => {
    const outgoing = request({ host, port, method, path, headers }, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode ?? 0));
    });
    outgoing.on('error', reject);
    outgoing.end(method === 'TRACE' || method === 'HEAD' || method === 'GET' ? undefined : body);
  });
}
