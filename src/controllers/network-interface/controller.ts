import { nextInterfaceStep } from '../../allocation/interface-step.ts';
import { isBraked } from '../../allocation/orphans.ts';
import type { EniObserver } from '../../cloud/observer.ts';
import type { Informers } from '../../cluster/informers.ts';
import { FINALIZER_NETWORK_INTERFACE, LABEL_NODE } from '../../crds/names.ts';
import { type NetworkInterface, networkInterfaceResource } from '../../crds/network-interface.ts';
import { type Allocation, type PodEni, podEniResource } from '../../crds/pod-eni.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { ReconcileResult } from '../../kube/controller.ts';
import { isAlreadyExists, isNotFound } from '../../kube/errors.ts';
import { patchObject } from '../../kube/patch.ts';
import type { Log } from '../../telemetry/log.ts';
import type { Clock } from '../../util/clock.ts';
import { stateCondition } from '../conditions.ts';
import type { EniDecision, EniDriver } from '../eni/driver.ts';
import { eniOwner } from '../owners.ts';
import { type Watch, watch } from '../watch.ts';

/** Mirrors can wait: they must not delay API calls for a pod that has no network yet. */
const BACKGROUND = { priority: 'background' } as const;
const RETRY_MS = 2000;
const RETRY_BRAKED_MS = 30_000;

export interface NetworkInterfaceContext {
  client: KubeClient;
  clock: Clock;
  clusterId: string;
  driver: EniDriver;
  log: Log;
  observer: EniObserver;
  /** ENIs that the cloud showed gone during the release of their PodENI; their mirrors may go. */
  released: Set<string>;
  informers: Pick<Informers, 'podEnis' | 'networkInterfaces'>;
}

/**
 * Keeps one NetworkInterface per pod ENI: a mirror of the PodENI that upstream's tools and control plane read. One
 * queue key is an ENI id. A mirror without a PodENI keeps its finalizer until the ENI is gone, and releases the ENI
 * itself if the PodENI did not.
 */
export class NetworkInterfaceController {
  readonly #context: NetworkInterfaceContext;
  #braked = false;
  #countedMs = Number.NEGATIVE_INFINITY;

  constructor(context: NetworkInterfaceContext) {
    this.#context = context;
  }

  /** Mirrors, and the parts of PodENIs that they copy. */
  watches(): Watch[] {
    const { podEnis, networkInterfaces } = this.#context.informers;
    const isBereft = (eniId: string) => podEnis.store.byIndex('eni', eniId).length === 0;
    return [
      watch(podEnis, {
        added: eniIdsOf,
        changed: (before, podEni) => (mirroredPart(before) === mirroredPart(podEni) ? [] : eniIdsOf(podEni)),
        removed: eniIdsOf,
      }),
      watch(networkInterfaces, {
        // Our own creation comes from a reconcile that continues anyway, unless its response is lost.
        added: ({ metadata }, origin) => (origin === 'list' || isBereft(metadata.name) ? [metadata.name] : []),
        changed: (_, { metadata }, origin) => (origin === 'write' ? [] : [metadata.name]),
        removed: ({ metadata }) => [metadata.name],
      }),
    ];
  }

