import { isOurs } from '../../allocation/identity.ts';
import { isBraked } from '../../allocation/orphans.ts';
import type { EniObservation } from '../../cloud/observer.ts';
import { FINALIZER_NETWORK_INTERFACE, LABEL_NODE } from '../../crds/names.ts';
import type { NetworkInterface } from '../../crds/network-interface.ts';
import type { Allocation, PodEni } from '../../crds/pod-eni.ts';
import { isAlreadyExists, isNotFound } from '../../kube/errors.ts';
import { patchObject } from '../../kube/patch.ts';
import { stateCondition } from '../conditions.ts';
import type { ControllerContext } from '../context.ts';
import { Operations } from '../operations.ts';
import { eniOwner } from '../owners.ts';
import { networkInterfaceResource, podEniResource } from '../resources.ts';

/** A mirror may wait: it must not take the API server's time from a pod that has no network yet. */
const BACKGROUND = { priority: 'background' } as const;
const RETRY_MS = 2000;
const RETRY_BRAKED_MS = 30_000;
/** A destructive call rests on an answer no older than this (I3). */
const FRESH_MS = 5000;

/**
 * Keeps one NetworkInterface per ENI of a pod: the mirror of the PodENI that upstream's tools and its control plane read.
 * One queue key is an ENI id. A mirror whose PodENI is gone keeps its finalizer until the ENI is gone as well, and sees to
 * that itself when the PodENI did not.
 */
export class NetworkInterfaceController {
  readonly #context: ControllerContext;
  readonly #operations: Operations;
  #braked = false;
  #countedMs = Number.NEGATIVE_INFINITY;

  constructor(context: ControllerContext, wake: (eniId: string) => void) {
    this.#context = context;
    this.#operations = new Operations({ clock: context.clock, signal: context.signal, wake });
  }

  /** Reconciles the mirror of one ENI. */
  async reconcile(eniId: string, signal: AbortSignal): Promise<{ requeueAfterMs?: number }> {
    const { informers, released } = this.#context;
    const mirror = informers.networkInterfaces.store.get(eniId);
    const [podEni] = informers.podEnis.store.byIndex('eni', eniId);
    if (podEni === undefined) {
      if (mirror === undefined) {
        released.delete(eniId);
        return {};
      }
      return this.#retire(mirror, signal);
    }
    const allocation = podEni.spec.allocations?.find(({ eni }) => eni.id === eniId);
    const phase = podEni.status?.phase ?? '';
    // Written after the bind: until then the PodENI alone tells, and the pod is not kept waiting.
    if (allocation === undefined || podEni.metadata.deletionTimestamp !== undefined) return {};
    if (phase !== 'Bind' && phase !== 'Unbind') return {};
    if (mirror?.metadata.deletionTimestamp !== undefined) {
      // Deleted by hand. The ENI belongs to the PodENI: the mirror goes, and its going brings a new one.
      await this.#remove(mirror, signal);
      return {};
    }
    await this.#mirror(mirror, podEni, allocation, signal);
    return {};
  }

