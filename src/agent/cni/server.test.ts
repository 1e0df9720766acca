import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import * as z from 'zod';
import { CNI_ERROR, CniError } from './errors.ts';
import type { CniRequest } from './request.ts';
import { startCniServer } from './server.ts';

/** The plugin as the runtime runs it, against the agent's socket. */

const SOURCE = join(import.meta.dirname, '..', '..', '..', 'native', 'cni', 'main.c');
const CONFIG = { cniVersion: '1.0.0', name: 'terway', type: 'terway' };
const ENVIRONMENT = {
  CNI_COMMAND: 'ADD',
  CNI_CONTAINERID: '4f2d',
  CNI_NETNS: '/var/run/netns/cni-1',
  CNI_IFNAME: 'eth0',
  CNI_ARGS: 'K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0',
};

let directory: string;
let plugin: string;
let socketPath: string;
let server: Server | undefined;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'terway-cni-'));
  plugin = join(directory, 'terway');
  socketPath = join(directory, 'run', 'cni.sock');
  await promisify(execFile)('gcc', ['-O1', '-Wall', '-Werror', '-static', '-o', plugin, SOURCE]);
});
afterAll(() => rm(directory, { recursive: true, force: true }));
afterEach(async () => {
  const closing = server;
  server = undefined;
  if (closing !== undefined) await new Promise<void>((resolve) => closing.close(() => resolve()));
});

const errorSchema = z.object({ cniVersion: z.string(), code: z.number(), msg: z.string() });

async function run(environment: Record<string, string> = {}, input: string = JSON.stringify(CONFIG)) {
  const env = { ...ENVIRONMENT, TERWAY_CNI_SOCKET: socketPath, TERWAY_CNI_AGENT_WAIT_MS: '0', ...environment };
  const child = spawn(plugin, [], { env });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  const [code] = await once(child, 'close');
  return { code, output, error: () => errorSchema.parse(JSON.parse(output)) };
}

async function serve(
  handle: (request: CniRequest, signal: AbortSignal) => Promise<Record<string, unknown> | undefined>,
) {
  server = await startCniServer({ socketPath, handle, onAnswer: () => undefined, monotonicMs: () => 0 });
}

describe('with an agent', () => {
  test('the request arrives as it was made, and the answer is printed', async () => {
    const requests: CniRequest[] = [];
    await serve(async (request) => {
      requests.push(request);
      return { cniVersion: '1.0.0', ips: [] };
    });
    const { code, output } = await run();
    expect([code, JSON.parse(output)]).toEqual([0, { cniVersion: '1.0.0', ips: [] }]);
    expect(requests).toMatchObject([{ command: 'ADD', attachment: { containerId: '4f2d', pod: { name: 'web-0' } } }]);
  });

  test('DEL and STATUS print nothing on success', async () => {
    await serve(async () => undefined);
    expect(await run({ CNI_COMMAND: 'DEL' })).toMatchObject({ code: 0, output: '' });
    expect(await run({ CNI_COMMAND: 'STATUS' })).toMatchObject({ code: 0, output: '' });
  });

  test('an error comes with its code, in the version that was asked for', async () => {
    await serve(async () => {
      throw new CniError(CNI_ERROR.tryAgain, 'PodENI shop/web-0 is Binding, not Bind');
    });
    const { code, error } = await run();
    expect(code).toBe(1);
    expect(error()).toEqual({ cniVersion: '1.0.0', code: 11, msg: 'PodENI shop/web-0 is Binding, not Bind' });
  });

  test('a list of a thousand attachments goes through', async () => {
    let count = 0;
    await serve(async (request) => {
      count = request.command === 'GC' ? request.valid.length : -1;
      return undefined;
    });
    const valid = Array.from({ length: 1000 }, (_, at) => ({ containerID: `${at}`.padStart(64, 'a'), ifname: 'eth0' }));
    const config = JSON.stringify({ ...CONFIG, 'cni.dev/valid-attachments': valid });
    expect(await run({ CNI_COMMAND: 'GC' }, config)).toMatchObject({ code: 0 });
    expect(count).toBe(1000);
  });

  test.each([
    ['JSON that is none', {}, '{"cniVersion": "1.0.0", ', 6],
    ['a missing variable', { CNI_CONTAINERID: '' }, JSON.stringify(CONFIG), 4],
    ['a version of the future', {}, '{"cniVersion":"9.0.0","name":"x"}', 1],
  ])('%s gets the code of the specification', async (_, environment, input, expected) => {
    await serve(async () => ({}));
    const { code, error } = await run(environment, input);
    expect([code, error().code]).toEqual([1, expected]);
  });

  test('a plugin that is killed ends the wait of its request', async () => {
    const { promise, resolve } = Promise.withResolvers<unknown>();
    const arrived = Promise.withResolvers<void>();
    await serve(async (_, signal) => {
      signal.addEventListener('abort', () => resolve(signal.reason));
      arrived.resolve();
      await promise;
      return undefined;
    });
    const child = spawn(plugin, [], { env: { ...ENVIRONMENT, TERWAY_CNI_SOCKET: socketPath } });
    child.stdin.end(JSON.stringify(CONFIG));
    await arrived.promise;
    child.kill('SIGKILL');
    expect(await promise).toMatchObject({ message: 'the runtime gave up' });
  });
});

describe('without an agent', () => {
  test('VERSION is answered all the same', async () => {
    const { code, output } = await run({ CNI_COMMAND: 'VERSION' });
    expect(code).toBe(0);
    expect(JSON.parse(output)).toMatchObject({
      cniVersion: '1.1.0',
      supportedVersions: expect.arrayContaining(['0.4.0', '1.1.0']),
    });
  });

  test.each([
    ['ADD', 11],
    ['DEL', 11],
    ['CHECK', 11],
    ['STATUS', 50],
  ])('%s fails with code %i', async (command, expected) => {
    const { code, error } = await run({ CNI_COMMAND: command });
    expect([code, error().code]).toEqual([1, expected]);
    expect(error().msg).toContain('terway-agent cannot be reached');
  });

  test('ADD waits for an agent that is being replaced', async () => {
    const adding = run({ TERWAY_CNI_AGENT_WAIT_MS: '20000' });
    // Nobody listens yet.
    await run({ CNI_COMMAND: 'DEL' });
    await serve(async () => ({ cniVersion: '1.0.0' }));
    expect(await adding).toMatchObject({ code: 0 });
  });

  test('an agent that dies in the middle is told apart from a success', async () => {
    const { createServer } = await import('node:net');
    const dying = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => dying.listen(`${socketPath}.dying`, resolve));
    const { code, error } = await run({ TERWAY_CNI_SOCKET: `${socketPath}.dying` });
    expect([code, error().code]).toEqual([1, 11]);
    await new Promise((resolve) => dying.close(resolve));
  });
});

test('what is no request is answered, and the next one is served', async () => {
  await serve(async () => ({}));
  for (const noise of ['', '\0', 'x', '\0\0\0', 'A=B\0\0{']) {
    const socket = connect(socketPath);
    let answer = '';
    socket.setEncoding('utf8').on('data', (text: string) => {
      answer += text;
    });
    socket.end(noise);
    await once(socket, 'close');
    expect(answer[0], JSON.stringify(noise)).toBe('1');
  }
  expect(await run()).toMatchObject({ code: 0 });
});
