import type { PoolStatus } from './pool-view.ts';

/** Starts the time anew after which idle addresses go by age: something was handed out, or is asked for. */
export function noteChange(status: PoolStatus, nowMs: number): void {
  status.lastModifiedTime = new Date(nowMs).toISOString();
}

/**
 * Until when nothing goes by age, because something was handed out or asked for; not a number where nothing ever does.
 *
 * @param afterMs `idle_ip_reclaim_after`
 */
export function quietUntilMs(lastModifiedTime: string | undefined, afterMs: number | undefined): number {
  return (Date.parse(lastModifiedTime ?? '') || 0) + (afterMs ?? Number.NaN);
}
