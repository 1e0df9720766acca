import { join } from 'node:path';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as z from 'zod';
import { buildTools } from '../../src/datapath/test-support/datapath-lab.ts';
import { GROUPS } from './inside/groups.ts';
import { runInVm, type VmResult } from './vm.ts';

/*
 * Tests the data path on a kernel with act_vlan and 8021q. Everything in inside/ runs in one VM, and each of its scenarios is a
 * test here.
 */

const ROOT = new URL('../..', import.meta.url).pathname;

const outcomeSchema = z.object({ title: z.string(), name: z.string(), failure: z.string().optional() });
type Outcome = z.infer<typeof outcomeSchema>;

const stop = new AbortController();
const outcomes = new Map<string, PromiseWithResolvers<Outcome>>();
let vm: Promise<VmResult>;

const keyOf = ({ title, name }: Pick<Outcome, 'title' | 'name'>) => `${title}: ${name}`;

/** As deep below the root as the data path's sources, which find their tools relative to their own path. */
const BUNDLE = join(ROOT, '.state', 'vm', 'bundle', 'main.mjs');

beforeAll(async () => {
  await buildTools();
  // A single file without types: reading hundreds of files and stripping their types takes half a minute on an emulated processor.
  await build({
    entryPoints: [join(ROOT, 'test/vm/inside/main.ts')],
    outfile: BUNDLE,
    absWorkingDir: ROOT,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    keepNames: true,
    logLevel: 'warning',
  });
  for (const { title, scenarios } of GROUPS) {
    for (const name of Object.keys(scenarios)) outcomes.set(keyOf({ title, name }), Promise.withResolvers());
  }
  vm = runInVm({
    // V8 patches its generated code while other threads run it. On several emulated processors that has crashed now and then.
    // With --jitless there is no generated code.
    command: [process.execPath, '--jitless', '--no-warnings', BUNDLE],
    cwd: ROOT,
    timeoutMs: 580_000,
    signal: stop.signal,
    onLine: (line) => {
      const outcome = outcomeSchema.parse(JSON.parse(line));
      outcomes.get(keyOf(outcome))?.resolve(outcome);
    },
  });
  // Each test awaits `vm` and gets its error. This only keeps the rejection from being unhandled.
  vm.catch(() => undefined);
});

afterAll(async () => {
  stop.abort();
  await vm.catch(() => undefined);
});

describe.each(GROUPS)('$title', ({ title, scenarios }) => {
  test.each(Object.keys(scenarios))('%s', async (name) => {
    const notRun = async (): Promise<Outcome> => {
      const { code, stderr } = await vm;
      throw new Error(`the VM's tests ended with code ${code} before this one\n${stderr}`);
    };
    const outcome = outcomes.get(keyOf({ title, name }))?.promise;
    const { failure } = (await Promise.race([outcome, notRun()])) ?? {};
    if (failure !== undefined) throw new Error(`in the VM: ${failure}`);
  });
});

test('the program in the VM wrote nothing to standard error', async () => {
  expect(await vm).toMatchObject({ code: 0, stderr: '' });
});
