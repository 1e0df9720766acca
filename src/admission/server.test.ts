import { once } from 'node:events';
import { Agent, request } from 'node:https';
import { connect } from 'node:tls';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as z from 'zod';
import { closeServer, listen } from '../telemetry/http-server.ts';
import { VirtualClock } from '../util/test-support/virtual-clock.ts';
import { createAuthority, issueCertificate } from '../util/x509.ts';
import { UNCHANGED } from './review.ts';
import { type Review, type ReviewObservation, WebhookServer } from './server.ts';

const VALIDITY = { notBeforeMs: Date.now() - 3_600_000, notAfterMs: Date.now() + 3_600_000 };
const clock = new VirtualClock();
const observed: ReviewObservation[] = [];
let review: Review = () => Promise.resolve(UNCHANGED);
let port = 0;
let agent: Agent;

const server = new WebhookServer({
  clock,
  timeoutMs: 4000,
  review: (path, admission, signal) => review(path, admission, signal),
  onReview: (observation) => observed.push(observation),
});

function certificate(name: string) {
  const authority = createAuthority(name, VALIDITY);
  const issued = issueCertificate(authority, { commonName: 's', usage: 'server', hosts: ['127.0.0.1'] }, VALIDITY);
  return { caPem: authority.certificatePem, ...issued };
}

beforeAll(async () => {
  const first = certificate('first');
  server.use(first);
  port = await listen(server.server, { host: '127.0.0.1', port: 0 });
  agent = new Agent({ ca: first.caPem, keepAlive: true });
});

afterAll(async () => {
  agent.destroy();
  await closeServer(server.server);
});

interface Answer {
  status: number;
  text: string;
  connection: string;
}

async function send(
  body: string | Buffer,
  options: { path?: string; method?: string; type?: string } = {},
): Promise<Answer> {
  const { path = '/mutating', method = 'POST', type = 'application/json' } = options;
  const outgoing = request({ host: '127.0.0.1', port, path, method, agent, headers: { 'content-type': type } });
  outgoing.end(body);
  const [response] = await once(outgoing, 'response');
  let text = '';
  for await (const chunk of response) text += String(chunk);
  return { status: response.statusCode, text, connection: response.headers.connection };
}

const answerSchema = z.object({
  apiVersion: z.string(),
  kind: z.literal('AdmissionReview'),
  response: z.strictObject({
    uid: z.string(),
    allowed: z.boolean(),
    patchType: z.literal('JSONPatch').optional(),
    patch: z.base64().optional(),
    warnings: z.array(z.string()).optional(),
    status: z
      .object({ code: z.int().min(400).max(599), message: z.string().min(1), reason: z.string() })
      .loose()
      .optional(),
  }),
});

const ask = (changes: object = {}, apiVersion = 'admission.k8s.io/v1') => ({
  apiVersion,
  kind: 'AdmissionReview',
  request: {
    uid: 'u-1',
    kind: { group: '', version: 'v1', kind: 'Pod' },
    operation: 'CREATE',
    namespace: 'default',
    object: { metadata: {}, spec: {} },
    ...changes,
  },
});

