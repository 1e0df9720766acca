import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildTools, TOOLS } from '../datapath/test-support/datapath-lab.ts';
import { lockNode, NodeLockedError } from './node-lock.ts';

let directory: string;
let path: string;

beforeAll(async () => {
  await buildTools();
  directory = await mkdtemp(join(tmpdir(), 'terway-lock-'));
  path = join(directory, 'run', 'agent.lock');
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const lock = () => lockNode({ path, helper: TOOLS.helper, now: new Date(0) });

/** Another process that takes the lock and keeps it. */
async function holder() {
  const script = `import { lockNode } from ${JSON.stringify(join(import.meta.dirname, 'node-lock.ts'))};
    globalThis.held = await lockNode({ path: ${JSON.stringify(path)}, helper: ${JSON.stringify(TOOLS.helper)}, now: new Date(0) });
    console.log('held');
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return child;
}

test('one process has it, the next is told which one, and it goes with a process that is killed', async () => {
  const child = await holder();
  const refused = await lock().catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(NodeLockedError);
  expect(String(refused)).toContain(`process ${child.pid}, since 1970-01-01`);
  expect(String(refused)).toContain(path);
  child.kill('SIGKILL');
  await once(child, 'close');
  await using _ = await lock();
  expect((await stat(path)).mode & 0o777).toBe(0o600);
});

test('a process of the same network namespace that has the old name of the lock is not in the way', async () => {
  const server = createServer();
  server.listen('\0terway-agent');
  await once(server, 'listening');
  await using _ = await lock();
  await expect(lock()).rejects.toThrow(`process ${process.pid}`);
  server.close();
});

test('a helper that is not there is named', async () => {
  await expect(lockNode({ path, helper: '/nowhere/terway-kernel', now: new Date(0) })).rejects.toThrow(
    'cannot run /nowhere/terway-kernel',
  );
});
