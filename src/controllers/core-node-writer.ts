import type { Informers } from '../cluster/informers.ts';
import { type CoreNode, coreNodeResource } from '../cluster/resources.ts';
import { ANNOTATION_TRUNK_ON, RESOURCE_MEMBER_ENI } from '../crds/names.ts';
import type { KubeClient } from '../kube/client.ts';
import { patchObject } from '../kube/patch.ts';
import { type Clock, rfc3339 } from '../util/clock.ts';
import type { StatedCondition } from './conditions.ts';

/**
 * Every write on a Kubernetes node, for scheduler, kubelet and Terway's daemon. Only changes are written. The kubelet writes this
 * object all the time; nobody else writes our fields.
 */
export class CoreNodeWriter {
  readonly #client: KubeClient;
  readonly #nodes: Informers['coreNodes'];
  readonly #clock: Clock;

  constructor(options: { client: KubeClient; informers: Pick<Informers, 'coreNodes'>; clock: Clock }) {
    this.#client = options.client;
    this.#nodes = options.informers.coreNodes;
    this.#clock = options.clock;
  }

  /** @param value undefined to remove it. @returns the node as it is now */
  async annotate(core: CoreNode, name: string, value: string | undefined, signal: AbortSignal): Promise<CoreNode> {
    if (core.metadata.annotations?.[name] === value) return core;
    const written = await patchObject(
      this.#client,
      coreNodeResource,
      core,
      (draft) => {
        const { [name]: _before, ...others } = draft.metadata.annotations ?? {};
        draft.metadata.annotations = value === undefined ? others : { ...others, [name]: value };
      },
      { signal, optimisticLock: false },
    );
    this.#nodes.store.noteWritten(written);
    return written;
  }

  /** Publishes an extended resource to the scheduler, for example again after a kubelet reset it to 0. */
  async publishSlots(core: CoreNode, resource: string, count: number, signal: AbortSignal): Promise<void> {
    const slots = String(count);
    const { capacity, allocatable } = core.status;
    if (capacity[resource] === slots && allocatable[resource] === slots) return;
    const written = await patchObject(
      this.#client,
      coreNodeResource,
      core,
      (draft) => {
        draft.status.capacity = { ...capacity, [resource]: slots };
        draft.status.allocatable = { ...allocatable, [resource]: slots };
      },
      { signal, subresource: 'status', optimisticLock: false },
    );
    this.#nodes.store.noteWritten(written);
  }

  /** The node has a trunk no more: nothing is attached to it, and no pod that needs one is scheduled there. */
  async withoutTrunk(core: CoreNode, signal: AbortSignal): Promise<void> {
    if (core.metadata.annotations?.[ANNOTATION_TRUNK_ON] === undefined) return;
    await this.publishSlots(core, RESOURCE_MEMBER_ENI, 0, signal);
    const current = this.#nodes.store.get(core.metadata.name) ?? core;
    await this.annotate(current, ANNOTATION_TRUNK_ON, undefined, signal);
  }

  /** Takes a condition away. */
  async withoutCondition(core: CoreNode, type: string, signal: AbortSignal): Promise<void> {
    if (!core.status.conditions.some((condition) => condition.type === type)) return;
    const { uid } = core.metadata;
    const written = await this.#client.patchStatus(
      coreNodeResource,
      core.metadata,
      { type: 'strategic', body: { metadata: { uid }, status: { conditions: [{ type, $patch: 'delete' }] } } },
      { signal },
    );
    this.#nodes.store.noteWritten(written);
  }

  /** Without heartbeat: its times say when it changed. */
  async condition(core: CoreNode, stated: StatedCondition, signal: AbortSignal): Promise<void> {
    const { type, status, reason, message } = stated;
    const before = core.status.conditions.find((condition) => condition.type === type);
    if (before?.status === status && before.reason === reason && before.message === message) return;
    const now = rfc3339(this.#clock.now());
    const condition = {
      ...{ type, status, reason, message },
      lastHeartbeatTime: now,
      ...(before?.status === status ? {} : { lastTransitionTime: now }),
    };
    const { uid } = core.metadata;
    const written = await this.#client.patchStatus(
      coreNodeResource,
      core.metadata,
      // A merge patch would replace the conditions of the kubelet.
      { type: 'strategic', body: { metadata: { uid }, status: { conditions: [condition] } } },
      { signal },
    );
    this.#nodes.store.noteWritten(written);
  }
}