describe('the webhook server', () => {
  test.each(['admission.k8s.io/v1', 'admission.k8s.io/v1beta1'])(
    'responds in the version %s of the request',
    async (apiVersion) => {
      review = () =>
        Promise.resolve({ kind: 'allowed', patch: [{ op: 'add', path: '/a', value: 1 }], warnings: ['w'] });
      const { status, text } = await send(JSON.stringify(ask({}, apiVersion)));
      expect(status).toBe(200);
      const { response, ...rest } = answerSchema.parse(JSON.parse(text));
      expect(rest.apiVersion).toBe(apiVersion);
      expect(response).toMatchObject({ uid: 'u-1', allowed: true, patchType: 'JSONPatch', warnings: ['w'] });
      expect(Buffer.from(response.patch ?? '', 'base64').toString()).toBe('[{"op":"add","path":"/a","value":1}]');
    },
  );

  test.each([
    ['another method', ask(), { method: 'PUT' }, 405, /only POST is allowed/],
    ['another path', ask(), { path: '/nowhere' }, 404, /\/mutating and \/validate/],
    ['another content type', ask(), { type: 'text/plain' }, 415, /"text\/plain" is not application\/json/],
    ['no JSON', 'x{', {}, 400, /the body is not JSON/],
    ['nothing', '', {}, 400, /the body is not JSON/],
    ['another kind', { ...ask(), kind: 'Pod' }, {}, 400, /not an AdmissionReview .* kind:/],
    ['another version', ask({}, 'admission.k8s.io/v2'), {}, 400, /apiVersion:/],
    ['no request', { ...ask(), request: null }, {}, 400, /request:/],
  ])('refuses %s, and says why', async (_name, body, options, status, message) => {
    const answer = await send(typeof body === 'string' ? body : JSON.stringify(body), options);
    expect(answer.status).toBe(status);
    expect(answer.text).toMatch(message);
  });

  test('refuses a body that is larger than any etcd object needs, and keeps serving', async () => {
    const answer = await send(Buffer.alloc(8 * 1024 * 1024 + 1, ' '));
    expect(answer.status).toBe(413);
    expect((await send(JSON.stringify(ask()))).status).toBe(200);
  });

  test('#59: denies with a valid HTTP status', async () => {
    review = () => Promise.resolve({ kind: 'denied', code: 403, message: 'no' });
    const denied = answerSchema.parse(JSON.parse((await send(JSON.stringify(ask()))).text));
    expect(denied.response).toMatchObject({
      allowed: false,
      status: { code: 403, reason: 'Forbidden', message: 'no' },
    });
    review = () => Promise.reject(new Error('broken'));
    const failed = answerSchema.parse(JSON.parse((await send(JSON.stringify(ask()))).text));
    expect(failed.response).toMatchObject({ allowed: false, status: { code: 500, reason: 'InternalError' } });
    expect(failed.response.status?.message).toContain('broken');
  });

  test('responds before the API server times out, and lets the review end', async () => {
    const { promise: asked, resolve: begin } = Promise.withResolvers<AbortSignal>();
    review = (_path, _request, signal) => {
      begin(signal);
      return Promise.withResolvers<never>().promise;
    };
    const answer = send(JSON.stringify(ask()));
    const signal = await asked;
    await clock.advance(4000);
    expect(answerSchema.parse(JSON.parse((await answer).text)).response.status).toMatchObject({ code: 504 });
    expect(signal.aborted).toBe(true);
  });

  test('counts its reviews', async () => {
    observed.length = 0;
    review = () => Promise.resolve(UNCHANGED);
    await send(JSON.stringify(ask()));
    await send('x');
    expect(observed.map(({ kind, result, path }) => [kind, result, path])).toEqual([
      ['Pod', 'unchanged', '/mutating'],
      ['', 'malformed', '/mutating'],
    ]);
  });

  test('survives any input', async () => {
    review = () => Promise.resolve(UNCHANGED);
    const body = fc.oneof(
      fc.json(),
      fc.string(),
      fc
        .record({
          apiVersion: fc.constant('admission.k8s.io/v1'),
          kind: fc.constant('AdmissionReview'),
          request: fc.jsonValue(),
        })
        .map((value) => JSON.stringify(value)),
      fc.jsonValue().map((object) => JSON.stringify(ask({ object }))),
    );
    const path = fc.constantFrom('/mutating', '/validate', '/', '/mutating?x=%00');
    await fc.assert(
      fc.asyncProperty(body, path, async (text, to) => {
        const { status, text: answer } = await send(text, { path: to });
        if (status === 200) answerSchema.parse(JSON.parse(answer));
        else expect(status).toBeGreaterThanOrEqual(400);
        expect(status).toBeLessThan(500);
      }),
      { numRuns: 150 },
    );
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
        // Below HTTP, inside a TLS connection, cut off at any point.
        const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
        await once(socket, 'secureConnect');
        socket.on('error', () => undefined);
        socket.end(bytes);
        socket.resume();
        await once(socket, 'close');
      }),
      { numRuns: 20 },
    );
    expect((await send(JSON.stringify(ask()))).status).toBe(200);
  });

  test('serves a new certificate to new connections; existing ones continue', async () => {
    const second = certificate('second');
    server.use(second);
    expect((await send(JSON.stringify(ask()))).status).toBe(200);
    const old = agent;
    agent = new Agent({ ca: second.caPem, keepAlive: true });
    expect((await send(JSON.stringify(ask()))).status).toBe(200);
    old.destroy();
  });

  test('closes its connections one by one when it is drained', async () => {
    expect((await send(JSON.stringify(ask()))).connection).toBe('keep-alive');
    server.drain();
    expect(await send(JSON.stringify(ask()))).toMatchObject({ status: 200, connection: 'close' });
  });
});
