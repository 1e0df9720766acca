import type { Eni, EniStatus } from '../../ecs/eni.ts';
import type { Clock } from '../../util/clock.ts';
import type { Cloud, DescribedEnis, EniFilter } from '../port.ts';
import type { CallLeave } from '../quota.ts';

const unused = (): never => {
  throw new Error('not part of this test');
};

/** ENIs that change their status at given times, and a record of the requests for them. */
export class MemoryCloud implements Cloud {
  readonly #clock: Clock;
  readonly #plans = new Map<string, { atMs: number; status: EniStatus | 'gone' }[]>();
  /** Ids per describe. */
  readonly asked: string[][] = [];
  /** Thrown by the next describes, one each. */
  readonly failures: unknown[] = [];
  /** Duration of a describe; it returns the state at its start. */
  answerMs = 20;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** After `inMs` the ENI shows this status. */
  plan(id: string, inMs: number, status: EniStatus | 'gone'): void {
    const plans = this.#plans.get(id) ?? [];
    plans.push({ atMs: this.#clock.monotonicMs() + inMs, status });
    this.#plans.set(id, plans);
  }

  async describeEnis({ ids = [] }: EniFilter, { signal, onSent }: CallLeave): Promise<DescribedEnis> {
    this.asked.push([...ids]);
    onSent?.();
    const { answerMs } = this;
    const sentAtMs = this.#clock.now();
    const atMs = this.#clock.monotonicMs();
    const enis = ids.flatMap((id) => {
      const status = this.#plans.get(id)?.findLast((plan) => plan.atMs <= atMs)?.status ?? 'gone';
      return status === 'gone' ? [] : [eniOf(id, { status })];
    });
    await this.#clock.sleep(answerMs, signal);
    if (this.failures.length > 0) throw this.failures.shift();
    return { enis, sentAtMs, requests: 1 };
  }

  createEni = unused;
  attachEni = unused;
  detachEni = unused;
  deleteEni = unused;
  modifyEniSecurityGroups = unused;
  assignIpv4 = unused;
  assignIpv6 = unused;
  unassignIpv4 = unused;
  unassignIpv6 = unused;
  describeInstanceTypes = unused;
  describeInstances = unused;
  describeVSwitches = unused;
  describeSecurityGroups = unused;
}

/** A secondary ENI with nothing special about it but `rest`. */
export function eniOf(id: string, rest: Partial<Eni>): Eni {
  return {
    id,
    type: 'Secondary',
    status: 'Available',
    macAddress: '',
    vpcId: 'vpc-1',
    vSwitchId: 'vsw-1',
    zoneId: 'z',
    primaryIp: '',
    ipv4: [],
    ipv6: [],
    securityGroupIds: [],
    resourceGroupId: '',
    tags: {},
    deleteOnRelease: true,
    description: '',
    ...rest,
  };
}
