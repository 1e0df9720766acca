import fc from 'fast-check';
import { expect, test } from 'vitest';
import { accountViolations } from './invariants.ts';
import { CloudModel } from './model.ts';
import type { EniSnapshot } from './snapshot.ts';

/** Random histories of an account. The numbers choose among the objects that exist at that moment. */

const pick = fc.nat(1_000);
/** One step in five takes any object. The others take one with which the call can succeed. */
const wild = fc.nat(4).map((value) => value === 0);
const count = fc.integer({ min: 1, max: 3 });
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant('create'), vSwitch: pick, wild, trunk: fc.boolean(), ipv4: fc.nat(1) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('createRich'),
      vSwitch: pick,
      ipv4: fc.nat(4),
      ipv6: fc.nat(2),
      prefixes: fc.nat(1),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('createAt'), vSwitch: pick, last: fc.nat(63) }) },
  {
    weight: 9,
    arbitrary: fc.record({
      kind: fc.constant('attach'),
      eni: pick,
      wild,
      instance: pick,
      trunk: fc.option(pick, { nil: undefined }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('detach'), eni: pick, wild }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('delete'), eni: pick, wild }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('assign'), eni: pick, count, prefix: fc.boolean(), v6: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('unassign'), eni: pick, index: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('modify'), eni: pick, group: pick }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('byHand'), eni: pick, remove: fc.boolean() }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('instance'),
      instance: pick,
      change: fc.constantFrom('release', 'Stopped', 'Starting', 'Running', 'Running', 'run'),
    }),
  },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('wait'), ms: fc.nat(3_000) }) },
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

const RegionId = 'cn-hangzhou';

class History {
  readonly model = new CloudModel({
    zoneIds: ['z-a', 'z-b'],
    instanceTypes: [
      {
        instanceTypeId: 'ecs.t.small',
        eniQuantity: 3,
        eniTotalQuantity: 6,
        eniTrunkSupported: true,
        eniPrivateIpAddressQuantity: 4,
        eniIpv6AddressQuantity: 2,
      },
    ],
  });
  readonly vSwitchIds: string[];
  readonly groupIds: string[];
  nowMs = 1_000;

  constructor() {
    const vpcId = this.model.createVpc({ cidrBlock: '10.0.0.0/16', ipv6CidrBlock: 'fd00::/56' }, 0);
    const other = this.model.createVpc({ cidrBlock: '10.0.0.0/16' }, 0);
    this.vSwitchIds = [
      this.model.createVSwitch({ vpcId, zoneId: 'z-a', cidrBlock: '10.0.0.0/25', ipv6CidrBlock: 'fd00::/64' }, 0),
      this.model.createVSwitch({ vpcId, zoneId: 'z-a', cidrBlock: '10.0.1.0/28' }, 0),
      this.model.createVSwitch({ vpcId, zoneId: 'z-b', cidrBlock: '10.0.2.0/26' }, 0),
      this.model.createVSwitch({ vpcId: other, zoneId: 'z-a', cidrBlock: '10.0.0.0/27' }, 0),
    ];
    this.groupIds = [
      this.model.createSecurityGroup({ vpcId }, 0),
      this.model.createSecurityGroup({ vpcId }, 0),
      this.model.createSecurityGroup({ vpcId: other }, 0),
    ];
    this.#run(0);
    this.#run(0);
    this.#run(2);
  }

