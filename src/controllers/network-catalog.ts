import type { VSwitchPool } from '../allocation/vswitch-pool.ts';
import type { CloudReads } from '../cloud/port.ts';
import type { SecurityGroup, VSwitch } from '../ecs/vpc.ts';
import type { Clock } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';

/** What the cloud knows about the requested ids. */
export interface CatalogAnswer {
  /** Every vSwitch that exists, even in another VPC. */
  vSwitches: Map<string, VSwitch>;
  securityGroups: Map<string, SecurityGroup>;
}

/** A vSwitch never changes its VPC, so one outside ours changes only when it is created or deleted. */
const ELSEWHERE_MAX_AGE_MS = 10 * 60_000;
/**
 * The cloud accepts one id per call. Up to this many are requested one by one; more are searched in a listing of the
 * region, whose number of pages of 50 does not grow with the number of wrong ids.
 */
const ASKED_ONE_BY_ONE = 5;
/** What is not in the VPC is remembered while it is in use and this long afterwards. */
const FORGET_AFTER_MS = 3_600_000;

interface Wanted {
  vSwitchIds: readonly string[];
  securityGroupIds: readonly string[];
}

interface Known<T> {
  /** Undefined when the cloud has none. */
  value: T | undefined;
  atMs: number;
  wantedMs: number;
}

/**
 * The vSwitches of the VPC and the security groups that PodNetworkings name, fetched in as few calls as possible and
 * shared. Feeds the pool of free addresses.
 */
export class NetworkCatalog {
  readonly #cloud: CloudReads;
  readonly #clock: Clock;
  readonly #vpcId: string;
  readonly #pool: VSwitchPool;
  /** All of the VPC, and others that were asked for in the last hour. */
  readonly #vSwitches = new Map<string, Known<VSwitch>>();
  /** When a vSwitch that is not in our VPC was last looked up, and the result. Each has an entry in the map above. */
  readonly #elsewhere = new Map<string, { value: VSwitch | undefined; atMs: number }>();
  /** Those that were asked for in the last hour. */
  readonly #securityGroups = new Map<string, Known<SecurityGroup>>();
  /** What the queued callers want: the first one requests everything. */
  readonly #inLine = new Set<Wanted>();
  #running: Promise<void> = Promise.resolve();
  #problem: string | undefined;

  constructor(options: { cloud: CloudReads; clock: Clock; vpcId: string; pool: VSwitchPool }) {
    this.#cloud = options.cloud;
    this.#clock = options.clock;
    this.#vpcId = options.vpcId;
    this.#pool = options.pool;
  }

  /** Callers that wait for an answer. */
  get size(): number {
    return this.#inLine.size;
  }

