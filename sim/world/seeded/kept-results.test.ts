import { appendFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { KeptResults } from './kept-results.ts';
import { MUTANTS } from './mutants.ts';
import type { Result } from './tasks.ts';

function resultOf(seed: number): Result {
  return { task: { seed }, ms: 1, settledMs: 1, problems: [], faults: {}, acts: {}, killedAt: [] };
}

test('a run that is killed while it writes goes on with all that was written before', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'terway-world-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, 'world', 'results.jsonl');
  const [killed, survivor, other] = MUTANTS;
  if (killed === undefined || survivor === undefined || other === undefined) throw new Error('there are no mutants');
  const first = await KeptResults.open(path);
  first.keep(resultOf(1));
  first.keepVerdict({ mutant: killed, killer: { seed: 7, problem: 'I3: eni-1' }, histories: 7 });
  await appendFile(path, '{"task":{"se');
  const second = await KeptResults.open(path);
  second.keep(resultOf(2));
  second.keepVerdict({ mutant: survivor, killer: undefined, histories: 1000 });
  const third = await KeptResults.open(path);
  expect([1, 2, 3].map((seed) => third.result({ seed }))).toEqual([resultOf(1), resultOf(2), undefined]);
  expect([killed, survivor, other].map((mutant) => third.verdict(mutant, 1000))).toEqual([
    { mutant: killed, killer: { seed: 7, problem: 'I3: eni-1' }, histories: 7 },
    { mutant: survivor, killer: undefined, histories: 1000 },
    undefined,
  ]);
  expect(third.verdict(survivor, 1001)).toBeUndefined();
});
