import { attemptTags, ownershipTags } from '../../allocation/identity.ts';
import type { ObservedEni, Operation } from '../../allocation/observation.ts';
import type { TrunkIntent } from '../../allocation/trunk.ts';
import type { TerwayNode } from '../../crds/node.ts';
import type { ControllerContext } from '../context.ts';
import { Operations } from '../operations.ts';

/** The cloud calls for trunks, one under way per node. */
export class TrunkCalls {
  readonly #context: ControllerContext;
  readonly #operations: Operations;

  constructor(context: ControllerContext) {
    this.#context = context;
    const { clock, signal, wakeNode } = context;
    this.#operations = new Operations({ clock, signal, wake: wakeNode });
  }

  /** The last call for a node, as far as this process knows. */
  get(nodeName: string): Operation | undefined {
    return this.#operations.get(nodeName);
  }

  /** Its outcome has been taken over. */
  clear(nodeName: string): void {
    this.#operations.clear(nodeName);
  }

  /** Sends the creation of the intent. */
  create(node: TerwayNode, intent: TrunkIntent): void {
    const { cloud, clusterId, clock, observer } = this.#context;
    const { name, uid } = node.metadata;
    this.#operations.start({ id: name, owner: name, kind: 'create', eniId: '' }, async (signal) => {
      const created = await cloud.createEni(
        {
          kind: 'Trunk',
          vSwitchId: intent.vSwitchID,
          securityGroupIds: intent.securityGroupIDs,
          // The trunk goes with its instance.
          deleteOnRelease: true,
          description: 'interface create by terway',
          clientToken: intent.clientToken,
          tags: {
            ...intent.tags,
            // Ours last: by them it is known whose the ENI is (I3).
            ...ownershipTags({
              clusterId,
              owner: `node/${name}`,
              ownerUid: uid ?? '',
              clientToken: intent.clientToken,
            }),
          },
        },
        signal,
      );
      observer.note(created.eni, clock.now());
      return created;
    });
  }

  /** Looks for what a creation whose answer was lost has left. */
  find(name: string, intent: TrunkIntent): void {
    const { cloud, clusterId, observer } = this.#context;
    this.#operations.start({ id: name, owner: name, kind: 'find', eniId: '' }, async (signal) => {
      const { enis, sentAtMs } = await cloud.describeEnis({ tags: attemptTags(clusterId, intent.clientToken) }, signal);
      const [eni] = enis;
      if (eni !== undefined) observer.note(eni, sentAtMs);
      return { eni };
    });
  }

  /** Attaches, detaches or deletes a trunk. */
  change(name: string, instanceId: string, eni: ObservedEni, kind: 'attach' | 'detach' | 'delete'): void {
    const { cloud } = this.#context;
    this.#operations.start({ id: name, owner: name, kind, eniId: eni.id }, async (signal) => {
      if (kind === 'delete') return cloud.deleteEni(eni.id, signal);
      if (kind === 'attach') return cloud.attachEni({ eniId: eni.id, instanceId }, signal);
      return cloud.detachEni({ eniId: eni.id, instanceId: eni.instanceId ?? instanceId }, signal);
    });
  }

  /** Gives a trunk the security groups of its intent. */
  modify(name: string, eniId: string, intent: TrunkIntent): void {
    const { cloud } = this.#context;
    this.#operations.start({ id: name, owner: name, kind: 'modify', eniId }, (signal) =>
      cloud.modifyEniSecurityGroups(eniId, intent.securityGroupIDs, signal),
    );
  }
}
