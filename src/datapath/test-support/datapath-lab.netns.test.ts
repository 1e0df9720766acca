import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';
import * as z from 'zod';
import { abandoned } from '../../util/test-support/abandoned.ts';
import { run } from './datapath-lab.ts';

const LAB = join(import.meta.dirname, 'datapath-lab.ts');

/** Runs a program in a process of its own that has a laboratory, until it prints its first line. */
async function labInProcess(then: string) {
  const program = `
    import { DatapathLab } from ${JSON.stringify(LAB)};
    const lab = new DatapathLab();
    console.log(JSON.stringify({ namespace: lab.node, directory: lab.directory }));
    ${then}`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(child, 'close').then(() => {
    throw new Error('the process ended before it had a laboratory');
  });
  const [line] = await Promise.race([once(createInterface({ input: child.stdout }), 'line'), ended]);
  // From now on it may end.
  ended.catch(() => undefined);
  const made = z.object({ namespace: z.string(), directory: z.string() }).parse(JSON.parse(String(line)));
  return { child, ...made };
}

const isThere = ({ namespace }: { namespace: string }) => run('ip', 'netns', 'list').includes(namespace);

test('what a killed run left behind is removed by the next one; what a living one has stays', async () => {
  const waits = "process.stdin.resume().once('end', () => lab[Symbol.dispose]());";
  const [killed, living] = [await labInProcess(waits), await labInProcess(waits)];
  try {
    killed.child.kill('SIGKILL');
    await once(killed.child, 'close');
    // Any other run that starts now removes it as well.
    const next = await labInProcess('lab[Symbol.dispose]();');
    await once(next.child, 'close');
    expect([isThere(next), existsSync(next.directory)]).toEqual([false, false]);
    expect([isThere(killed), existsSync(killed.directory)]).toEqual([false, false]);
    expect([isThere(living), existsSync(living.directory)]).toEqual([true, true]);
  } finally {
    living.child.stdin.end();
    await once(living.child, 'close');
  }
  expect(isThere(living)).toBe(false);
});

test('names of others are not taken for ours', () => {
  const gone = 2 ** 22 + 1;
  expect(
    abandoned([`tw${gone}-a`, `tw${process.pid}-a`, `tw${gone}`, `twx${gone}-a`, `cni-${gone}-a`, 'tw1-a'], 'tw'),
  ).toEqual([`tw${gone}-a`]);
});
