import type { VSwitchPool } from '../allocation/vswitch-pool.ts';
import type { Cloud, SecurityGroup, VSwitch } from '../cloud/port.ts';
import type { Clock } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';

/** What the cloud knows of the ids that were asked about. */
export interface CatalogAnswer {
  /** Every vSwitch that exists, also in another VPC. */
  vSwitches: Map<string, VSwitch>;
  securityGroups: Map<string, SecurityGroup>;
}

/**
 * vSwitches of the VPC and security groups that PodNetworkings name, asked for in as few calls as possible and shared by
 * everyone who needs them. Feeds the pool of free addresses.
 */
export class NetworkCatalog {
  readonly #cloud: Cloud;
  readonly #clock: Clock;
  readonly #vpcId: string;
  readonly #pool: VSwitchPool;
  readonly #vSwitches = new Map<string, { value: VSwitch | undefined; atMs: number }>();
  readonly #securityGroups = new Map<string, { value: SecurityGroup | undefined; atMs: number }>();
  #running: Promise<void> = Promise.resolve();
  #problem: string | undefined;

  constructor(options: { cloud: Cloud; clock: Clock; vpcId: string; pool: VSwitchPool }) {
    this.#cloud = options.cloud;
    this.#clock = options.clock;
    this.#vpcId = options.vpcId;
    this.#pool = options.pool;
  }

  /** Why the last question to the cloud failed; undefined when it did not. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Whether the cloud has been asked about all of these; it may not have any of them. */
  knows(vSwitchIds: string[]): boolean {
    return vSwitchIds.every((id) => this.#vSwitches.has(id));
  }

  /**
   * Looks ids up; what was asked for less than `maxAgeMs` ago is answered from memory. Only one refresh runs at a time, and
   * it asks for every id that is known, so that many PodNetworkings cost as much as one.
   *
   * @throws CloudError
   */
  async lookUp(
    wanted: { vSwitchIds: string[]; securityGroupIds: string[] },
    maxAgeMs: number,
    signal: AbortSignal,
  ): Promise<CatalogAnswer> {
    const previous = this.#running;
    const next = previous.catch(() => {}).then(() => this.#refresh(wanted, maxAgeMs, signal));
    this.#running = next;
    await next;
    return {
      vSwitches: pick(this.#vSwitches, wanted.vSwitchIds),
      securityGroups: pick(this.#securityGroups, wanted.securityGroupIds),
    };
  }

  async #refresh(
    wanted: { vSwitchIds: string[]; securityGroupIds: string[] },
    maxAgeMs: number,
    signal: AbortSignal,
  ): Promise<void> {
    const oldestMs = this.#clock.now() - maxAgeMs;
    try {
      if (isStale(this.#vSwitches, wanted.vSwitchIds, oldestMs)) {
        await this.#refreshVSwitches(wanted.vSwitchIds, signal);
      }
      if (isStale(this.#securityGroups, wanted.securityGroupIds, oldestMs)) {
        await this.#refreshSecurityGroups(wanted.securityGroupIds, signal);
      }
      this.#problem = undefined;
    } catch (error) {
      this.#problem = errorMessage(error);
      throw error;
    }
  }

  async #refreshVSwitches(wanted: string[], signal: AbortSignal): Promise<void> {
    const atMs = this.#clock.now();
    const found = await this.#cloud.describeVSwitches({ vpcId: this.#vpcId }, signal);
    this.#pool.update(found);
    const known = new Set(found.map((vSwitch) => vSwitch.id));
    for (const vSwitch of found) this.#vSwitches.set(vSwitch.id, { value: vSwitch, atMs });
    const elsewhere = [...new Set([...wanted, ...this.#vSwitches.keys()])].filter((id) => !known.has(id));
    for (const id of elsewhere) {
      this.#pool.remove(id);
      if (!wanted.includes(id)) {
        this.#vSwitches.delete(id);
        continue;
      }
      // One by one, but only for ids that are wrong: the message can then say whether it exists in another VPC.
      const [value] = await this.#cloud.describeVSwitches({ ids: [id] }, signal);
      this.#vSwitches.set(id, { value, atMs });
    }
  }

  async #refreshSecurityGroups(wanted: string[], signal: AbortSignal): Promise<void> {
    const ids = [...new Set([...wanted, ...this.#securityGroups.keys()])];
    const atMs = this.#clock.now();
    const found = new Map((await this.#cloud.describeSecurityGroups(ids, signal)).map((group) => [group.id, group]));
    for (const id of ids) {
      const value = found.get(id);
      if (value === undefined && !wanted.includes(id)) this.#securityGroups.delete(id);
      else this.#securityGroups.set(id, { value, atMs });
    }
  }
}

function isStale(known: Map<string, { atMs: number }>, ids: string[], oldestMs: number): boolean {
  return ids.some((id) => (known.get(id)?.atMs ?? Number.NEGATIVE_INFINITY) < oldestMs);
}

function pick<T>(known: Map<string, { value: T | undefined }>, ids: string[]): Map<string, T> {
  return new Map(
    ids.flatMap((id): [string, T][] => {
      const value = known.get(id)?.value;
      return value === undefined ? [] : [[id, value]];
    }),
  );
}
