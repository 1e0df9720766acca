import type { ControlPlaneBench } from './control-plane-bench.ts';
import type { Report } from './report.ts';

export const SECONDS = 1000;
export const MINUTE_MS = 60_000;

/**
 * Quota windows are clock minutes; a section that measures one needs it unused. Of the current minute the start of a term counts half
 * as used, and an earlier section may have used the rest.
 */
export async function untilSecondOfMinute(second: number, say: Report['say']): Promise<void> {
  const now = Date.now();
  const nextMinuteMs = (Math.floor(now / MINUTE_MS) + 1) * MINUTE_MS;
  const waitMs = nextMinuteMs + second * SECONDS - now;
  say(`  waiting ${Math.ceil(waitMs / SECONDS)} s for an unused quota minute`);
  await new Promise((resolve) => setTimeout(resolve, waitMs));
}

/** Resolves after a second without writes: mirrors and events are done. */
export async function settled(bench: ControlPlaneBench): Promise<void> {
  let before = -1;
  for (;;) {
    const now = await bench.kubeWrites();
    if (now === before) return;
    before = now;
    await new Promise((resolve) => setTimeout(resolve, SECONDS));
  }
}
