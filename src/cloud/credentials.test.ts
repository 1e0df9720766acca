import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../util/clock.ts';
import { VirtualClock } from '../util/test-support/virtual-clock.ts';
import { type Credential, CredentialCache, type CredentialConfig, credentialSource } from './credentials.ts';
import { CloudError } from './errors.ts';
import { startHttpServer } from './test-support/http-server.ts';

const never = new AbortController().signal;
const MINUTE_MS = 60_000;
const expiration = '2026-01-01T06:00:00Z';

function temporary(name: string, changes: object = {}) {
  return { AccessKeyId: `STS.${name}`, AccessKeySecret: 's', SecurityToken: 't', Expiration: expiration, ...changes };
}

function credential(name: string): Credential {
  return {
    accessKeyId: `STS.${name}`,
    accessKeySecret: 's',
    securityToken: 't',
    expiresAtMs: Date.parse(expiration),
  };
}

async function failureOf(promise: Promise<unknown>): Promise<CloudError> {
  const error: unknown = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof CloudError)) throw new Error(`should have failed with a CloudError: ${String(error)}`);
  return error;
}

const fetchOnce = (config: CredentialConfig, signal = never) =>
  credentialSource(config, 'cn-hangzhou', systemClock)(signal);

test.each([
  [{ type: 'accessKey', accessKeyId: 'a', accessKeySecret: 's' } as const, { accessKeyId: 'a', accessKeySecret: 's' }],
  [
    { type: 'sts', accessKeyId: 'a', accessKeySecret: 's', securityToken: 't' } as const,
    { accessKeyId: 'a', accessKeySecret: 's', securityToken: 't' },
  ],
])('a configured key is used unchanged: %j', async (config, expected) => {
  expect(await fetchOnce(config)).toEqual(expected);
});

describe('the role of the instance', () => {
  interface Metadata {
    role?: string;
    body?: string;
    status?: number;
  }

  // Like the metadata service with IMDSv2 enforced: everything but the token request needs the token.
  function metadata({ role = 'terway-role', body = JSON.stringify(temporary('role')), status = 200 }: Metadata = {}) {
    const seen: string[] = [];
    return startHttpServer((request, response) => {
      const path = request.url ?? '';
      seen.push(`${request.method} ${path}`);
      if (path === '/latest/api/token') {
        const ttl = Number(request.headers['x-aliyun-ecs-metadata-token-ttl-seconds']);
        if (request.method === 'PUT' && ttl >= 1 && ttl <= 21_600) response.end('token-1');
        else response.writeHead(400).end();
      } else if (request.headers['x-aliyun-ecs-metadata-token'] !== 'token-1') {
        response.writeHead(403).end();
      } else if (path === '/latest/meta-data/ram/security-credentials/') {
        response.end(`${role}\n`);
      } else if (path === `/latest/meta-data/ram/security-credentials/${role}`) {
        response.writeHead(status).end(body);
      } else {
        response.writeHead(404).end('not found');
      }
    }).then((server) => ({ ...server, seen, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() }));
  }

  test('is requested by IMDSv2', async () => {
    await using server = await metadata();
    expect(await fetchOnce({ type: 'ecsRamRole', metadataEndpoint: server.url })).toEqual(credential('role'));
    expect(server.seen).toHaveLength(3);
  });

  test('is requested by its configured name', async () => {
    await using server = await metadata({ role: 'mine' });
    const config = { type: 'ecsRamRole', roleName: 'mine', metadataEndpoint: server.url } as const;
    expect(await fetchOnce(config)).toEqual(credential('role'));
    expect(server.seen).toHaveLength(2);
  });

  test('that the instance does not have is refused', async () => {
    await using server = await metadata();
    const failure = await failureOf(fetchOnce({ type: 'ecsRamRole', roleName: 'other', metadataEndpoint: server.url }));
    expect(failure).toMatchObject({ kind: 'forbidden', code: 'CredentialRefused', statusCode: 404 });
    expect(failure.message).toContain('security-credentials/other answered 404: not found');
  });

  test.each([
    ['no JSON', 'oops', 'the credential from instance metadata is malformed:'],
    ['no token', JSON.stringify({ ...temporary('x'), SecurityToken: '' }), 'SecurityToken Too small'],
    ['no expiration', JSON.stringify({ ...temporary('x'), Expiration: 'soon' }), 'Expiration Invalid ISO datetime'],
    ['a list', '[]', 'expected object'],
  ])('with an answer that is %s is unavailable, without its secrets in the message', async (_name, body, message) => {
    await using server = await metadata({ body });
    const failure = await failureOf(fetchOnce({ type: 'ecsRamRole', metadataEndpoint: server.url }));
    expect(failure).toMatchObject({ kind: 'unavailable', code: 'CredentialMalformed' });
    expect(failure.message).toContain(message);
    expect(failure.message).not.toContain('STS.x');
  });

  test('is unavailable while the service fails or does not respond', async () => {
    await using server = await metadata({ status: 503, body: 'later' });
    expect(await failureOf(fetchOnce({ type: 'ecsRamRole', metadataEndpoint: server.url }))).toMatchObject({
      kind: 'unavailable',
      statusCode: 503,
    });
    const gone = await startHttpServer(() => {});
    await gone[Symbol.asyncDispose]();
    expect(await failureOf(fetchOnce({ type: 'ecsRamRole', metadataEndpoint: gone.url }))).toMatchObject({
      kind: 'unavailable',
      code: 'CredentialUnavailable',
    });
  });

  test('times out after ten seconds without a response', async () => {
    const clock = new VirtualClock();
    const asked = Promise.withResolvers<void>();
    await using server = await startHttpServer(() => asked.resolve());
    const source = credentialSource({ type: 'ecsRamRole', metadataEndpoint: server.url }, 'cn-hangzhou', clock);
    const failing = failureOf(source(never));
    await asked.promise;
    await clock.advance(10_000);
    const failure = await failing;
    expect(failure).toMatchObject({ kind: 'unavailable', code: 'CredentialUnavailable' });
    expect(failure.message).toContain('timed out after 10 s');
    expect(clock.pendingCalls).toBe(0);
  });

  test('ends when the signal aborts', async () => {
    const abort = new AbortController();
    await using server = await startHttpServer(() => abort.abort());
    const failure = await failureOf(fetchOnce({ type: 'ecsRamRole', metadataEndpoint: server.url }, abort.signal));
    expect(failure.kind).toBe('unavailable');
  });
});

