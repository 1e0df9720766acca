import type { ParamTree } from '../../sim/cloud/model/action.ts';
import { accountViolations } from '../../sim/cloud/model/invariants.ts';
import { CloudModel } from '../../sim/cloud/model/model.ts';
import type { EniSnapshot } from '../../sim/cloud/model/snapshot.ts';
import { isOurs } from '../../src/allocation/identity.ts';
import type { NodeView } from '../../src/allocation/plan.ts';
import { createAnswerSchema, toEni } from '../../src/cloud/responses.ts';
import type { AttachTarget } from '../../src/crds/pod-eni.ts';
import type { Eni } from '../../src/ecs/eni.ts';
import type { VSwitch } from '../../src/ecs/vpc.ts';

type Answer = { ok: true; eni?: Eni } | { ok: false; code: string; status: number };

const REGION = 'cn-hangzhou';
const ZONE = 'z-a';
const MEMBERS = 3;
/** How long past states are kept, for lagging answers. */
const HISTORY_MS = 10_000;

/** The cloud model behind the life cycle: two nodes with a trunk each, a tiny vSwitch and a larger one. */
export class SimulatedCloud {
  readonly startMs = Date.parse('2026-01-01T00:00:00Z');
  nowMs = this.startMs;
  readonly model: CloudModel;
  readonly vSwitchIds: string[];
  readonly securityGroupIds: string[];
  /** A second group, to change to. */
  readonly otherSecurityGroupIds: string[];
  readonly nodes: NodeView[];
  readonly #clusterId: string;
  readonly #history: { atMs: number; enis: Map<string, Eni> }[] = [];

  constructor(clusterId: string) {
    this.#clusterId = clusterId;
    const instanceTypeId = 'ecs.t.small';
    this.model = new CloudModel({
      zoneIds: [ZONE],
      latencies: { createMs: 0, attachMs: 1500, detachMs: 1500, deleteMs: 1500 },
      instanceTypes: [{ instanceTypeId, eniQuantity: 3, eniTotalQuantity: 3 + MEMBERS, eniTrunkSupported: true }],
    });
    const vpcId = this.model.createVpc({ cidrBlock: '10.0.0.0/16' }, this.nowMs);
    const vSwitch = (cidrBlock: string) => this.model.createVSwitch({ vpcId, zoneId: ZONE, cidrBlock }, this.nowMs);
    this.vSwitchIds = [vSwitch('10.0.1.0/29'), vSwitch('10.0.2.0/24')];
    const nodeVSwitch = vSwitch('10.0.3.0/24');
    this.securityGroupIds = [this.model.createSecurityGroup({ vpcId }, this.nowMs)];
    this.otherSecurityGroupIds = [this.model.createSecurityGroup({ vpcId }, this.nowMs), ...this.securityGroupIds];
    this.nodes = ['node-1', 'node-2'].map((nodeName) => {
      const { instanceId } = this.model.runInstance(
        { instanceType: instanceTypeId, vSwitchId: nodeVSwitch, securityGroupIds: this.securityGroupIds },
        this.nowMs,
      );
      const trunkEniId = this.#trunk(nodeVSwitch, instanceId);
      return { nodeName, instanceId, zone: ZONE, trunkEniId, memberLimit: MEMBERS, exclusive: false, eniLimit: 0 };
    });
    this.#remember();
  }

