import { REGION, seedNetwork, type TestNetwork } from '../test-network.ts';
import type { ParamTree } from './action.ts';
import { CloudModel } from './model.ts';

/** An account with a small network on virtual time, with short methods for tests. */
export class TestAccount {
  readonly model: CloudModel;
  readonly network: TestNetwork;
  nowMs = 1_000_000;

  /** Every asynchronous change takes 1500 ms. */
  constructor() {
    this.model = new CloudModel({
      instanceTypes: [
        { instanceTypeId: 'ecs.test.small', eniQuantity: 3, eniTotalQuantity: 5, eniTrunkSupported: true },
        { instanceTypeId: 'ecs.test.flat', eniQuantity: 3, eniTotalQuantity: 3, eniTrunkSupported: false },
      ],
    });
    this.network = seedNetwork(this.model, this.nowMs, 'ecs.test.small');
  }

  /** Makes a call that must succeed. */
  ok(action: string, params: ParamTree): Record<string, unknown> {
    const outcome = this.model.apply({ action, params: { RegionId: REGION, ...params } }, this.nowMs);
    if (!outcome.ok) throw outcome.error;
    return { ...outcome.body };
  }

  /** Makes a call that must be refused; returns `status code`. */
  refused(action: string, params: ParamTree): string {
    const outcome = this.model.apply({ action, params: { RegionId: REGION, ...params } }, this.nowMs);
    return outcome.ok ? 'accepted' : `${outcome.error.status} ${outcome.error.code}`;
  }

  /** Returns the id of the new ENI. */
  create(params: ParamTree = {}): string {
    const body = this.ok('CreateNetworkInterface', {
      VSwitchId: this.network.vSwitchId,
      SecurityGroupIds: [this.network.securityGroupId],
      ...params,
    });
    return String(body['NetworkInterfaceId']);
  }

  attach(NetworkInterfaceId: string, TrunkNetworkInstanceId?: string): void {
    const InstanceId = this.network.instanceId;
    this.ok('AttachNetworkInterface', { NetworkInterfaceId, InstanceId, TrunkNetworkInstanceId });
  }

  wait(ms: number): void {
    this.nowMs += ms;
    this.model.advance(this.nowMs);
  }

  /** A trunk in use on the instance. */
  trunkInUse(): string {
    const trunk = this.create({ InstanceType: 'Trunk' });
    this.attach(trunk);
    this.wait(1_500);
    return trunk;
  }
}