describe('the role of the service account', () => {
  let directory: string;
  let oidcTokenFile: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'terway-oidc-'));
    oidcTokenFile = join(directory, 'token');
    await writeFile(oidcTokenFile, 'a.b.c\n');
  });

  afterAll(async () => {
    await rm(directory, { recursive: true });
  });

  const oidc = (stsEndpoint: string, changes: object = {}) => ({
    type: 'oidc' as const,
    roleArn: 'acs:ram::1:role/r',
    oidcProviderArn: 'acs:ram::1:oidc-provider/p',
    oidcTokenFile,
    stsEndpoint,
    ...changes,
  });

  test('is assumed with the current token from the file', async () => {
    const tokens: (string | null)[] = [];
    await using server = await startHttpServer((request, response, body) => {
      const form = new URLSearchParams(body);
      expect(request.method).toBe('POST');
      expect(Object.fromEntries(form)).toMatchObject({
        Action: 'AssumeRoleWithOIDC',
        Version: '2015-04-01',
        Format: 'JSON',
        RoleArn: 'acs:ram::1:role/r',
        OIDCProviderArn: 'acs:ram::1:oidc-provider/p',
        RoleSessionName: 'terway-controlplane',
        DurationSeconds: '3600',
        Timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
      });
      tokens.push(form.get('OIDCToken'));
      response.end(JSON.stringify({ RequestId: 'r', Credentials: temporary('oidc') }));
    });
    expect(await fetchOnce(oidc(server.url))).toEqual(credential('oidc'));
    await writeFile(oidcTokenFile, 'd.e.f');
    await fetchOnce(oidc(server.url));
    expect(tokens).toEqual(['a.b.c', 'd.e.f']);
  });

  test('that may not be assumed is forbidden, with the message of STS', async () => {
    await using server = await startHttpServer((_request, response) => {
      response.writeHead(400).end(JSON.stringify({ Code: 'AuthenticationFail.OIDCToken.Expired', Message: 'expired' }));
    });
    const failure = await failureOf(fetchOnce(oidc(server.url)));
    expect(failure).toMatchObject({ kind: 'forbidden', code: 'CredentialRefused', statusCode: 400 });
    expect(failure.message).toContain('AuthenticationFail.OIDCToken.Expired');
  });

  test('without a token file fails with the name of the file', async () => {
    const failure = await failureOf(fetchOnce(oidc('http://127.0.0.1:1', { oidcTokenFile: join(directory, 'none') })));
    expect(failure).toMatchObject({ kind: 'forbidden', code: 'OIDCTokenUnreadable' });
    expect(failure.message).toContain(join(directory, 'none'));
  });

  test('is fetched once for 100 calls at the same time', async () => {
    let requests = 0;
    await using server = await startHttpServer((_request, response) => {
      requests += 1;
      const inAnHour = new Date(Date.now() + 60 * MINUTE_MS).toISOString();
      response.end(JSON.stringify({ Credentials: temporary(`n${requests}`, { Expiration: inAnHour }) }));
    });
    const source = credentialSource(oidc(server.url), 'cn-hangzhou', systemClock);
    const cache = new CredentialCache({ source, clock: systemClock, signal: never });
    const all = await Promise.all(Array.from({ length: 100 }, () => cache.get()));
    expect(new Set(all.map(({ accessKeyId }) => accessKeyId))).toEqual(new Set(['STS.n1']));
    await cache.get();
    expect(requests).toBe(1);
  });
});

