import { createServer } from 'node:http2';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { machine } from '../util/test-support/machine.ts';
import { TransportError } from './errors.ts';
import { TestApiServer } from './test-support/api-server.ts';
import { TcpProxy } from './test-support/tcp-proxy.ts';
import { eventually, pause } from './test-support/wait.ts';
import { Transport } from './transport.ts';

const PODS = '/api/v1/pods';
let server: TestApiServer;
const closers: (() => unknown)[] = [];

beforeEach(async () => {
  server = new TestApiServer();
  await server.start();
});

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
  await server.stop();
});

function open(options: Partial<ConstructorParameters<typeof Transport>[0]> = {}): Transport {
  const transport = new Transport({ config: server.configFor(), ...machine, ...options });
  closers.push(() => transport.close());
  return transport;
}

async function proxied(): Promise<{ proxy: TcpProxy; port: number }> {
  const proxy = new TcpProxy(server.port);
  const port = await proxy.start();
  closers.push(() => proxy.stop());
  return { proxy, port };
}

test('many requests share one connection', async () => {
  const transport = open();
  const answers = await Promise.all(Array.from({ length: 50 }, () => transport.request({ method: 'GET', path: PODS })));
  expect(answers.every((answer) => answer.status === 200)).toBe(true);
  expect(server.sessions.size).toBe(1);
});

test('sends the current token, and gets a fresh one after 401', async () => {
  const tokens = ['Bearer old', 'Bearer new'];
  const config = {
    ...server.configFor(),
    auth: (options?: { refresh?: boolean }) => {
      if (options?.refresh) tokens.shift();
      return Promise.resolve(tokens[0]);
    },
  };
  server.intercept = ({ headers }) =>
    headers['authorization'] === 'Bearer new' ? undefined : { status: 401, body: { message: 'expired' } };
  const transport = open({ config });
  expect((await transport.request({ method: 'GET', path: PODS })).status).toBe(200);
  expect((await transport.request({ method: 'GET', path: PODS })).status).toBe(200);
  expect(server.requests).toHaveLength(3);
});

test('never opens more streams than the server allows', async () => {
  await server.stop();
  server.maxConcurrentStreams = 3;
  await server.start();
  let running = 0;
  let most = 0;
  server.intercept = (_, stream) => {
    most = Math.max(most, ++running);
    setTimeout(() => {
      running -= 1;
      stream.respond({ ':status': 200 });
      stream.end('{}');
    }, 5);
    return 'handled';
  };
  const transport = open();
  // The limit is known once the server's settings have come.
  await transport.request({ method: 'GET', path: PODS });
  await Promise.all(Array.from({ length: 20 }, () => transport.request({ method: 'GET', path: PODS })));
  expect(most).toBe(3);
});

test('a request without an answer fails at its deadline', async () => {
  server.intercept = () => 'handled';
  const failed = open().request({ method: 'PATCH', path: PODS, body: '{}', timeoutMs: 50 });
  await expect(failed).rejects.toMatchObject({ failure: 'timeout', sent: true });
});

test('an abort ends a request at once with its reason', async () => {
  server.intercept = () => 'handled';
  const abort = new AbortController();
  const failed = open().request({ method: 'GET', path: PODS, signal: abort.signal });
  await eventually(() => server.requests.length === 1);
  abort.abort(new Error('enough'));
  await expect(failed).rejects.toThrow('enough');
});

test('a truncated response does not count as complete', async () => {
  const { proxy, port } = await proxied();
  server.intercept = (_, stream) => {
    stream.respond({ ':status': 200 });
    stream.write('{"items":[');
    return 'handled';
  };
  const failed = open({ config: server.configFor(port) }).request({ method: 'GET', path: PODS });
  const checked = expect(failed).rejects.toMatchObject({ failure: 'broken', sent: true });
  await eventually(() => server.requests.length === 1);
  await pause(20);
  await proxy.stop();
  closers.pop();
  closers.pop();
  await checked;
});

test('nothing listens: fails as not sent, in one line that names the address', async () => {
  const { port } = server;
  await server.stop();
  const failed = open().request({ method: 'PATCH', path: PODS, body: '{}' });
  await expect(failed).rejects.toMatchObject({ failure: 'connect', sent: false });
  await expect(failed).rejects.toThrow(new RegExp(`^cannot connect to 127\\.0\\.0\\.1:${port}: [^\\n]*ECONNREFUSED`));
});

test('a server that accepts but never speaks HTTP/2 is given up on', async () => {
  const { createServer: createTcpServer } = await import('node:net');
  const tcp = createTcpServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
  await new Promise<void>((resolve) => {
    tcp.listen(0, '127.0.0.1', resolve);
  });
  closers.push(() => tcp.close());
  const address = tcp.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const failed = open({ config: server.configFor(port) }).request({ method: 'GET', path: PODS, timeoutMs: 1000 });
  await expect(failed).rejects.toBeInstanceOf(TransportError);
});

test('works again after the server was restarted', async () => {
  const transport = open();
  await transport.request({ method: 'GET', path: PODS });
  await server.stop();
  await expect(transport.request({ method: 'GET', path: PODS })).rejects.toBeInstanceOf(TransportError);
  await server.start();
  await vi.waitFor(async () => {
    expect((await transport.request({ method: 'GET', path: PODS })).status).toBe(200);
  });
});

