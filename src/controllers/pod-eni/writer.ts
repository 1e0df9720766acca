import { ANNOTATION_POD_UID, FINALIZER_POD_ENI, FINALIZER_POD_ENI_LEGACY, LABEL_NODE } from '../../crds/names.ts';
import {
  type Allocation,
  type AttachTarget,
  type PodEni,
  type PodEniStatus,
  podEniResource,
} from '../../crds/pod-eni.ts';
import type { Reason } from '../../crds/reasons/catalogue.ts';
import type { Eni } from '../../ecs/eni.ts';
import type { KubeClient } from '../../kube/client.ts';
import { jsonEqual, patchObject } from '../../kube/patch.ts';
import type { Store } from '../../kube/store.ts';
import { keyOf } from '../../kube/types.ts';
import { type Clock, rfc3339 } from '../../util/clock.ts';
import { type StatedCondition, stateCondition } from '../conditions.ts';
import { joinOperations, type OperationLog } from './operation-log.ts';

/**
 * Every write of a PodENI. Each carries the resourceVersion that the decision was based on, so that a decision on a
 * stale record, or by a replaced leader, is refused (409). The response goes into the store at once.
 */
export class PodEniWriter {
  readonly #client: KubeClient;
  readonly #store: Store<PodEni>;
  readonly #clock: Clock;
  readonly #operations: OperationLog;

  /** @param options.operations are added to each status that is written. */
  constructor(options: { client: KubeClient; store: Store<PodEni>; clock: Clock; operations: OperationLog }) {
    this.#client = options.client;
    this.#store = options.store;
    this.#clock = options.clock;
    this.#operations = options.operations;
  }

  /** Persists a plan. @throws KubeApiError */
  async create(podEni: PodEni, signal: AbortSignal): Promise<void> {
    this.#store.noteWritten(await this.#client.create(podEniResource, podEni, { signal }));
  }

