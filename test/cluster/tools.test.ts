import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { acquireLock } from '../../tools/machine/lock.ts';
import { isRunning, waitGone } from '../../tools/machine/process-table.ts';
import { readRecord } from './state.ts';

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'terway-test-'));
});

afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

interface Run {
  code: number;
  stdout: string;
  stderr: string;
}

function cli(args: readonly string[], env: NodeJS.ProcessEnv): Promise<Run> {
  const path = fileURLToPath(new URL('cli.ts', import.meta.url));
  return new Promise((resolve) => {
    execFile(process.execPath, [path, ...args], { env: { ...process.env, ...env } }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : error ? -1 : 0, stdout, stderr });
    });
  });
}

async function executable(name: string, text: string): Promise<void> {
  await writeFile(join(directory, name), text);
  await chmod(join(directory, name), 0o755);
}

describe('the command line', () => {
  test.each([
    { args: [], message: 'a command is needed' },
    { args: ['launch'], message: 'unknown command "launch"' },
    { args: ['stop', 'now'], message: 'unexpected argument "now"' },
  ])('refuses $args with one line and code 2', async ({ args, message }) => {
    const run = await cli(args, { TERWAY_TEST_CLUSTER: join(directory, 'state') });
    expect(run.code).toBe(2);
    expect(run.stderr).toContain(message);
    expect(run.stderr.trimEnd().split('\n')).toHaveLength(1);
  });

  test('starts a cluster that keeps running, shows its status, and stops it', async () => {
    const stateDir = join(directory, 'with space', 'state');
    const env = { TERWAY_TEST_CLUSTER: stateDir };
    expect((await cli(['status'], env)).stdout).toBe('no test cluster runs\n');
    const start = await cli(['start'], env);
    try {
      expect(start).toMatchObject({ code: 0, stdout: `export KUBECONFIG='${stateDir}/kubeconfig'\n` });
      const record = await readRecord(stateDir);
      if (!record) throw new Error('no record');
      const status = await cli(['status'], env);
      expect(status.stdout).toContain(`test cluster running at https://127.0.0.1:`);
      expect(status.stdout).toContain(`supervised by process ${record.owner.pid}`);
      expect(await cli(['start'], env)).toMatchObject({ code: 0, stdout: start.stdout });

      expect(await cli(['stop'], env)).toMatchObject({ code: 0, stderr: 'the test cluster has been stopped\n' });
      for (const identity of [record.owner, ...Object.values(record.components)]) {
        expect(await isRunning(identity)).toBe(false);
      }
      expect(existsSync(stateDir)).toBe(false);
    } finally {
      await cli(['stop'], env);
    }
  }, 120_000);

  test('ends a start whose caller is interrupted', async () => {
    const stateDir = join(directory, 'state');
    const path = fileURLToPath(new URL('cli.ts', import.meta.url));
    const env = { ...process.env, TERWAY_TEST_CLUSTER: stateDir };
    const child = spawn(process.execPath, [path, 'start'], { env, stdio: ['ignore', 'ignore', 'pipe'] });
    for await (const line of createInterface({ input: child.stderr })) {
      if (line === 'starting kube-apiserver') break;
    }
    const record = await readRecord(stateDir);
    if (!record) throw new Error('no record');
    child.kill('SIGINT');
    await waitGone(record.owner, 20_000);
    expect(existsSync(stateDir)).toBe(false);
  }, 60_000);
});

describe('the programs', () => {
  const bare = () => ({ PATH: directory, TERWAY_CACHE_DIR: directory, KUBEBUILDER_ASSETS: '' });

  test('without Go, one line says what to do', async () => {
    const run = await cli(['build'], bare());
    expect(run.code).toBe(1);
    expect(run.stderr).toMatch(
      /^Go is needed to build Kubernetes v[\d.]+ and etcd for the tests, and there is no "go" on the PATH: install Go 1\.\d+.*\n$/,
    );
  });

  test('reports a Go that is too old', async () => {
    await executable('go', '#!/bin/sh\necho go1.20.3\n');
    const run = await cli(['build'], bare());
    expect(run.code).toBe(1);
    expect(run.stderr).toMatch(
      /^Go 1\.\d+\.\d+ is needed to build Kubernetes v[\d.]+ and etcd for the tests, found go1\.20\.3: install Go.*\n$/,
    );
  });

  test('a failed build ends with the message of the compiler, and leaves nothing behind', async () => {
    const script =
      '#!/bin/sh\n[ "$1" = env ] && { echo go1.99.0; exit; }\n[ "$1" = list ] && exit\necho "x.go:1: no" >&2\nexit 3\n';
    await executable('go', script);
    const cache = join(directory, 'cache');
    const run = await cli(['build'], { ...bare(), TERWAY_CACHE_DIR: cache });
    expect(run.code).toBe(1);
    expect(run.stderr.trimEnd().split('\n').at(-1)).toBe('go build failed with code 3: x.go:1: no');
    expect(existsSync(join(cache, 'kube', 'build.lock'))).toBe(false);
  });

  test('KUBEBUILDER_ASSETS is used instead, and must be complete', async () => {
    const env = { ...bare(), KUBEBUILDER_ASSETS: directory };
    await executable('etcd', '');
    const incomplete = await cli(['build'], env);
    expect(incomplete.code).toBe(1);
    expect(incomplete.stderr).toContain('has no kube-apiserver, kubectl');
    await executable('kube-apiserver', '');
    await executable('kubectl', '');
    expect(await cli(['build'], env)).toMatchObject({ code: 0, stdout: `${directory}\n` });
  });
});

describe('the lock', () => {
  test('is held by one process at a time', async () => {
    const path = join(directory, 'lock');
    const order: string[] = [];
    const release = await acquireLock(path);
    const second = acquireLock(path, { onWait: (pid) => order.push(`waiting for ${pid}`) }).then((free) => {
      order.push('second');
      return free();
    });
    while (order.length === 0) await new Promise(setImmediate);
    order.push('released');
    await release();
    await second;
    expect(order).toEqual([`waiting for ${process.pid}`, 'released', 'second']);
    expect(existsSync(path)).toBe(false);
  });

  test('of a killed process is taken over', async () => {
    const path = join(directory, 'lock');
    const script = join(directory, 'holder.ts');
    const lockModule = fileURLToPath(new URL('../../tools/machine/lock.ts', import.meta.url));
    await writeFile(
      script,
      `import { acquireLock } from ${JSON.stringify(lockModule)};
       await acquireLock(${JSON.stringify(path)});
       console.log('held');
       setInterval(() => undefined, 1000);`,
    );
    const holder = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(createInterface({ input: holder.stdout }), 'line');
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    expect(existsSync(path)).toBe(true);
    await (await acquireLock(path))();
  });
});