test('a black-holed connection is noticed by PING and replaced', async () => {
  const { proxy, port } = await proxied();
  const transport = open({ config: server.configFor(port), pingIntervalMs: 200, pingTimeoutMs: 100 });
  await transport.request({ method: 'GET', path: PODS });
  const opened = await transport.openStream({ method: 'GET', path: `${PODS}?watch=true&resourceVersion=100` });
  if (opened.state !== 'open') throw new Error('the watch was refused');
  proxy.swallowPresentConnections();
  const failure = await (async () => {
    for await (const chunk of opened.chunks) expect(chunk).toBe('never');
  })().catch((error: unknown) => error);
  expect(failure).toMatchObject({ failure: 'silent' });
  // The connection of requests was swallowed too.
  await eventually(() => proxy.connectionCount >= 2);
  await vi.waitFor(async () => {
    expect((await transport.request({ method: 'GET', path: PODS, timeoutMs: 200 })).status).toBe(200);
  });
});

test('a silent but live connection is left alone', async () => {
  const transport = open({ pingIntervalMs: 50 });
  const opened = await transport.openStream({ method: 'GET', path: `${PODS}?watch=true&resourceVersion=100` });
  if (opened.state !== 'open') throw new Error('the watch was refused');
  let pings = 0;
  for (const session of server.sessions) session.on('ping', () => pings++);
  const iterator = opened.chunks[Symbol.asyncIterator]();
  const next = iterator.next();
  await eventually(() => pings > 3);
  server.bookmark();
  expect((await next).value).toContain('BOOKMARK');
  await iterator.return?.();
});

test('GOAWAY: open streams finish on the old connection, new ones use another', async () => {
  const transport = open();
  let release: (() => void) | undefined;
  server.intercept = ({ path }, stream) => {
    if (path !== '/slow') return undefined;
    release = () => {
      stream.respond({ ':status': 200 });
      stream.end('slow answer');
    };
    return 'handled';
  };
  const slow = transport.request({ method: 'GET', path: '/slow' });
  await eventually(() => release);
  const [first] = server.sessions;
  first?.goaway(0);
  await pause(30);
  expect((await transport.request({ method: 'GET', path: PODS })).status).toBe(200);
  expect(server.sessions.size).toBe(2);
  release?.();
  expect((await slow).body).toBe('slow answer');
});

test('a refused stream counts as not sent', async () => {
  server.intercept = (_, stream) => {
    stream.close(7);
    return 'handled';
  };
  const failed = open().request({ method: 'PATCH', path: PODS, body: '{}' });
  await expect(failed).rejects.toMatchObject({ failure: 'refused', sent: false });
});

test('background requests wait for a gap, but not forever', async () => {
  const order: string[] = [];
  const finish: (() => void)[] = [];
  server.intercept = ({ path }, stream) => {
    order.push(path);
    finish.push(() => {
      stream.respond({ ':status': 200 });
      stream.end('{}');
    });
    return 'handled';
  };
  const transport = open({ yieldAboveNormal: 2, maxYieldMs: 300 });
  const running = ['/a', '/b'].map((path) => transport.request({ method: 'GET', path }));
  await eventually(() => order.length === 2);
  const startedMs = performance.now();
  const background = transport.request({ method: 'GET', path: '/event', priority: 'background' });
  await pause(50);
  expect(order).not.toContain('/event');
  await eventually(() => order.includes('/event'));
  expect(performance.now() - startedMs).toBeGreaterThan(250);
  for (const end of finish) end();
  await Promise.all([...running, background]);
});

test('speaks HTTP/2 over TLS and refuses a certificate of an unknown authority', async () => {
  const { generateSelfSigned } = await import('./test-support/certificate.ts');
  const pem = generateSelfSigned();
  if (pem === undefined) return;
  const { createSecureServer } = await import('node:http2');
  const tls = createSecureServer({ key: pem.key, cert: pem.cert });
  tls.on('stream', (stream) => {
    stream.respond({ ':status': 200 });
    stream.end('secret');
  });
  tls.on('sessionError', () => {});
  await new Promise<void>((resolve) => {
    tls.listen(0, '127.0.0.1', resolve);
  });
  closers.push(() => tls.close());
  const address = tls.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const config = { ...server.configFor(), serverUrl: `https://localhost:${port}` };
  const trusting = open({ config: { ...config, tls: () => Promise.resolve({ ca: pem.cert }) } });
  expect((await trusting.request({ method: 'GET', path: '/' })).body).toBe('secret');
  const wary = open({ config });
  await expect(wary.request({ method: 'GET', path: '/' })).rejects.toMatchObject({ failure: 'connect', sent: false });
});

test('close ends open requests and refuses new ones', async () => {
  server.intercept = () => 'handled';
  const transport = open();
  const running = transport.request({ method: 'GET', path: PODS });
  await eventually(() => server.requests.length === 1);
  transport.close();
  await expect(running).rejects.toMatchObject({ failure: 'closed' });
  await expect(transport.request({ method: 'GET', path: PODS })).rejects.toMatchObject({ failure: 'closed' });
});

test('a large response passes', async () => {
  const body = 'x'.repeat(20 * 1024 * 1024);
  const big = createServer();
  big.on('stream', (stream) => {
    stream.respond({ ':status': 200 });
    stream.end(body);
  });
  await new Promise<void>((resolve) => {
    big.listen(0, '127.0.0.1', resolve);
  });
  closers.push(() => big.close());
  const address = big.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const answer = await open({ config: server.configFor(port) }).request({ method: 'GET', path: '/' });
  expect(answer.body.length).toBe(body.length);
});
