/**
 * Until when nothing goes by age, because something was handed out or asked for; not a number where nothing ever does.
 *
 * @param afterMs `idle_ip_reclaim_after`
 */
export function quietUntilMs(lastModifiedTime: string | undefined, afterMs: number | undefined): number {
  return (Date.parse(lastModifiedTime ?? '') || 0) + (afterMs ?? Number.NaN);
}
