import { drainingOf, placeNeeded } from '../allocation/pool/places.ts';
import type { PoolStatus } from '../allocation/pool/pool-view.ts';
import { quietUntilMs } from '../allocation/pool/reclaim-time.ts';
import type { PoolRules } from '../allocation/pool/rules.ts';
import { givable, shrink } from '../allocation/pool/shrink.ts';
import { idleCount, type PoolDraft, unpairedCount } from '../allocation/pool/view.ts';
import { rfc3339 } from '../util/clock.ts';
import { ageText } from './report.ts';

/** ENIs and addresses that go together. */
interface Going {
  enis: string[];
  addresses: string[];
  /** When, as far as it is known; RFC 3339. */
  at?: string;
}

/** What the node gives up if its pods stay as they are. */
export interface ShrinkPlan {
  /** Beyond `max_pool_size`; `unpaired` of the addresses serve no pod, as the other family lacks theirs. */
  surplus?: Going & { unpaired: number };
  /** The next batch by age. */
  reclaim?: Going;
  /** An ENI that goes after its last pod, as the node is to have fewer. */
  draining?: string;
}

/**
 * By the control plane's own parts, which knows besides when an address was freed. Pure.
 *
 * @param surplusSince since when there has been a surplus; undefined when the control plane does not say
 */
export function shrinkPlan(status: PoolStatus, rules: PoolRules, surplusSince: string | undefined): ShrinkPlan {
  const { families, knobs, limits } = rules;
  const { networkInterfaces: enis = {}, poolIntents: intents = [] } = structuredClone(status);
  const draft: PoolDraft = { enis, intents };
  draft.draining = drainingOf(draft, limits, status.conditions);
  const plan: ShrinkPlan = draft.draining === undefined ? {} : { draining: draft.draining };
  const idle = idleCount(draft, families);
  const unpaired = unpairedCount(draft, families);
  const beyond = idle + unpaired - knobs.mostIdle;
  const surplus = Math.max(0, idle - knobs.mostIdle);
  if (beyond > 0) {
    const found = shrink(draft, surplus, Math.min(unpaired, beyond), families, () => undefined);
    const at = surplusSince === undefined ? {} : { at: rfc3339(Date.parse(surplusSince) + knobs.syncPeriodMs) };
    if (found.eniIds.length + found.ips.length > 0)
      plan.surplus = { enis: found.eniIds, addresses: found.ips, ...at, unpaired: Math.min(unpaired, beyond) };
  }
  const { reclaim: policy } = knobs;
  const removable = Math.min(idleCount(draft, families) - knobs.leastIdle, givable(draft, families));
  if (policy === undefined || removable <= 0) return plan;
  const { eniIds, ips: addresses } = shrink(draft, Math.min(policy.batchSize, removable), 0, families, () => undefined);
  // The first batch goes an interval after the time has passed in which nothing was handed out.
  const atMs =
    Date.parse(status.nextIdleIPReclaimTime ?? '') ||
    quietUntilMs(status.lastModifiedTime, knobs.reclaim?.afterMs) + policy.intervalMs;
  if (eniIds.length + addresses.length > 0) plan.reclaim = { enis: eniIds, addresses, at: rfc3339(atMs) };
  return plan;
}

/** For people, a line for each part. @param syncPeriodMs so long a surplus must last; undefined when the node has no pool */
export function shrinkTexts(
  { surplus, reclaim, draining }: ShrinkPlan,
  syncPeriodMs: number | undefined,
  nowMs: number,
): string[] {
  const names = ({ enis, addresses }: Going) => [...enis, ...addresses].join(', ');
  const inTime = (at: string) => `in ${ageText(Date.parse(at) - nowMs)}`;
  const texts: string[] = [];
  const place = placeNeeded(draining);
  if (place !== undefined) texts.push(place);
  if (surplus !== undefined) {
    const period = syncPeriodMs === undefined ? '' : ` ${ageText(syncPeriodMs)}`;
    const when = surplus.at === undefined ? `when it has lasted${period}` : inTime(surplus.at);
    const odd = surplus.unpaired === 0 ? '' : `, of which ${surplus.unpaired} have no partner of the other family`;
    texts.push(`beyond the maximum, ${when}: ${names(surplus)}${odd}`);
  }
  if (reclaim?.at !== undefined) {
    texts.push(`by age, ${inTime(reclaim.at)} if nothing is handed out until then: ${names(reclaim)}`);
  }
  return texts.length === 0 ? ['nothing goes as it is'] : texts;
}