describe('the cache', () => {
  class Source {
    fetched = 0;
    #waiting: PromiseWithResolvers<Credential> | undefined;

    readonly fetch = (): Promise<Credential> => {
      this.fetched += 1;
      this.#waiting = Promise.withResolvers();
      return this.#waiting.promise;
    };

    async answer(clock: VirtualClock, validMinutes: number): Promise<void> {
      const expiresAtMs = clock.now() + validMinutes * MINUTE_MS;
      this.#waiting?.resolve({ accessKeyId: `n${this.fetched}`, accessKeySecret: 's', expiresAtMs });
      await clock.advance(0);
    }

    async fail(clock: VirtualClock): Promise<void> {
      this.#waiting?.reject(new CloudError({ kind: 'unavailable', action: 'a', code: 'c', message: 'STS is down' }));
      await clock.advance(0);
    }
  }

  async function filled(validMinutes: number) {
    const clock = new VirtualClock();
    const source = new Source();
    const cache = new CredentialCache({ source: source.fetch, clock, signal: never });
    const first = cache.get();
    await source.answer(clock, validMinutes);
    await first;
    return { clock, source, cache, id: async () => (await cache.get()).accessKeyId };
  }

  test('sends no request while the credential is valid', async () => {
    const { clock, source, id } = await filled(60);
    await clock.advance(45 * MINUTE_MS);
    expect(await id()).toBe('n1');
    expect(source.fetched).toBe(1);
  });

  test('renews once in the background without blocking calls', async () => {
    const { clock, source, id } = await filled(60);
    await clock.advance(46 * MINUTE_MS);
    expect(await Promise.all(Array.from({ length: 50 }, id))).toEqual(new Array<string>(50).fill('n1'));
    expect(source.fetched).toBe(2);
    await source.answer(clock, 60);
    expect(await id()).toBe('n2');
    expect(source.fetched).toBe(2);
  });

  test('keeps the old credential while the renewal fails, and retries at a bounded rate', async () => {
    const { clock, source, id } = await filled(60);
    await clock.advance(46 * MINUTE_MS);
    expect(await id()).toBe('n1');
    await source.fail(clock);
    for (let i = 0; i < 10; i++) expect(await id()).toBe('n1');
    expect(source.fetched).toBe(2);
    await clock.advance(30_000);
    expect(await id()).toBe('n1');
    expect(source.fetched).toBe(3);
  });

  test('lets calls wait for the renewal when the old one is about to expire', async () => {
    const { clock, source, cache } = await filled(60);
    await clock.advance(59 * MINUTE_MS + 1);
    const waiting = [cache.get(), cache.get(), cache.get()];
    await source.answer(clock, 60);
    expect((await Promise.all(waiting)).map(({ accessKeyId }) => accessKeyId)).toEqual(['n2', 'n2', 'n2']);
    expect(source.fetched).toBe(2);
  });

  test('fails all waiting calls, and sends a new request for the next call', async () => {
    const { clock, source, cache } = await filled(60);
    await clock.advance(60 * MINUTE_MS);
    const waiting = Promise.allSettled([cache.get(), cache.get()]);
    await source.fail(clock);
    expect((await waiting).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    const next = cache.get();
    expect(source.fetched).toBe(3);
    await source.answer(clock, 60);
    expect((await next).accessKeyId).toBe('n3');
  });

  test('keeps a key that does not expire', async () => {
    const clock = new VirtualClock();
    let fetched = 0;
    const source = async () => {
      fetched += 1;
      return { accessKeyId: 'a', accessKeySecret: 's' };
    };
    const cache = new CredentialCache({ source, clock, signal: never });
    await cache.get();
    await clock.advance(365 * 24 * 60 * MINUTE_MS);
    await cache.get();
    expect(fetched).toBe(1);
  });
});
