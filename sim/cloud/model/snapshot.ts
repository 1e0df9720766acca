import type { Account, Latencies } from './account.ts';
import type { Eni, Instance, SecurityGroup, SecurityGroupRule, Vpc, VSwitch } from './entities.ts';

/** The state of the account as plain JSON. Everything is in order of creation. */

type Plain<T extends { tags: Map<string, string> }> = Omit<T, 'tags' | 'seq'> & { tags: Record<string, string> };

export type EniSnapshot = Omit<Plain<Eni>, 'epoch'>;
export type InstanceSnapshot = Plain<Instance>;
export type SecurityGroupSnapshot = Plain<SecurityGroup> & { rules: SecurityGroupRule[] };
export type VSwitchSnapshot = Plain<VSwitch> & { availableIpAddressCount: number };
export type VpcSnapshot = Plain<Vpc>;

export interface Snapshot {
  nowMs: number;
  /** Grows with every change of an object. Equal numbers mean equal objects. */
  generation: number;
  regionId: string;
  ownerId: string;
  zoneIds: string[];
  latencies: Latencies;
  vpcs: VpcSnapshot[];
  vSwitches: VSwitchSnapshot[];
  securityGroups: SecurityGroupSnapshot[];
  instances: InstanceSnapshot[];
  enis: EniSnapshot[];
}

/** A copy. It does not show later changes of the account. */
export function snapshot(account: Account, nowMs: number): Snapshot {
  return {
    nowMs,
    generation: account.journal.lastChange,
    regionId: account.regionId,
    ownerId: account.ownerId,
    zoneIds: [...account.zoneIds],
    latencies: { ...account.latencies },
    vpcs: [...account.vpcs.values()].map(plain),
    vSwitches: [...account.vSwitches.values()].map((vSwitch) => ({
      ...plain(vSwitch),
      availableIpAddressCount: account.ipv4Pool(vSwitch.id).freeCount,
    })),
    securityGroups: [...account.securityGroups.values()].map((group) => ({
      ...plain(group),
      rules: group.rules.map((rule) => ({ ...rule })),
    })),
    instances: [...account.instances.values()].map(plain),
    enis: [...account.enis.values()].map(eniSnapshot),
  };
}

export function eniSnapshot(eni: Eni): EniSnapshot {
  const { epoch: _epoch, ...rest } = plain(eni);
  return {
    ...rest,
    ipv4: [...eni.ipv4],
    ipv4Prefixes: [...eni.ipv4Prefixes],
    ipv6: [...eni.ipv6],
    ipv6Prefixes: [...eni.ipv6Prefixes],
    securityGroupIds: [...eni.securityGroupIds],
    ...(eni.attachment === undefined ? {} : { attachment: structuredClone(eni.attachment) }),
  };
}

function plain<T extends { seq: number; tags: Map<string, string> }>(item: T): Plain<T> {
  const { seq: _seq, tags, ...rest } = item;
  return { ...rest, tags: Object.fromEntries(tags) };
}
