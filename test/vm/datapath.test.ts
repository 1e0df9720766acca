import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { buildTools } from '../../src/datapath/test-support/lab.ts';
import { GROUPS } from './inside/groups.ts';
import { runInVm, type VmResult } from './vm.ts';

/*
 * The data path on a kernel that has act_vlan and 8021q: everything in inside/ runs in one VM, and each of its scenarios
 * is a test here.
 */

const ROOT = new URL('../..', import.meta.url).pathname;

const outcomeSchema = z.object({ title: z.string(), name: z.string(), failure: z.string().optional() });
type Outcome = z.infer<typeof outcomeSchema>;

const stop = new AbortController();
const outcomes = new Map<string, PromiseWithResolvers<Outcome>>();
let vm: Promise<VmResult>;

const keyOf = ({ title, name }: Pick<Outcome, 'title' | 'name'>) => `${title}: ${name}`;

beforeAll(async () => {
  await buildTools();
  for (const { title, scenarios } of GROUPS) {
    for (const name of Object.keys(scenarios)) outcomes.set(keyOf({ title, name }), Promise.withResolvers());
  }
  vm = runInVm({
    // Code that runs briefly on an emulated processor is not worth optimizing.
    command: [process.execPath, '--no-opt', '--no-maglev', 'test/vm/inside/main.ts'],
    cwd: ROOT,
    timeoutMs: 280_000,
    signal: stop.signal,
    onLine: (line) => {
      const outcome = outcomeSchema.parse(JSON.parse(line));
      outcomes.get(keyOf(outcome))?.resolve(outcome);
    },
  });
  // Those who wait for an outcome are told.
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

test('nothing was complained about', async () => {
  expect(await vm).toMatchObject({ code: 0, stderr: '' });
});
