import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/** Messages of an agent that cannot start. Each must help the reader find the mistake. */

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'terway-agent-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

let runs = 0;

async function start(options: { args?: string[]; config?: string; env?: Record<string, string> }) {
  runs += 1;
  const args = [...(options.args ?? [])];
  if (options.config !== undefined) {
    const path = join(directory, `${runs}.yaml`);
    await writeFile(path, options.config);
    args.push('--config', path);
  }
  const child = spawn(process.execPath, [join(import.meta.dirname, 'terway-agent.ts'), ...args], {
    // Compiled once for all starts.
    env: { PATH: process.env['PATH'], HOME: directory, NODE_COMPILE_CACHE: join(directory, 'cache'), ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const [code] = await once(child, 'close');
  return { code, stdout, stderr };
}

const NODE = { NODE_NAME: 'node-1', NODE_IP: '10.0.0.1' };

describe.concurrent('one line says what is wrong with', () => {
  test.each<[string, Parameters<typeof start>[0], RegExp]>([
    [
      'a flag',
      { args: ['--confg', 'x'] },
      /command line: unknown flag --confg; valid flags: --config, --kubeconfig, --lib/,
    ],
    ['a flag without its value', { args: ['--config'] }, /command line: --config needs a value$/m],
    [
      'a flag before another',
      { args: ['--config', '--json'] },
      /--config needs a value; write a value .* as --config=VALUE/,
    ],
    ['a command', { args: ['shwo'] }, /command line: unknown command "shwo"; valid commands: run, show, check/],
    ['a missing node name', {}, /environment: NODE_NAME is not set/],
    [
      'a config that is not there',
      { args: ['--config', '/nowhere.yaml'] },
      /\/nowhere\.yaml: cannot be read: ENOENT: no such file or directory; --config names/,
    ],
    ['a key', { config: 'syncPeriode: 5s' }, /unknown key syncPeriode/],
    ['a duration', { config: 'syncPeriod: 5' }, /syncPeriod: must be a Go duration/],
    [
      'a mask with bits of kube-proxy',
      { config: 'datapath: { markMask: 0x70e0 }' },
      /datapath\.markMask: 0x70e0 has bits of 0x4000, which kube-proxy uses/,
    ],
    ['a mask that is too small', { config: 'datapath: { markMask: "0x3000" }' }, /0x3000 has 2 bits; at least 4/],
    ['a CIDR', { config: 'serviceCIDRs: [10.96.0.0]' }, /serviceCIDRs\.0: must be a CIDR/],
    ['a kubeconfig that is not there', { env: { ...NODE, KUBECONFIG: '/nowhere' } }, /\/nowhere/],
    ['an agent that does not run', { args: ['show'] }, /no terway-agent answers at \/run\/terway\/agent\.sock/],
    ['a missing address', { env: { NODE_NAME: 'node-1' } }, /environment: NODE_IP is not set/],
    ['an address', { env: { ...NODE, NODE_IP: '10.0.0' } }, /NODE_IP: "10\.0\.0" is not an address/],
    [
      'a helper that is not there',
      // It asks the kernel, and needs nothing of the node.
      { args: ['probe', '--lib', '/nowhere'] },
      /cannot run \/nowhere\/terway-kernel/,
    ],
  ])('%s', async (_, options, message) => {
    const { code, stderr } = await start(options);
    expect(stderr).toMatch(message);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
    expect(code).toBe(2);
  });
});

test('--help names the commands', async () => {
  const { code, stdout } = await start({ args: ['--help'] });
  expect(code).toBe(0);
  for (const command of ['run', 'show', 'check', 'repair', 'probe', 'uninstall']) expect(stdout).toContain(command);
});