  take(step: Step): void {
    const { model } = this;
    const eni = 'eni' in step ? this.#eni(step) : undefined;
    const eniId = eni?.id ?? '';
    switch (step.kind) {
      case 'create':
        this.#call('CreateNetworkInterface', {
          VSwitchId: at(this.vSwitchIds, step.vSwitch),
          SecurityGroupIds: [this.#group(step.vSwitch, step.wild)],
          InstanceType: step.trunk ? 'Trunk' : 'Secondary',
          SecondaryPrivateIpAddressCount: step.ipv4 || undefined,
          Tag: [{ Key: 'ack.aliyun.com', Value: 'c1' }],
        });
        break;
      case 'createRich':
        this.#call('CreateNetworkInterface', {
          VSwitchId: at(this.vSwitchIds, step.vSwitch),
          SecurityGroupIds: [this.#group(step.vSwitch, false)],
          // One call cannot have both addresses and prefixes.
          SecondaryPrivateIpAddressCount: (step.prefixes === 0 && step.ipv4) || undefined,
          Ipv6AddressCount: step.ipv6 || undefined,
          Ipv4PrefixCount: step.prefixes || undefined,
        });
        break;
      case 'createAt':
        this.#call('CreateNetworkInterface', {
          VSwitchId: at(this.vSwitchIds, step.vSwitch),
          SecurityGroupIds: [at(this.groupIds, 0)],
          PrimaryIpAddress: `10.0.0.${step.last}`,
        });
        break;
      case 'attach': {
        const trunks = model.enis().filter((item) => item.type === 'Trunk' && (step.wild || item.status === 'InUse'));
        const trunk = step.trunk === undefined ? undefined : choose(trunks, step.trunk);
        const near = model.snapshot().instances.filter((item) => step.wild || item.zoneId === eni?.zoneId);
        this.#call('AttachNetworkInterface', {
          NetworkInterfaceId: eniId,
          InstanceId: trunk?.attachment?.instanceId ?? choose(near, step.instance)?.id ?? 'i-none',
          TrunkNetworkInstanceId: trunk?.id,
        });
        break;
      }
      case 'detach':
        this.#call('DetachNetworkInterface', {
          NetworkInterfaceId: eniId,
          InstanceId: eni?.attachment?.instanceId ?? at(this.#instanceIds(), 0),
          TrunkNetworkInstanceId: eni?.attachment?.trunk?.eniId,
        });
        break;
      case 'delete':
        this.#call('DeleteNetworkInterface', { NetworkInterfaceId: eniId });
        break;
      case 'assign':
        if (step.v6) {
          this.#call('AssignIpv6Addresses', {
            NetworkInterfaceId: eniId,
            [step.prefix ? 'Ipv6PrefixCount' : 'Ipv6AddressCount']: step.count,
          });
        } else {
          this.#call('AssignPrivateIpAddresses', {
            NetworkInterfaceId: eniId,
            [step.prefix ? 'Ipv4PrefixCount' : 'SecondaryPrivateIpAddressCount']: step.count,
          });
        }
        break;
      case 'unassign':
        this.#call('UnassignPrivateIpAddresses', {
          NetworkInterfaceId: eniId,
          PrivateIpAddress: [eni?.ipv4[step.index] ?? '10.0.0.9'],
        });
        break;
      case 'modify':
        this.#call('ModifyNetworkInterfaceAttribute', {
          NetworkInterfaceId: eniId,
          SecurityGroupId: [at(this.groupIds, step.group)],
        });
        break;
      case 'byHand':
        if (eni === undefined || eni.type === 'Primary') break;
        if (step.remove) model.deleteEniByHand(eni.id, this.nowMs);
        else model.detachEniByHand(eni.id, this.nowMs);
        break;
      case 'instance':
        this.#instance(step.instance, step.change);
        break;
      case 'wait':
        this.nowMs += step.ms;
        model.advance(this.nowMs);
        break;
    }
  }

  /** One with which the step can succeed, unless it is a wild step. */
  #eni(step: Extract<Step, { eni: number }>): EniSnapshot | undefined {
    const wanted = { attach: 'Available', detach: 'InUse', delete: 'Available' };
    const enis = this.model.enis();
    if (!('wild' in step) || step.wild) return choose(enis, step.eni);
    const fitting = enis.filter((eni) => eni.type !== 'Primary' && eni.status === wanted[step.kind]);
    return choose(
      step.kind === 'attach' && step.trunk !== undefined ? fitting.filter((eni) => eni.type === 'Secondary') : fitting,
      step.eni,
    );
  }

  /** A security group of the vSwitch's VPC. */
  #group(vSwitch: number, anyVpc: boolean): string {
    if (anyVpc) return at(this.groupIds, vSwitch >> 4);
    return at(this.groupIds, vSwitch % this.vSwitchIds.length === 3 ? 2 : 0);
  }

  #instance(index: number, change: 'release' | 'run' | 'Stopped' | 'Starting' | 'Running'): void {
    const id = at(this.#instanceIds(), index);
    if (change === 'run') this.#run(index);
    else if (id === '') return;
    else if (change === 'release') this.model.releaseInstance(id, this.nowMs);
    else this.model.setInstanceStatus(id, change, this.nowMs);
  }

  #run(index: number): void {
    const vSwitchId = at(this.vSwitchIds.slice(0, 3), index);
    const free = this.model.snapshot().vSwitches.find((item) => item.id === vSwitchId)?.availableIpAddressCount;
    if (free === 0) return;
    this.model.runInstance(
      { instanceType: 'ecs.t.small', vSwitchId, securityGroupIds: [at(this.groupIds, 0)] },
      this.nowMs,
    );
  }

  #instanceIds(): string[] {
    return this.model.snapshot().instances.map((instance) => instance.id);
  }

  #call(
    action: string,
    params: Record<string, string | number | string[] | { Key: string; Value: string }[] | undefined>,
  ): void {
    this.model.apply({ action, params: { RegionId, ...params } }, this.nowMs);
  }
}