  async reconcile(eniId: string, signal: AbortSignal): Promise<ReconcileResult> {
    const { informers } = this.#context;
    const mirror = informers.networkInterfaces.store.get(eniId);
    const [podEni] = informers.podEnis.store.byIndex('eni', eniId);
    if (podEni === undefined) {
      if (mirror !== undefined) return this.#retire(mirror, signal);
      // Its removal may have been our own, without an answer.
      this.#forget(eniId);
      return {};
    }
    const allocation = podEni.spec.allocations?.find(({ eni }) => eni.id === eniId);
    const phase = podEni.status?.phase ?? '';
    // Written only after the bind, so that the pod does not wait for it.
    if (allocation === undefined || podEni.metadata.deletionTimestamp !== undefined) return {};
    if (phase !== 'Bind' && phase !== 'Unbind') return {};
    if (mirror?.metadata.deletionTimestamp !== undefined) {
      // Deleted by hand. The ENI belongs to the PodENI, so the mirror goes, and its deletion triggers a new one.
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

  /** The PodENI is gone: releases the ENI, then the mirror. */
  async #retire(mirror: NetworkInterface, signal: AbortSignal): Promise<ReconcileResult> {
    const { released } = this.#context;
    const eniId = mirror.metadata.name;
    if (!released.has(eniId)) {
      if (!(await this.#hasNoOwner(mirror, signal))) return { requeueAfterMs: RETRY_MS };
      const next = await this.#releaseEni(mirror);
      if (next !== 'gone') return next;
    }
    await this.#remove(mirror, signal);
    this.#forget(eniId);
    return {};
  }

  /** There is neither a PodENI nor a mirror any more. */
  #forget(eniId: string): void {
    const { released, driver } = this.#context;
    released.delete(eniId);
    const owner = eniOwner(eniId);
    driver.forget(owner, { id: eniId, owner });
  }

  /** A PodENI that is missing from the store may have been written in the meantime. */
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

  /**
   * One step towards releasing the ENI.
   *
   * @returns `gone` when the cloud shows that it is. While a call or the cloud is awaited, news of it wakes the mirror.
   */
  async #releaseEni(mirror: NetworkInterface): Promise<'gone' | ReconcileResult> {
    const { driver, clock } = this.#context;
    const eniId = mirror.metadata.name;
    const decision = this.#decide(eniId);
    if (decision === undefined) return { requeueAfterMs: this.#braked ? RETRY_BRAKED_MS : RETRY_MS };
    const id = eniOwner(eniId);
    let next: 'gone' | ReconcileResult = {};
    const become = (result: typeof next) => {
      next = result;
      return {};
    };
    await driver.perform({ id, owner: id, eniId, decide: () => this.#decide(eniId) }, decision, {
      record: async () => ({}),
      newAttempt: async () => ({}),
      inProgress: () => ({}),
      pause: async ({ untilMs }) => become({ requeueAfterMs: Math.max(1, untilMs - clock.now()) }),
      // Not ours to delete, and no reason to keep the mirror.
      blocked: async ({ reason }) => become(reason === 'EniNotOurs' ? 'gone' : { requeueAfterMs: RETRY_MS }),
      done: () => become('gone'),
    });
    return next;
  }

  /** Decides from the stores; undefined when a PodENI names the ENI, or nothing may be released now. */
  #decide(eniId: string): EniDecision | undefined {
    const { informers, observer, driver, clusterId, clock } = this.#context;
    const mirror = informers.networkInterfaces.store.get(eniId);
    if (mirror === undefined || informers.podEnis.store.byIndex('eni', eniId).length > 0) return undefined;
    const observation = observer.latest(eniId);
    const operation = driver.operation(eniOwner(eniId));
    const view = {
      allocation: { eni: { id: eniId } },
      fixed: false,
      bound: false,
      ...(observation === undefined ? {} : { observation }),
      ...(operation === undefined ? {} : { operation }),
    };
    const step = nextInterfaceStep('release', view, clusterId, clock.now());
    const takesAway = step.do === 'detach' || step.do === 'delete';
    if (takesAway && mirror.metadata.deletionTimestamp === undefined && this.#isBraked()) return undefined;
    return { step, callClass: 'release' };
  }

  /**
   * Implausibly many mirrors have lost their PodENIs: suspect our own data (allocation/orphans.ts). A mirror that
   * someone deleted explicitly is released nevertheless.
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
        'implausibly many NetworkInterfaces have lost their PodENIs (was etcd restored from a backup?); no ENI is released until the NetworkInterfaces are deleted by hand',
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

function eniIdsOf({ spec }: PodEni): string[] {
  return (spec.allocations ?? []).map(({ eni }) => eni.id).filter((id) => id !== '');
}

/** Fields of a PodENI that its mirrors copy. */
function mirroredPart({ spec, status }: PodEni): string {
  const { phase, instanceID, trunkENIID, eniInfos } = status ?? {};
  const groups = spec.allocations?.map(({ eni }) => eni.securityGroupIDs);
  return JSON.stringify([spec.target?.nodeName, phase, instanceID, trunkENIID, eniInfos, groups]);
}