  create(wish: { vSwitchID: string; securityGroupIDs: string[]; token: string; tags: Record<string, string> }): Answer {
    return this.#call('CreateNetworkInterface', {
      VSwitchId: wish.vSwitchID,
      SecurityGroupIds: wish.securityGroupIDs,
      ClientToken: wish.token,
      Tag: Object.entries(wish.tags).map(([Key, Value]) => ({ Key, Value })),
    });
  }

  attach(NetworkInterfaceId: string, target: AttachTarget): Answer {
    const { instanceID, trunkENIID } = target;
    return this.#call('AttachNetworkInterface', {
      NetworkInterfaceId,
      InstanceId: instanceID,
      TrunkNetworkInstanceId: trunkENIID,
    });
  }

  detach(eni: Eni): Answer {
    return this.#call('DetachNetworkInterface', {
      NetworkInterfaceId: eni.id,
      InstanceId: eni.instanceId ?? '',
      TrunkNetworkInstanceId: eni.trunkEniId,
    });
  }

  delete(NetworkInterfaceId: string): Answer {
    const answer = this.#call('DeleteNetworkInterface', { NetworkInterfaceId });
    return !answer.ok && answer.code === 'InvalidEniId.NotFound' ? { ok: true } : answer;
  }

  modify(NetworkInterfaceId: string, SecurityGroupId: string[]): Answer {
    return this.#call('ModifyNetworkInterfaceAttribute', { NetworkInterfaceId, SecurityGroupId });
  }

  /** By tags, as it was at a time. */
  find(tags: Record<string, string>, atMs: number): Answer {
    const eni = [...this.#at(atMs).values()].find((candidate) =>
      Object.entries(tags).every(([key, value]) => candidate.tags[key] === value),
    );
    return eni === undefined ? { ok: true } : { ok: true, eni };
  }

  /** One ENI, as it was at a time. */
  describe(id: string, atMs: number): Eni | undefined {
    return this.#at(atMs).get(id);
  }

  vSwitches(): VSwitch[] {
    return this.model.snapshot(this.nowMs).vSwitches.map((vSwitch) => ({
      id: vSwitch.id,
      vpcId: vSwitch.vpcId,
      status: 'Available',
      zoneId: vSwitch.zoneId,
      cidrBlock: vSwitch.cidrBlock,
      ipv6CidrBlock: '',
      availableIpCount: vSwitch.availableIpAddressCount,
    }));
  }

  /** ENIs that the life cycle created and that still exist. */
  ours(): { id: string; tags: Record<string, string> }[] {
    return this.model.enis().filter((eni) => isOurs(eni.tags, this.#clusterId) && eni.status !== 'Deleting');
  }

  /** Detaches or deletes one of our ENIs behind our back; an attachment under way falls back. */
  byHand(pick: number, remove: boolean): string | undefined {
    const candidates = this.ours().filter(({ id }) => remove || this.model.eni(id)?.attachment !== undefined);
    const eni = candidates[pick % Math.max(1, candidates.length)];
    if (eni === undefined) return undefined;
    if (remove) this.model.deleteEniByHand(eni.id, this.nowMs);
    else this.model.detachEniByHand(eni.id, this.nowMs);
    this.#remember();
    return eni.id;
  }

  /** Changes the security groups of one of our ENIs behind our back. */
  driftByHand(pick: number): void {
    const candidates = this.ours();
    const eni = candidates[pick % Math.max(1, candidates.length)];
    if (eni !== undefined) this.modify(eni.id, this.otherSecurityGroupIds.slice(0, 1));
  }

  violations(): string[] {
    this.#remember();
    return accountViolations(this.model);
  }

  #trunk(vSwitchId: string, instanceId: string): string {
    this.#call('CreateNetworkInterface', {
      VSwitchId: vSwitchId,
      SecurityGroupIds: this.securityGroupIds,
      InstanceType: 'Trunk',
    });
    const id = this.model.enis().at(-1)?.id ?? '';
    this.#call('AttachNetworkInterface', { NetworkInterfaceId: id, InstanceId: instanceId });
    this.model.completeAll(this.nowMs);
    return id;
  }

  #call(action: string, params: ParamTree): Answer {
    const outcome = this.model.apply({ action, params: { RegionId: REGION, ...params } }, this.nowMs);
    this.#remember();
    if (!outcome.ok) return { ok: false, code: outcome.error.code, status: outcome.error.status };
    if (action !== 'CreateNetworkInterface') return { ok: true };
    // As the adapter reads it. A known token returns the first answer again, whatever the ENI's state is now.
    return { ok: true, eni: toEni(createAnswerSchema.parse(outcome.body)) };
  }

  #at(atMs: number): Map<string, Eni> {
    this.#remember();
    return (this.#history.findLast((entry) => entry.atMs <= atMs) ?? this.#history[0])?.enis ?? new Map();
  }

  /** Records the current state, and the states since the last record. */
  #remember(): void {
    for (
      let dueMs = this.model.nextDueMs();
      dueMs !== undefined && dueMs <= this.nowMs;
      dueMs = this.model.nextDueMs()
    ) {
      this.model.advance(dueMs);
      this.#note(dueMs);
    }
    this.model.advance(this.nowMs);
    this.#note(this.nowMs);
    while ((this.#history[1]?.atMs ?? this.nowMs) < this.nowMs - HISTORY_MS) this.#history.shift();
  }

  #note(atMs: number): void {
    if (this.#history.at(-1)?.atMs === atMs) this.#history.pop();
    this.#history.push({ atMs, enis: new Map(this.model.enis().map((eni) => [eni.id, observed(eni)])) });
  }
}

function observed(eni: EniSnapshot): Eni {
  const { attachment } = eni;
  return {
    id: eni.id,
    type: eni.type,
    status: eni.status,
    macAddress: eni.macAddress,
    vpcId: eni.vpcId,
    vSwitchId: eni.vSwitchId,
    zoneId: eni.zoneId,
    primaryIp: eni.ipv4[0] ?? '',
    ipv4: eni.ipv4,
    ipv6: eni.ipv6,
    securityGroupIds: eni.securityGroupIds,
    resourceGroupId: eni.resourceGroupId,
    tags: eni.tags,
    deleteOnRelease: eni.deleteOnRelease,
    description: eni.description,
    ...(attachment === undefined ? {} : { instanceId: attachment.instanceId }),
    ...(attachment?.trunk === undefined ? {} : { trunkEniId: attachment.trunk.eniId, vlanId: attachment.trunk.vlanId }),
  };
}