/** One of the items; undefined when there are none. */
function choose<T>(items: readonly T[], index: number): T | undefined {
  return items.length === 0 ? undefined : items[index % items.length];
}

/** One of the ids. When there are none, an empty id, which the cloud does not know. */
function at(ids: readonly string[], index: number): string {
  return choose(ids, index) ?? '';
}

test('no history of calls breaks the invariants of the account', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120, size: 'max' }), (steps) => {
      const history = new History();
      for (const item of steps) {
        history.take(item);
        expect(accountViolations(history.model)).toEqual([]);
      }
    }),
    { numRuns: 150 },
  );
});

test('the same history gives the same account', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40, size: 'max' }), (steps) => {
      const [first, second] = [new History(), new History()];
      for (const item of steps) {
        first.take(item);
        second.take(item);
      }
      expect(second.model.snapshot()).toEqual(first.model.snapshot());
      expect(second.model.journal()).toEqual(first.model.journal());
    }),
    { numRuns: 30 },
  );
});

test('a repeated ClientToken changes nothing and gets the first response', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ token: fc.nat(3), vSwitch: fc.nat(2), count: fc.nat(2) }), { maxLength: 25 }),
      (calls) => {
        const history = new History();
        const responses = new Map<string, { params: string; eniId: unknown }>();
        for (const { token, vSwitch, count } of calls) {
          const params = {
            RegionId,
            VSwitchId: at(history.vSwitchIds, vSwitch),
            SecurityGroupIds: [at(history.groupIds, 0)],
            SecondaryPrivateIpAddressCount: count || undefined,
            ClientToken: `token-${token}`,
          };
          const before = history.model.counters().eniCount;
          const outcome = history.model.apply({ action: 'CreateNetworkInterface', params }, history.nowMs);
          const created = history.model.counters().eniCount - before;
          const earlier = responses.get(params.ClientToken);
          if (earlier === undefined) {
            if (outcome.ok)
              responses.set(params.ClientToken, { params: JSON.stringify(params), eniId: eniIdOf(outcome.body) });
            expect(created).toBe(outcome.ok ? 1 : 0);
          } else if (earlier.params === JSON.stringify(params)) {
            expect(outcome.ok && eniIdOf(outcome.body)).toBe(earlier.eniId);
            expect(created).toBe(0);
          } else {
            expect(!outcome.ok && outcome.error.code).toBe('IdempotentParameterMismatch');
            expect(created).toBe(0);
          }
        }
        expect(accountViolations(history.model)).toEqual([]);
      },
    ),
    { numRuns: 60 },
  );
});

function eniIdOf(body: object): unknown {
  return 'NetworkInterfaceId' in body ? body.NetworkInterfaceId : undefined;
}
