import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { pollUntil } from '../../tools/machine/poll.ts';
import { ensureVmKernel } from '../../tools/programs/vm-kernel.ts';
import { runInVm, VmError } from './vm.ts';

const silent = () => undefined;

/** Process ids of the VMs that a process has started. */
async function vmsOf(owner: number): Promise<number[]> {
  const found: number[] = [];
  for (const entry of await readdir('/proc')) {
    const stat = await readFile(`/proc/${entry}/stat`, 'utf8').catch(() => '');
    const [, command, state, parent] = /^\d+ \((.*)\) (\w) (\d+) /s.exec(stat) ?? [];
    if (command?.startsWith('qemu-') && state !== 'Z' && Number(parent) === owner) found.push(Number(entry));
  }
  return found;
}

const someVmOf = (owner: number) => pollUntil(async () => (await vmsOf(owner))[0], { what: 'a VM', timeoutMs: 30_000 });

describe('a program in a VM', () => {
  test('returns its exit code and output; sees the files of this machine but cannot change them', async () => {
    const lines: string[] = [];
    const text = `it's $HOME, "quoted"`;
    const script = [
      'echo "$0|$TEXT|$PWD"',
      'echo complaint >&2',
      'touch /tmp/written-in-vm && ls /sys/class/net',
      'uname -r',
      `test -f ${import.meta.filename} && printf %s unfinished`,
      'exit 7',
    ];
    const result = await runInVm({
      command: ['sh', '-c', script.join('; '), 'a, b'],
      cwd: '/usr',
      env: { TEXT: text },
      timeoutMs: 120_000,
      log: silent,
      onLine: (line) => lines.push(line),
    });
    expect(result.code).toBe(7);
    expect(result.stderr).toBe('complaint\n');
    expect(result.stdout).toBe(`${lines.join('\n')}\nunfinished`);
    expect(lines.slice(0, 2)).toEqual([`a, b|${text}|/usr`, 'lo']);
    expect((await ensureVmKernel()).name).toContain(`linux-image-${lines[2]} `);
    expect(existsSync('/tmp/written-in-vm')).toBe(false);
    expect(await vmsOf(process.pid)).toEqual([]);
  });

  test('that ends the VM causes an error with the end of the console', async () => {
    const command = ['sh', '-c', 'echo last words >/dev/console; echo o >/proc/sysrq-trigger; sleep 60'] as const;
    const running = runInVm({ command, timeoutMs: 120_000, log: silent });
    await expect(running).rejects.toThrow(VmError);
    await expect(running).rejects.toThrow(/ended by itself with code 0; the end of its console:\n(?:.*\n)*last words/);
  });

  test('is ended after its timeout', async () => {
    await ensureVmKernel();
    const running = runInVm({ command: ['sleep', 'infinity'], timeoutMs: 500, log: silent });
    await expect(running).rejects.toThrow('the VM was ended after 500 ms without a result');
    expect(await vmsOf(process.pid)).toEqual([]);
  });

  test('is ended by its signal', async () => {
    const stop = new AbortController();
    const running = runInVm({
      command: ['sleep', 'infinity'],
      timeoutMs: 120_000,
      signal: stop.signal,
      log: silent,
    }).catch((error: unknown) => error);
    await someVmOf(process.pid);
    stop.abort(new Error('enough'));
    expect(await running).toEqual(new Error('enough'));
    expect(await vmsOf(process.pid)).toEqual([]);
  });

  test('ends with its owner, even if the owner is killed', async () => {
    const module = JSON.stringify(join(import.meta.dirname, 'vm.ts'));
    const program = `const { runInVm } = await import(${module}); await runInVm({ command: ['sleep', '60'], timeoutMs: 60000 });`;
    const owner = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: 'ignore' });
    const pid = await someVmOf(owner.pid ?? 0);
    owner.kill('SIGKILL');
    const isGone = async () =>
      (await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')) === '' ? true : undefined;
    await pollUntil(isGone, { what: 'the end of the VM', timeoutMs: 10_000 });
  });
});
