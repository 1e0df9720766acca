import { request } from 'node:http';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CloudSimulator, DEFAULT_ACCESS_KEY, startCloudSimulator } from '../server.ts';
import { REGION, seedNetwork, type TestNetwork } from '../test-network.ts';
import { MAX_BODY_BYTES, MAX_URL_LENGTH } from './gateway.ts';
import { type RpcCall, rpcV1, rpcV3, type V3Call } from './raw-clients.ts';

/** Tests both signature schemes and the gateway's refusals with hand-written clients. */

let simulator: CloudSimulator;
let network: TestNetwork;

beforeAll(async () => {
  simulator = await startCloudSimulator({ account: { latencies: { createMs: 0 } } });
  network = seedNetwork(simulator.model, simulator.clock.now());
});

afterAll(() => simulator.close());

async function v1(call: RpcCall, key = DEFAULT_ACCESS_KEY): Promise<{ status: number; text: string }> {
  const response = await rpcV1(simulator.endpoint, key, call);
  return { status: response.status, text: await response.text() };
}

async function v3(call: V3Call, key = DEFAULT_ACCESS_KEY): Promise<{ status: number; text: string }> {
  const response = await rpcV3(simulator.endpoint, key, call);
  return { status: response.status, text: await response.text() };
}

/** `status Code` of a JSON or XML error. */
function refusal({ status, text }: { status: number; text: string }): string {
  return `${status} ${/"Code":"([^"]+)"/.exec(text)?.[1] ?? /<Code>([^<]+)<\/Code>/.exec(text)?.[1] ?? 'none'}`;
}

const createParams = (): Record<string, string> => ({
  Action: 'CreateNetworkInterface',
  Format: 'JSON',
  RegionId: REGION,
  VSwitchId: network.vSwitchId,
  'SecurityGroupIds.1': network.securityGroupId,
  'Tag.1.Key': 'ack.aliyun.com',
  'Tag.1.Value': "a b+c~*'()!/ö=&%",
});