  async #mirror(
    existing: NetworkInterface | undefined,
    podEni: PodEni,
    allocation: Allocation,
    signal: AbortSignal,
  ): Promise<void> {
    const { client, informers, clock } = this.#context;
    const { store } = informers.networkInterfaces;
    const options = { signal, ...BACKGROUND };
    let mirror = existing;
    const desired = mirrorOf(podEni, allocation);
    if (mirror === undefined) {
      mirror = await client
        .create(networkInterfaceResource, { metadata: desired.metadata, spec: desired.spec }, options)
        .catch(async (error: unknown) => {
          if (!isAlreadyExists(error)) throw error;
          return client.get(networkInterfaceResource, { name: desired.metadata.name }, options);
        });
      store.noteWritten(mirror);
    } else {
      mirror = await patchObject(
        client,
        networkInterfaceResource,
        mirror,
        (draft) => {
          draft.spec = { ...draft.spec, ...desired.spec };
          const { [LABEL_NODE]: _before, ...labels } = draft.metadata.labels ?? {};
          draft.metadata.labels = { ...labels, ...desired.metadata.labels };
        },
        options,
      );
      store.noteWritten(mirror);
    }
    const written = await patchObject(
      client,
      networkInterfaceResource,
      mirror,
      (draft) => {
        const conditions = stateCondition(
          draft.status?.conditions,
          draft,
          {
            type: 'Ready',
            status: desired.phase === 'Bind' ? 'True' : 'False',
            reason: desired.phase === 'Bind' ? 'Bound' : 'Reserved',
            message: `mirrors PodENI ${podEni.metadata.namespace}/${podEni.metadata.name}`,
          },
          clock.now(),
        );
        const { generation } = draft.metadata;
        const observed = generation === undefined ? {} : { observedGeneration: generation };
        draft.status = { ...draft.status, ...desired.status, ...observed, phase: desired.phase, conditions };
      },
      { ...options, subresource: 'status' },
    );
    store.noteWritten(written);
  }

  /** The PodENI is gone: so must be the ENI, then the mirror. */
  async #retire(mirror: NetworkInterface, signal: AbortSignal): Promise<{ requeueAfterMs?: number }> {
    const { released, observer } = this.#context;
    const eniId = mirror.metadata.name;
    if (!released.has(eniId)) {
      if (!(await this.#hasNoOwner(mirror, signal))) return { requeueAfterMs: RETRY_MS };
      const gone = this.#releaseEni(mirror, observer.latest(eniId));
      if (!gone) return { requeueAfterMs: this.#braked ? RETRY_BRAKED_MS : RETRY_MS };
    }
    await this.#remove(mirror, signal);
    released.delete(eniId);
    observer.forget(eniId);
    this.#operations.clear(eniId);
    return {};
  }

  /** A PodENI that the store does not show may have been written meanwhile. */
  async #hasNoOwner(mirror: NetworkInterface, signal: AbortSignal): Promise<boolean> {
    const { namespace, name } = mirror.spec.podENIRef ?? {};
    if (namespace === undefined || name === undefined) return true;
    try {
      const podEni = await this.#context.client.get(podEniResource, { namespace, name }, { signal });
      return !(podEni.spec.allocations ?? []).some(({ eni }) => eni.id === mirror.metadata.name);
    } catch (error) {
      if (isNotFound(error)) return true;
      throw error;
    }
  }

  /** One step towards an ENI that is gone. @returns true when the cloud shows that it is. */
  #releaseEni(mirror: NetworkInterface, observation: EniObservation | undefined): boolean {
    const { observer, clock, clusterId, cloud } = this.#context;
    const eniId = mirror.metadata.name;
    const operation = this.#operations.get(eniId);
    if (operation?.state === 'running') return false;
    if (
      observation === undefined ||
      clock.now() - observation.atMs > FRESH_MS ||
      (operation?.atMs ?? 0) > observation.atMs
    ) {
      observer.expect(eniId, 'read', eniOwner(eniId));
      return false;
    }
    const { eni } = observation;
    if (eni === undefined) return true;
    // Not ours to delete; the mirror has no reason to stay, though.
    if (!isOurs(eni.tags, clusterId)) return true;
    if (mirror.metadata.deletionTimestamp === undefined && this.#isBraked()) return false;
    const trunk = eni.trunkEniId === undefined ? {} : { trunkEniId: eni.trunkEniId };
    if (eni.status === 'InUse') {
      this.#operations.start({ id: eniId, owner: eniId, kind: 'detach', eniId }, (callSignal) =>
        cloud.detachEni({ eniId, instanceId: eni.instanceId ?? '', ...trunk }, callSignal),
      );
    } else if (eni.status === 'Available') {
      this.#operations.start({ id: eniId, owner: eniId, kind: 'delete', eniId }, (callSignal) =>
        cloud.deleteEni(eniId, callSignal),
      );
    } else {
      observer.expect(eniId, 'read', eniOwner(eniId));
    }
    return false;
  }

  /**
   * So many mirrors have lost their PodENIs that it is rather the cluster which has lost its memory (allocation/orphans.ts).
   * A mirror that somebody deletes is taken at that word.
   */
  #isBraked(): boolean {
    const { informers, released, clock, log } = this.#context;
    if (clock.now() < this.#countedMs + RETRY_MS) return this.#braked;
    this.#countedMs = clock.now();
    const mirrors = [...informers.networkInterfaces.store.values()];
    const bereft = mirrors.filter(({ metadata: { name, deletionTimestamp } }) => {
      if (deletionTimestamp !== undefined || released.has(name)) return false;
      return informers.podEnis.store.byIndex('eni', name).length === 0;
    });
    this.#braked = isBraked(bereft.length, mirrors.length);
    if (this.#braked) {
      log.error(
        { bereft: bereft.length, networkInterfaces: mirrors.length },
        'so many NetworkInterfaces have lost their PodENIs that the cluster may have lost its memory (etcd restored?); no ENI is released until they are deleted by hand',
      );
    }
    return this.#braked;
  }

  async #remove(mirror: NetworkInterface, signal: AbortSignal): Promise<void> {
    const { client, informers } = this.#context;
    const { store } = informers.networkInterfaces;
    const options = { signal, ...BACKGROUND };
    let current = mirror;
    try {
      if (mirror.metadata.deletionTimestamp === undefined) {
        const { uid } = mirror.metadata;
        const result = await client.delete(networkInterfaceResource, mirror.metadata, {
          ...options,
          preconditions: { uid },
        });
        if (result.state === 'gone') {
          store.noteDeleted(mirror.metadata.name, uid ?? '');
          return;
        }
        current = result.object;
      }
      await patchObject(
        client,
        networkInterfaceResource,
        current,
        (draft) => {
          draft.metadata.finalizers = (draft.metadata.finalizers ?? []).filter(
            (name) => name !== FINALIZER_NETWORK_INTERFACE,
          );
        },
        options,
      );
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    store.noteDeleted(mirror.metadata.name, mirror.metadata.uid ?? '');
  }
}

function mirrorOf(podEni: PodEni, allocation: Allocation) {
  const { namespace, name } = podEni.metadata;
  const { eni, ipv4, ipv6, ipv4CIDR, ipv6CIDR } = allocation;
  const info = podEni.status?.eniInfos?.[eni.id];
  const bound = podEni.status?.phase === 'Bind';
  const nodeName = podEni.spec.target?.nodeName ?? podEni.metadata.labels?.[LABEL_NODE] ?? '';
  return {
    metadata: {
      name: eni.id,
      finalizers: [FINALIZER_NETWORK_INTERFACE],
      ...(bound ? { labels: { [LABEL_NODE]: nodeName } } : {}),
    },
    spec: {
      eni,
      ...(ipv4 === undefined ? {} : { ipv4 }),
      ...(ipv6 === undefined ? {} : { ipv6 }),
      ...(ipv4CIDR === undefined ? {} : { ipv4CIDR }),
      ...(ipv6CIDR === undefined ? {} : { ipv6CIDR }),
      podENIRef: { kind: 'Pod', namespace, name },
    },
    phase: bound ? 'Bind' : 'Unbind',
    status: {
      instanceID: bound ? (podEni.status?.instanceID ?? '') : '',
      trunkENIID: bound ? (podEni.status?.trunkENIID ?? '') : '',
      nodeName: bound ? nodeName : '',
      ...(info === undefined ? {} : { eniInfo: info }),
    },
  };
}
