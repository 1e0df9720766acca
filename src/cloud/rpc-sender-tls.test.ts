import { createServer } from 'node:https';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { VirtualClock } from '../util/test-support/virtual-clock.ts';
import { createAuthority, issueCertificate } from '../util/x509.ts';
import { CredentialCache } from './credentials.ts';
import { type RpcSender, rpcSenders } from './rpc-sender.ts';
import { failureOf } from './test-support/connect.ts';

// The cloud is reached over TLS, whose handshake takes time before a request can be written.

const nowMs = Date.now();
const validity = { notBeforeMs: nowMs - 3_600_000, notAfterMs: nowMs + 3_600_000 };
const authority = createAuthority('cloud', validity);
const call = { version: '2014-05-26', action: 'DeleteNetworkInterface', params: { RegionId: 'cn-hangzhou' } } as const;

let before: string[];
let requests = 0;
let onConnection = () => {};
let port = 0;
const server = createServer(
  (() => {
    const issued = issueCertificate(authority, { commonName: 'ecs', usage: 'server', hosts: ['127.0.0.1'] }, validity);
    return { cert: issued.certificatePem, key: issued.privateKeyPem };
  })(),
  (request, response) => {
    requests += 1;
    request.resume();
    response.end(JSON.stringify({ RequestId: request.url }));
  },
);

beforeAll(async () => {
  before = getCACertificates('default');
  setDefaultCACertificates([...before, authority.certificatePem]);
  server.on('connection', () => onConnection());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  port = address.port;
});

afterAll(async () => {
  setDefaultCACertificates(before);
  server.closeAllConnections();
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
});

function sender(clock: VirtualClock): RpcSender {
  const endpoint = { host: `127.0.0.1:${port}`, protocol: 'HTTPS' } as const;
  const source = async () => ({ accessKeyId: 'id', accessKeySecret: 'secret' });
  const credentials = new CredentialCache({ source, clock, signal: new AbortController().signal });
  return rpcSenders({ ecs: endpoint, vpc: endpoint }, { credentials, clock }).ecs;
}

test('a call is written once the connection is established, and the next one reuses it', async () => {
  const send = sender(new VirtualClock());
  const left: number[] = [];
  let connections = 0;
  onConnection = () => {
    connections += 1;
  };
  for (let at = 0; at < 2; at += 1) {
    const body = await send(call, () => left.push(requests));
    expect(body).toEqual({ RequestId: expect.stringContaining('Action=DeleteNetworkInterface') });
  }
  expect(left).toEqual([0, 1]);
  expect(connections).toBe(1);
});

test('a call whose lease runs out during the handshake is not sent', async () => {
  const clock = new VirtualClock();
  const over = new Error('the lease was lost');
  const arrived = requests;
  onConnection = () => clock.freeze(20_000);
  const sending = sender(clock)(call, () => {
    if (clock.monotonicMs() >= 10_000) throw over;
  });
  expect(await failureOf(sending)).toBe(over);
  expect(requests).toBe(arrived);
});

test('a server with an untrusted certificate gets no call', async () => {
  const arrived = requests;
  setDefaultCACertificates(before);
  onConnection = () => {};
  let asked = 0;
  const sending = sender(new VirtualClock())(call, () => {
    asked += 1;
  });
  expect(await failureOf(sending)).toBeInstanceOf(Error);
  expect([asked, requests]).toEqual([0, arrived]);
});
