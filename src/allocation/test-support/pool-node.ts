import type { NodeEni } from '../../crds/node.ts';
import { seededRandom } from '../../util/random.ts';
import type { Growth } from '../pool/growth.ts';
import { type PoolPlan, planPool } from '../pool/plan-pool.ts';
import type { PoolKnobs, PoolStatus, PoolView } from '../pool/pool-view.ts';
import { noteChange } from '../pool/reclaim-time.ts';
import { addressesOf, FAMILIES, type Families, idleCount, type PoolPod } from '../pool/view.ts';
import { countWarmUp } from '../pool/warm-up.ts';

export const START_MS = Date.parse('2026-01-01T12:00:00Z');
const LIMITS = { enis: 4, perEni: { ipv4: 10, ipv6: 10 }, attachments: 5 };
const KNOBS: PoolKnobs = { mostIdle: 5, leastIdle: 0, warmUp: 0, syncPeriodMs: 120_000 };

/** A node whose cloud does at once what a plan asks for. */
export class PoolNode {
  status: PoolStatus = {};
  nowMs = START_MS;
  mayRelease = true;
  hasStrangers = false;
  readonly pods = new Map<string, PoolPod>();
  readonly gone = new Set<string>();
  readonly present = new Set<string>();
  readonly families: Families;
  readonly knobs: PoolKnobs;
  readonly limits: typeof LIMITS;
  #serial = 0;
  #surplusSinceMs: number | undefined;
  readonly #freedMs = new Map<string, number>();

  constructor(knobs: Partial<PoolKnobs> = {}, families: Families = ['ipv4'], limits = LIMITS) {
    this.knobs = { ...KNOBS, ...knobs };
    this.families = families;
    this.limits = limits;
  }

  get view(): PoolView {
    return {
      status: this.status,
      pods: [...this.pods.values()],
      isGone: (uid) => this.gone.has(uid),
      hasSandbox: (uid) => this.present.has(uid),
      hasStrangers: this.hasStrangers,
      isNew: true,
      families: this.families,
      knobs: this.knobs,
      limits: this.limits,
      mayGrow: () => true,
      mayMake: true,
      hasVSwitch: true,
      mayRelease: this.mayRelease,
      freedMs: (ip) => this.#freedMs.get(ip),
      surplusSinceMs: this.#surplusSinceMs,
      // No more become known in a while.
      wanted: { sinceMs: 0, isAwaited: true },
      random: seededRandom(1),
      nowMs: this.nowMs,
    };
  }

  /** One plan, carried out. */
  step(): PoolPlan {
    const plan = planPool(this.view);
    this.status = plan.status;
    this.#surplusSinceMs = plan.surplusSinceMs;
    for (const { ip } of plan.releases.freed) this.#freedMs.set(ip, this.nowMs);
    this.#giveUp(plan);
    for (const growth of plan.growth) this.#grow(growth);
    // As whoever writes the intents.
    if (plan.growth.length > 0) noteChange(this.status, this.nowMs);
    return plan;
  }

  /** Until a plan changes nothing and asks for nothing. */
  settle(): void {
    for (let count = 0; count < 50; count += 1) {
      const before = JSON.stringify(this.status);
      if (this.step().growth.length === 0 && JSON.stringify(this.status) === before) return;
    }
    throw new Error('the pool does not settle');
  }

  /** Time passes; the pool is looked at when a plan has said so. */
  wait(ms: number): void {
    const endMs = this.nowMs + ms;
    for (;;) {
      this.settle();
      const { againMs = Number.POSITIVE_INFINITY } = this.step();
      if (againMs > endMs) break;
      this.nowMs = Math.max(againMs, this.nowMs + 1);
    }
    this.nowMs = endMs;
  }

  add(name: string, changes: Partial<PoolPod> = {}): PoolPod {
    this.#serial += 1;
    const pod = { key: `default/${name}`, uid: `uid-${this.#serial}`, reported: [], mayGet: true, ...changes };
    this.pods.set(pod.key, pod);
    return pod;
  }

  /** The pod is gone; the node says so if `isReported`. */
  remove(key: string, isReported = true): void {
    const pod = this.pods.get(key);
    this.pods.delete(key);
    if (pod !== undefined && isReported) this.gone.add(pod.uid);
  }

  enis(): NodeEni[] {
    return Object.values(this.status.networkInterfaces ?? {});
  }

  ipsOf(uid: string): string[] {
    return this.enis().flatMap((eni) =>
      addressesOf(eni).flatMap(({ ip, podUID }) => (podUID === uid ? [`${eni.id} ${ip}`] : [])),
    );
  }

  idle(): number {
    return idleCount({ enis: this.status.networkInterfaces ?? {} }, this.families);
  }

  #giveUp({ status }: PoolPlan): void {
    const enis = status.networkInterfaces ?? {};
    for (const eni of Object.values(enis)) {
      if (eni.status === 'Deleting') delete enis[eni.id];
      for (const family of FAMILIES) {
        for (const { ip, status: state } of addressesOf(eni, family))
          if (state === 'Deleting') delete eni[family]?.[ip];
      }
    }
  }

  #grow({ eniId, counts }: Growth): void {
    this.#serial += 1;
    const id = eniId ?? `eni-${this.#serial}`;
    const eni = this.status.networkInterfaces?.[id] ?? {
      id,
      status: 'InUse',
      macAddress: '00:16:3e:00:00:01',
      ipv4CIDR: '10.0.0.0/16',
      ...(this.families.includes('ipv6') && { ipv6CIDR: 'fd00::/64' }),
      networkInterfaceType: 'Secondary',
      networkInterfaceTrafficMode: 'Standard',
    };
    this.status.networkInterfaces = { ...this.status.networkInterfaces, [id]: eni };
    for (const family of FAMILIES) {
      for (let at = 0; at < counts[family]; at += 1) {
        this.#serial += 1;
        const ip = family === 'ipv4' ? `10.0.${this.#serial >> 8}.${this.#serial & 255}` : `fd00::${this.#serial}`;
        const primary = family === 'ipv4' && eniId === undefined && at === 0;
        eni[family] = { ...eni[family], [ip]: { ip, primary, status: 'Valid' } };
      }
    }
    countWarmUp(this.status, Math.max(counts.ipv4, counts.ipv6));
  }
}