  /** Why the last request failed; undefined when it succeeded. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Whether the cloud was asked about all of these; some may not exist. */
  knows(vSwitchIds: string[]): boolean {
    return vSwitchIds.every((id) => this.#vSwitches.has(id));
  }

  /**
   * Looks ids up; an answer younger than `maxAgeMs` comes from memory. Only one refresh runs at a time, and it requests
   * every known id, so that many PodNetworkings cost as much as one. This includes PodNetworkings with wrong ids: they
   * are checked more often and must not use up the quota of the others.
   *
   * @throws CloudError
   */
  async lookUp(
    { vSwitchIds, securityGroupIds }: Wanted,
    maxAgeMs: number,
    signal: AbortSignal,
  ): Promise<CatalogAnswer> {
    const wanted = { vSwitchIds, securityGroupIds };
    this.#inLine.add(wanted);
    const previous = this.#running;
    const next = previous.catch(() => {}).then(() => this.#refresh(wanted, maxAgeMs, signal));
    this.#running = next;
    try {
      await next;
    } finally {
      this.#inLine.delete(wanted);
    }
    return {
      vSwitches: pick(this.#vSwitches, vSwitchIds),
      securityGroups: pick(this.#securityGroups, securityGroupIds),
    };
  }

  async #refresh(wanted: Wanted, maxAgeMs: number, signal: AbortSignal): Promise<void> {
    const oldestMs = this.#clock.now() - maxAgeMs;
    touch(this.#vSwitches, wanted.vSwitchIds, this.#clock.now());
    touch(this.#securityGroups, wanted.securityGroupIds, this.#clock.now());
    try {
      if (isStale(this.#vSwitches, wanted.vSwitchIds, oldestMs)) {
        await this.#refreshVSwitches(this.#allInLine('vSwitchIds'), signal);
      }
      if (isStale(this.#securityGroups, wanted.securityGroupIds, oldestMs)) {
        await this.#refreshSecurityGroups(this.#allInLine('securityGroupIds'), signal);
      }
      this.#problem = undefined;
    } catch (error) {
      this.#problem = errorMessage(error);
      throw error;
    }
  }

  #allInLine(ids: keyof Wanted): string[] {
    return [...new Set([...this.#inLine].flatMap((wanted) => wanted[ids]))];
  }

  async #refreshVSwitches(wanted: string[], signal: AbortSignal): Promise<void> {
    const atMs = this.#clock.now();
    const found = await this.#cloud.describeVSwitches({ vpcId: this.#vpcId }, { signal, callClass: 'pod' });
    this.#pool.update(found);
    const known = new Set(found.map((vSwitch) => vSwitch.id));
    for (const vSwitch of found) {
      this.#elsewhere.delete(vSwitch.id);
      this.#vSwitches.set(vSwitch.id, { value: vSwitch, atMs, wantedMs: atMs });
    }
    const lacking = [...new Set([...this.#vSwitches.keys(), ...wanted])].filter((id) => !known.has(id));
    const named = new Set(wanted);
    // Rare; lets the message say that the vSwitch is in another VPC.
    await this.#findElsewhere(
      lacking.filter((id) => named.has(id)),
      atMs,
      signal,
    );
    for (const id of lacking) {
      this.#pool.remove(id);
      const wantedMs = named.has(id) ? atMs : (this.#vSwitches.get(id)?.wantedMs ?? 0);
      if (wantedMs + FORGET_AFTER_MS < atMs) {
        this.#vSwitches.delete(id);
        this.#elsewhere.delete(id);
        continue;
      }
      this.#vSwitches.set(id, { value: this.#elsewhere.get(id)?.value, atMs, wantedMs });
    }
  }

  async #findElsewhere(ids: readonly string[], nowMs: number, signal: AbortSignal): Promise<void> {
    const due = ids.filter(
      (id) => nowMs - (this.#elsewhere.get(id)?.atMs ?? Number.NEGATIVE_INFINITY) >= ELSEWHERE_MAX_AGE_MS,
    );
    if (due.length > ASKED_ONE_BY_ONE) {
      const all = new Map(
        (await this.#cloud.describeVSwitches({}, { signal, callClass: 'audit' })).map((vSwitch) => [
          vSwitch.id,
          vSwitch,
        ]),
      );
      for (const id of due) this.#elsewhere.set(id, { value: all.get(id), atMs: nowMs });
      return;
    }
    for (const id of due) {
      const [value] = await this.#cloud.describeVSwitches({ ids: [id] }, { signal, callClass: 'audit' });
      this.#elsewhere.set(id, { value, atMs: nowMs });
    }
  }

  async #refreshSecurityGroups(wanted: string[], signal: AbortSignal): Promise<void> {
    const ids = [...new Set([...wanted, ...this.#securityGroups.keys()])];
    const atMs = this.#clock.now();
    const found = new Map(
      (await this.#cloud.describeSecurityGroups(ids, { signal, callClass: 'pod' })).map((group) => [group.id, group]),
    );
    for (const id of ids) {
      const wantedMs = wanted.includes(id) ? atMs : (this.#securityGroups.get(id)?.wantedMs ?? 0);
      if (wantedMs + FORGET_AFTER_MS < atMs) this.#securityGroups.delete(id);
      else this.#securityGroups.set(id, { value: found.get(id), atMs, wantedMs });
    }
  }
}

/** Notes that the ids are in use. */
function touch(known: ReadonlyMap<string, { wantedMs: number }>, ids: readonly string[], nowMs: number): void {
  for (const id of ids) {
    const entry = known.get(id);
    if (entry !== undefined) entry.wantedMs = nowMs;
  }
}

function isStale(known: Map<string, { atMs: number }>, ids: readonly string[], oldestMs: number): boolean {
  return ids.some((id) => (known.get(id)?.atMs ?? Number.NEGATIVE_INFINITY) < oldestMs);
}

function pick<T>(known: Map<string, { value: T | undefined }>, ids: readonly string[]): Map<string, T> {
  return new Map(
    ids.flatMap((id): [string, T][] => {
      const value = known.get(id)?.value;
      return value === undefined ? [] : [[id, value]];
    }),
  );
}
