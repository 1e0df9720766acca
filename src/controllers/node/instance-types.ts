import { nodeCapOf } from '../../allocation/capacity.ts';
import type { CloudReads } from '../../cloud/port.ts';
import type { NodeCap } from '../../crds/node.ts';
import type { Clock } from '../../util/clock.ts';

/** Instance types change rarely, but they do change (upstream caches them for 15 days and never refreshes). */
const MAX_AGE_MS = 60 * 60_000;

/** Capacity by instance type from DescribeInstanceTypes; one request in flight per type. */
export class InstanceTypeCatalog {
  readonly #cloud: CloudReads;
  readonly #clock: Clock;
  /** Types that the cloud knows and a node had, some hundred at most; others are forgotten. */
  readonly #known = new Map<string, { atMs: number; cap: Promise<NodeCap | undefined> }>();

  constructor(options: { cloud: CloudReads; clock: Clock }) {
    this.#cloud = options.cloud;
    this.#clock = options.clock;
  }

  /** @returns undefined for a type that the cloud does not know. @throws CloudError */
  async capacity(instanceType: string, signal: AbortSignal): Promise<NodeCap | undefined> {
    const known = this.#known.get(instanceType);
    if (known !== undefined && this.#clock.now() - known.atMs < MAX_AGE_MS) return known.cap;
    const cap = this.#cloud.describeInstanceTypes([instanceType], { signal, callClass: 'pod' }).then((found) => {
      const limits = found.find((candidate) => candidate.instanceType === instanceType);
      return limits === undefined ? undefined : nodeCapOf(limits);
    });
    this.#known.set(instanceType, { atMs: this.#clock.now(), cap });
    const forget = () => this.#known.delete(instanceType);
    cap.then((found) => found ?? forget(), forget);
    return cap;
  }
}