  /** Persists the ENI that was created for an allocation. */
  async record(podEni: PodEni, index: number, eni: Eni, signal: AbortSignal): Promise<void> {
    await this.#patch(podEni, signal, (draft) => {
      const allocation = draft.spec.allocations?.[index];
      if (allocation === undefined) return;
      allocation.ipv4 = eni.primaryIp;
      const [ipv6] = eni.ipv6;
      if (ipv6 !== undefined) allocation.ipv6 = ipv6;
      allocation.eni = {
        ...allocation.eni,
        id: eni.id,
        mac: eni.macAddress,
        vpcID: eni.vpcId,
        zone: eni.zoneId,
        ...(eni.resourceGroupId === '' ? {} : { resourceGroupID: eni.resourceGroupId }),
      };
    });
  }

  /** Persists a new attempt. */
  async replaceAllocation(podEni: PodEni, index: number, allocation: Allocation, signal: AbortSignal): Promise<void> {
    await this.#patch(podEni, signal, (draft) => {
      draft.spec.allocations = (draft.spec.allocations ?? []).map((before, at) => (at === index ? allocation : before));
    });
  }

  /**
   * Gives the record to a pod: uid, node label, target and allocations in one write.
   *
   * @param allocations the record's own, or with other security groups.
   */
  async rebind(
    podEni: PodEni,
    podUid: string,
    target: AttachTarget,
    allocations: Allocation[] | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#patch(podEni, signal, (draft) => {
      draft.spec.allocations = allocations;
      draft.metadata.annotations = { ...draft.metadata.annotations, [ANNOTATION_POD_UID]: podUid };
      draft.metadata.labels = { ...draft.metadata.labels, [LABEL_NODE]: target.nodeName };
      draft.spec.target = target;
    });
  }

  /** Persists other security groups for a running pod, at background priority because no pod waits for it. */
  async applySecurityGroups(podEni: PodEni, allocations: Allocation[], signal: AbortSignal): Promise<void> {
    const mutate = (draft: PodEni) => {
      draft.spec.allocations = allocations;
    };
    const options = { signal, priority: 'background' } as const;
    this.#store.noteWritten(await patchObject(this.#client, podEniResource, podEni, mutate, options));
  }

  /** The interfaces will be detached and kept; the retention of a fixed address starts now. */
  async detaching(podEni: PodEni, signal: AbortSignal): Promise<void> {
    await this.#onTheWay(podEni, 'Detaching', 'the pod is gone; its interface is being detached and kept', signal);
  }

  /** The interfaces will be attached for a pod that came back. */
  async binding(podEni: PodEni, signal: AbortSignal): Promise<void> {
    const message = `the interface is being attached to node ${podEni.spec.target?.nodeName}`;
    await this.#onTheWay(podEni, 'Binding', message, signal);
  }

  /** The last pod of a reserved name is gone. */
  async podVanished(podEni: PodEni, signal: AbortSignal): Promise<void> {
    await this.#patchStatus(podEni, signal, (status) => {
      status.podLastSeen = rfc3339(this.#clock.now());
    });
  }

  /** Everything is attached: the phase that a node daemon waits for. */
  async bind(podEni: PodEni, enis: Eni[], options: { fixed: boolean }, signal: AbortSignal): Promise<void> {
    await this.#patchStatus(podEni, signal, (status) => {
      const [first] = enis;
      status.phase = 'Bind';
      if (first?.instanceId !== undefined) status.instanceID = first.instanceId;
      if (first?.trunkEniId !== undefined) status.trunkENIID = first.trunkEniId;
      if (options.fixed) status.podLastSeen = rfc3339(this.#clock.now());
      status.msg = '';
      status.eniInfos = Object.fromEntries(
        enis.map((eni) => [
          eni.id,
          {
            id: eni.id,
            type: eni.trunkEniId === undefined ? 'Secondary' : 'Member',
            status: 'Bind',
            ...(eni.vlanId === undefined ? {} : { vid: eni.vlanId }),
          },
        ]),
      );
      this.#setReady(status, podEni, { status: 'True', reason: 'Bound', message: boundMessage(enis) });
    });
  }

  /** Everything is detached; the interfaces are kept. */
  async unbind(podEni: PodEni, signal: AbortSignal): Promise<void> {
    await this.#patchStatus(podEni, signal, (status) => {
      status.phase = 'Unbind';
      status.instanceID = '';
      status.trunkENIID = '';
      for (const info of Object.values(status.eniInfos ?? {})) {
        info.status = 'Unbind';
        delete info.vid;
      }
      this.#setReady(status, podEni, {
        status: 'False',
        reason: 'Reserved',
        message: 'the address is kept for the next pod of this name',
      });
    });
  }

  async notReady(podEni: PodEni, reason: Reason, message: string, signal: AbortSignal): Promise<void> {
    await this.#patchStatus(podEni, signal, (status) => {
      status.msg = message;
      this.#setReady(status, podEni, { status: 'False', reason, message });
    });
  }

  /** Deletes the object; its finalizer keeps it until the cloud resources are gone. */
  async deleteObject(podEni: PodEni, signal: AbortSignal): Promise<void> {
    const { uid, resourceVersion } = podEni.metadata;
    const result = await this.#client.delete(podEniResource, podEni.metadata, {
      preconditions: { uid, resourceVersion },
      signal,
    });
    if (result.state === 'deleting') this.#store.noteWritten(result.object);
    else this.#store.noteDeleted(keyOf(podEni.metadata), uid ?? '');
  }

  /** Lets the object go; a foreign finalizer may keep it for a while. */
  async removeFinalizers(podEni: PodEni, signal: AbortSignal): Promise<void> {
    const written = await patchObject(
      this.#client,
      podEniResource,
      podEni,
      (draft) => {
        draft.metadata.finalizers = (draft.metadata.finalizers ?? []).filter(
          (name) => name !== FINALIZER_POD_ENI && name !== FINALIZER_POD_ENI_LEGACY,
        );
      },
      { signal },
    );
    if ((written.metadata.finalizers ?? []).length > 0) this.#store.noteWritten(written);
    else this.#store.noteDeleted(keyOf(podEni.metadata), podEni.metadata.uid ?? '');
  }

  async #onTheWay(podEni: PodEni, phase: 'Detaching' | 'Binding', message: string, signal: AbortSignal): Promise<void> {
    await this.#patchStatus(podEni, signal, (status) => {
      status.phase = phase;
      status.podLastSeen = rfc3339(this.#clock.now());
      this.#setReady(status, podEni, { status: 'False', reason: phase, message });
    });
  }

  async #patch(podEni: PodEni, signal: AbortSignal, mutate: (draft: PodEni) => void): Promise<void> {
    this.#store.noteWritten(await patchObject(this.#client, podEniResource, podEni, mutate, { signal }));
  }

  async #patchStatus(podEni: PodEni, signal: AbortSignal, mutate: (status: PodEniStatus) => void): Promise<void> {
    const key = keyOf(podEni.metadata);
    const pending = this.#operations.pending(key);
    const written = await patchObject(
      this.#client,
      podEniResource,
      podEni,
      (draft) => {
        draft.status ??= {};
        mutate(draft.status);
        // Operations alone are not worth a write.
        if (jsonEqual(podEni.status, draft.status) || pending.length === 0) return;
        draft.status.operations = joinOperations(draft.status.operations, pending);
      },
      { subresource: 'status', signal },
    );
    if (written !== podEni) this.#operations.written(key, pending);
    this.#store.noteWritten(written);
  }

  #setReady(status: PodEniStatus, podEni: PodEni, condition: Omit<StatedCondition, 'type'>): void {
    const { generation } = podEni.metadata;
    // While a record is rewritten and the cloud does not agree yet, a stale observedGeneration shows it
    // (allocation/lifecycle.ts).
    const isSettled = status.phase !== 'Bind' || condition.status === 'True';
    if (generation !== undefined && isSettled) status.observedGeneration = generation;
    status.conditions = stateCondition(status.conditions, podEni, { type: 'Ready', ...condition }, this.#clock.now());
  }
}

function boundMessage(enis: Eni[]): string {
  return enis
    .map((eni) =>
      eni.trunkEniId === undefined
        ? `${eni.id} is attached to ${eni.instanceId}`
        : `${eni.id} is a member of trunk ${eni.trunkEniId} with VLAN id ${eni.vlanId}`,
    )
    .join('; ');
}
