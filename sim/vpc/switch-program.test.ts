import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { ensureSwitchProgram } from '../../tools/programs/vpc-switch.ts';

const run = promisify(execFile);

test("the forwarding program's own tests, vet and gofmt pass", async () => {
  const cwd = join(import.meta.dirname, 'switch');
  const env = { ...process.env, CGO_ENABLED: '0', GOTOOLCHAIN: 'local', GOWORK: 'off' };
  const go = async (command: string, ...args: string[]) => (await run(command, args, { cwd, env })).stdout;
  expect(await go('gofmt', '-l', '.')).toBe('');
  expect(await go('go', 'test', '-vet=all', '.')).toMatch(/^ok/);
});

test('it is built once', async () => {
  const lines: string[] = [];
  const first = await ensureSwitchProgram();
  expect(await ensureSwitchProgram({ log: (line) => lines.push(line) })).toBe(first);
  expect(lines).toEqual([]);
  await expect(run(first, ['nonsense'])).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining('nonsense'),
  });
});