describe('RPC with HMAC-SHA1', () => {
  test.each<[string, Pick<RpcCall, 'method' | 'inQuery'>]>([
    ['GET', { method: 'GET' }],
    ['POST with everything in the body', { method: 'POST' }],
    ['POST with parameters in query and body', { method: 'POST', inQuery: 6 }],
    ['POST with everything in the query', { method: 'POST', inQuery: 99 }],
  ])('%s', async (_name, how) => {
    const response = await v1({ ...how, params: createParams() });
    expect(response.status).toBe(200);
    expect(JSON.parse(response.text)).toMatchObject({
      Status: 'Available',
      Tags: { Tag: [{ TagKey: 'ack.aliyun.com', TagValue: "a b+c~*'()!/ö=&%" }] },
    });
  });

  // Older SDKs send every request like this.
  test.each<'GET' | 'POST'>(['GET', 'POST'])(
    '%s with the headers of the newer scheme beside the signature',
    async (method) => {
      const headers = { 'x-acs-action': 'CreateNetworkInterface', 'x-acs-version': '2014-05-26' };
      const response = await v1({ method, headers, params: createParams() });
      expect(response.status).toBe(200);
      const { Format: _json, ...params } = createParams();
      expect((await v1({ method, headers, params })).text).toMatch(/^<\?xml /);
      const forged = await v1(
        { method, headers, params: createParams() },
        { ...DEFAULT_ACCESS_KEY, accessKeySecret: 'x' },
      );
      expect(refusal(forged)).toBe('400 SignatureDoesNotMatch');
    },
  );

  test('an ACS3 Authorization header takes precedence over a parameter named Signature', async () => {
    const call: V3Call = { action: 'DescribeRegions', query: { Signature: 'x' } };
    expect((await v3(call)).status).toBe(200);
    const dropped = { tamper: (headers: Record<string, string>) => void delete headers['authorization'] };
    expect(refusal(await v3({ action: 'DescribeRegions', ...dropped }))).toBe('400 MissingAuthorization');
  });

  test('responds in XML unless asked for JSON', async () => {
    const { Format: _json, ...params } = createParams();
    const response = await v1({ method: 'POST', params });
    expect(response.text).toMatch(/^<\?xml version='1.0' encoding='UTF-8'\?><CreateNetworkInterfaceResponse>/);
    expect(response.text).toContain(
      `<SecurityGroupIds><SecurityGroupId>${network.securityGroupId}</SecurityGroupId></SecurityGroupIds>`,
    );
    expect(response.text).toContain("<TagValue>a b+c~*'()!/ö=&amp;%</TagValue>");
    const error = await v1({ method: 'GET', params: { Action: 'NoSuchAction' } });
    expect(error.text).toMatch(
      /^<\?xml .*<Error><RequestId>[0-9A-F-]{36}<\/RequestId><HostId>.*<Code>InvalidAction.NotFound</,
    );
  });

  test('serves the VPC API when the request has its version', async () => {
    const params = { Action: 'DescribeVSwitches', Version: '2016-04-28', Format: 'JSON', VpcId: network.vpcId };
    expect(JSON.parse((await v1({ method: 'GET', params })).text)).toMatchObject({ TotalCount: 2 });
  });

  test('refuses a signature that does not match', async () => {
    const call: RpcCall = { method: 'POST', params: createParams() };
    expect(refusal(await v1(call, { ...DEFAULT_ACCESS_KEY, accessKeySecret: 'wrong' }))).toBe(
      '400 SignatureDoesNotMatch',
    );
    const changed = (params: Record<string, string>) => {
      params['Tag.1.Value'] = 'other';
    };
    expect(refusal(await v1({ ...call, tamper: changed }))).toBe('400 SignatureDoesNotMatch');
  });

  test('refuses an unknown key, an old date, a repeated nonce and missing parameters', async () => {
    const call: RpcCall = { method: 'GET', params: { Action: 'DescribeRegions', Format: 'JSON' } };
    expect(refusal(await v1(call, { ...DEFAULT_ACCESS_KEY, accessKeyId: 'none' }))).toBe(
      '404 InvalidAccessKeyId.NotFound',
    );
    expect(refusal(await v1({ ...call, nowMs: Date.now() - 16 * 60_000 }))).toBe('400 InvalidTimeStamp.Expired');
    expect(refusal(await v1({ ...call, nowMs: Date.now() + 16 * 60_000 }))).toBe('400 InvalidTimeStamp.Expired');
    expect(refusal(await v1({ ...call, nowMs: Date.now() - 14 * 60_000 }))).toBe('200 none');
    expect(refusal(await v1({ ...call, params: { ...call.params, Timestamp: 'yesterday' } }))).toBe(
      '400 InvalidTimeStamp.Format',
    );
    expect(refusal(await v1({ ...call, nonce: 'once' }))).toBe('200 none');
    expect(refusal(await v1({ ...call, nonce: 'once' }))).toBe('400 SignatureNonceUsed');
    for (const name of ['AccessKeyId', 'Signature', 'SignatureNonce', 'Timestamp', 'Action', 'Version']) {
      const without = (params: Record<string, string>) => {
        delete params[name];
      };
      expect(refusal(await v1({ ...call, tamper: without }))).toBe(`400 Missing${name}`);
    }
    expect(refusal(await v1({ ...call, params: { ...call.params, SignatureMethod: 'HMAC-MD5' } }))).toBe(
      '400 IncompleteSignature',
    );
  });

  test('a refused request does not use up its nonce', async () => {
    const call: RpcCall = { method: 'GET', params: { Action: 'DescribeRegions', Format: 'JSON' }, nonce: 'again' };
    expect(refusal(await v1(call, { ...DEFAULT_ACCESS_KEY, accessKeySecret: 'wrong' }))).toBe(
      '400 SignatureDoesNotMatch',
    );
    expect(refusal(await v1(call))).toBe('200 none');
  });
});

