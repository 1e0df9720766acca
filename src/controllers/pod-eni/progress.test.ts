import { beforeEach, expect, test } from 'vitest';
import { VirtualClock } from '../../util/test-support/virtual-clock.ts';
import { ProgressPacer } from './progress.ts';

let clock: VirtualClock;
let pacer: ProgressPacer;

beforeEach(() => {
  clock = new VirtualClock();
  pacer = new ProgressPacer(clock);
});

/** Asks for a write now, and whenever the pacer wants to be asked again. @returns the seconds at which it was granted. */
async function writes(stages: { atS: number; stage: string; urgent?: boolean }[], untilS: number): Promise<number[]> {
  const startMs = clock.now();
  const written: number[] = [];
  let current: (typeof stages)[number] | undefined;
  let askAtMs = Number.POSITIVE_INFINITY;
  for (let tick = 0; tick <= untilS * 10; tick += 1) {
    const next = stages.find(({ atS }) => atS * 10 === tick);
    if (next !== undefined) [current, askAtMs] = [next, clock.now()];
    if (current !== undefined && clock.now() >= askAtMs) {
      const { stage, urgent = false } = current;
      const verdict = pacer.judge('default/a', { stage, text: `${stage} since ${current.atS}` }, urgent);
      if (verdict.write) written.push((clock.now() - startMs) / 1000);
      askAtMs = verdict.write
        ? Number.POSITIVE_INFINITY
        : clock.now() + (verdict.againAfterMs ?? Number.POSITIVE_INFINITY);
    }
    await clock.advance(100);
  }
  return written;
}

test('a wait is written after 5 s, and what changed 15 s after that', async () => {
  expect(await writes([{ atS: 0, stage: 'quota' }], 60)).toEqual([5]);
  pacer.forget('default/a');
  const changes = [0, 2, 4, 6, 8].map((atS) => ({ atS, stage: 'quota' }));
  expect(await writes(changes, 60)).toEqual([5, 20]);
});

test('after a long wait, stages that pass quickly are not written', async () => {
  const stages = [
    { atS: 0, stage: 'quota' },
    { atS: 40, stage: 'creating' },
    { atS: 41, stage: 'attaching' },
  ];
  expect(await writes(stages, 45)).toEqual([5]);
});

test('a stage that lasts is written, and so are stages that follow each other without end', async () => {
  expect(
    await writes(
      [
        { atS: 0, stage: 'quota' },
        { atS: 40, stage: 'creating' },
        { atS: 41, stage: 'attaching' },
      ],
      60,
    ),
  ).toEqual([5, 46]);
  pacer.forget('default/a');
  const stages = Array.from({ length: 50 }, (_, at) => ({ atS: at, stage: at % 2 === 0 ? 'creating' : 'attaching' }));
  expect(await writes(stages, 49)).toEqual([15, 31, 47]);
});

test('a problem is written at once, a further one 15 s later', async () => {
  const stages = [
    { atS: 0, stage: 'no address', urgent: true },
    { atS: 1, stage: 'refused', urgent: true },
  ];
  expect(await writes(stages, 30)).toEqual([0, 15]);
});