describe('ACS3-HMAC-SHA256', () => {
  const regions: V3Call = { action: 'DescribeRegions' };

  test('takes parameters from query and form body, by POST and GET', async () => {
    const response = await v3({
      action: 'DescribeVSwitches',
      version: '2016-04-28',
      query: { RegionId: REGION },
      form: { VpcId: network.vpcId, PageSize: '1' },
    });
    expect(JSON.parse(response.text)).toMatchObject({ TotalCount: 2, PageSize: 1 });
    expect(refusal(await v3({ ...regions, method: 'GET' }))).toBe('200 none');
  });

  test('refuses wrong and incomplete signatures', async () => {
    const change = (name: string, value: string) => (headers: Record<string, string>) => {
      headers[name] = value;
    };
    const remove = (name: string) => (headers: Record<string, string>) => {
      delete headers[name];
    };
    expect(refusal(await v3(regions, { ...DEFAULT_ACCESS_KEY, accessKeySecret: 'wrong' }))).toBe(
      '400 SignatureDoesNotMatch',
    );
    expect(refusal(await v3({ ...regions, tamper: change('x-acs-action', 'DescribeZones') }))).toBe(
      '400 SignatureDoesNotMatch',
    );
    expect(refusal(await v3({ ...regions, form: { a: 'b' }, otherBody: 'a=c' }))).toBe('400 SignatureDoesNotMatch');
    expect(refusal(await v3(regions, { ...DEFAULT_ACCESS_KEY, accessKeyId: 'none' }))).toBe(
      '404 InvalidAccessKeyId.NotFound',
    );
    expect(refusal(await v3({ ...regions, tamper: change('authorization', 'Bearer x') }))).toBe(
      '400 IncompleteSignature',
    );
    expect(refusal(await v3({ ...regions, tamper: remove('authorization') }))).toBe('400 MissingAuthorization');
    expect(refusal(await v3({ ...regions, tamper: remove('x-acs-date') }))).toBe('400 IncompleteSignature');
    const wrongHash = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
    expect(refusal(await v3({ ...regions, form: { a: 'b' }, claimedHash: wrongHash }))).toBe(
      '400 SignatureDoesNotMatch',
    );
    const unsigned = (headers: Record<string, string>) => {
      headers['authorization'] = (headers['authorization'] ?? '').replace('x-acs-date;', '');
    };
    expect(refusal(await v3({ ...regions, tamper: unsigned }))).toBe('400 IncompleteSignature');
  });

  test('refuses old dates and repeated nonces', async () => {
    expect(refusal(await v3({ ...regions, nowMs: Date.now() - 16 * 60_000 }))).toBe('400 InvalidTimeStamp.Expired');
    expect(refusal(await v3({ ...regions, nonce: 'v3-once' }))).toBe('200 none');
    expect(refusal(await v3({ ...regions, nonce: 'v3-once' }))).toBe('400 SignatureNonceUsed');
  });

  test('refuses unknown actions and versions', async () => {
    expect(refusal(await v3({ action: 'NoSuchAction' }))).toBe('404 InvalidAction.NotFound');
    expect(refusal(await v3({ action: 'DescribeVSwitches', version: '2014-05-26' }))).toBe(
      '404 InvalidAction.NotFound',
    );
    expect(refusal(await v3({ action: 'DescribeRegions', version: '1999-01-01' }))).toBe('400 InvalidVersion');
  });

  test('names the parameter that is missing or of the wrong type', async () => {
    const describe = (query: Record<string, string>) =>
      v3({ action: 'DescribeNetworkInterfaces', query: { RegionId: REGION, ...query } });
    const absent = await v3({ action: 'DescribeNetworkInterfaces' });
    expect([refusal(absent), absent.text.includes('RegionId')]).toEqual(['400 MissingParameter', true]);
    for (const [query, name] of [
      [{ MaxResults: 'many' }, 'MaxResults'],
      [{ 'MaxResults.1': '5' }, 'MaxResults'],
      [{ NetworkInterfaceId: 'eni-1' }, 'NetworkInterfaceId'],
      [{ 'NetworkInterfaceId.x': 'eni-1' }, 'NetworkInterfaceId'],
      [{ 'Tag.1': 'x' }, 'Tag'],
      [{ Type: 'Sideways' }, 'Type'],
    ] as const) {
      const response = await describe(query);
      expect([refusal(response), JSON.parse(response.text).Message]).toEqual([
        '400 InvalidParameter',
        expect.stringContaining(name),
      ]);
    }
    const tooMany = Object.fromEntries(
      Array.from({ length: 101 }, (_, index) => [`NetworkInterfaceId.${index + 1}`, 'eni-1']),
    );
    expect(refusal(await describe(tooMany))).toBe('400 InvalidParameter');
  });
});

describe('a request that is not an API call', () => {
  test('too long a URL, too large a body, another method', async () => {
    const url = `http://${simulator.endpoint}/`;
    expect((await fetch(`${url}?${'a'.repeat(MAX_URL_LENGTH + 1)}`)).status).toBe(414);
    expect((await fetch(url, { method: 'POST', body: 'a'.repeat(MAX_BODY_BYTES + 1) })).status).toBe(413);
    expect((await fetch(url, { method: 'DELETE' })).status).toBe(405);
    expect((await fetch(url)).status).toBe(400);
  });

  test('headers beyond the limit, and bytes that are not HTTP', async () => {
    const status = await new Promise<number | undefined>((resolve, reject) => {
      request(`http://${simulator.endpoint}/`, { headers: { x: 'y'.repeat(200_000) } }, (response) =>
        resolve(response.statusCode),
      )
        .on('error', reject)
        .end();
    });
    expect(status).toBe(431);
    const [host = '', port = ''] = simulator.endpoint.split(':');
    const response = await new Promise<string>((resolve, reject) => {
      const socket = connect(Number(port), host, () => socket.write('nonsense\r\n\r\n'));
      socket.on('data', (data) => resolve(data.toString())).on('error', reject);
    });
    expect(response).toMatch(/^HTTP\/1.1 400 /);
  });

  test('refusals of the gateway are in the journal and the counters', async () => {
    await v3({ action: 'LeaveSecurityGroup' }, { ...DEFAULT_ACCESS_KEY, accessKeySecret: 'wrong' });
    expect(simulator.model.journal().at(-1)).toMatchObject({
      action: 'LeaveSecurityGroup',
      outcome: 'SignatureDoesNotMatch',
    });
    expect(simulator.model.counters().calls['LeaveSecurityGroup']).toEqual({ SignatureDoesNotMatch: 1 });
  });
});
