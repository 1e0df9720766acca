import { isExclusive } from '../../allocation/node-mode.ts';
import { attachedRecord } from '../../allocation/pool/news.ts';
import type { TrunkIntent } from '../../allocation/trunk.ts';
import type { NodeEniConfig } from '../../cluster/eni-configs.ts';
import type { Informers } from '../../cluster/informers.ts';
import type { NodeIdentity } from '../../cluster/node-view.ts';
import type { CoreNode } from '../../cluster/resources.ts';
import { ANNOTATION_TRUNK_INTENT, FINALIZER_NODE, LABEL_EXCLUSIVE_MODE } from '../../crds/names.ts';
import { type NodeCap, type TerwayNode, terwayNodeResource } from '../../crds/node.ts';
import type { Reason } from '../../crds/reasons/catalogue.ts';
import type { Eni } from '../../ecs/eni.ts';
import type { KubeClient } from '../../kube/client.ts';
import { findCondition } from '../../kube/conditions.ts';
import { isNotFound } from '../../kube/errors.ts';
import { patchObject } from '../../kube/patch.ts';
import type { Clock } from '../../util/clock.ts';
import { withoutNewRequestId } from '../../util/same-failure.ts';
import { stateCondition } from '../conditions.ts';

/** Writes of the node controller in a Node CR. */
export class NodeWriter {
  readonly #client: KubeClient;
  readonly #informers: Pick<Informers, 'nodes'>;
  readonly #clock: Clock;

  constructor(options: { client: KubeClient; informers: Pick<Informers, 'nodes'>; clock: Clock }) {
    this.#client = options.client;
    this.#informers = options.informers;
    this.#clock = options.clock;
  }

  /** Creates the Node CR or updates its metadata and capacity. */
  async describe(
    core: CoreNode,
    node: TerwayNode | undefined,
    identity: NodeIdentity,
    nodeCap: NodeCap,
    signal: AbortSignal,
  ): Promise<void> {
    const { name, uid } = core.metadata;
    const nodeMetadata = {
      regionID: identity.regionId,
      instanceType: identity.instanceType,
      instanceID: identity.instanceId,
      zoneID: identity.zoneId,
    };
    const owner = { apiVersion: 'v1', kind: 'Node', name, uid: uid ?? '', controller: true };
    if (node === undefined) {
      const created = await this.#client.create(
        terwayNodeResource,
        {
          metadata: {
            name,
            labels: { name, ...modeLabel(core, node) },
            finalizers: [FINALIZER_NODE],
            ownerReferences: [owner],
          },
          spec: { nodeMetadata, nodeCap },
        },
        { signal },
      );
      this.#informers.nodes.store.noteWritten(created);
      return;
    }
    await this.#patch(node, signal, (draft) => {
      draft.spec.nodeMetadata = nodeMetadata;
      draft.spec.nodeCap = { ...draft.spec.nodeCap, ...nodeCap };
      draft.metadata.labels = { ...draft.metadata.labels, name, ...modeLabel(core, node) };
      draft.metadata.finalizers = [...new Set([...(draft.metadata.finalizers ?? []), FINALIZER_NODE])];
      draft.metadata.ownerReferences = [owner];
    });
  }

  /**
   * The name belongs to another instance now. The trunk record goes first, so that an interrupted change is detected
   * again.
   */
  async forgetTrunk(node: TerwayNode, reason: Reason, message: string, signal: AbortSignal): Promise<TerwayNode> {
    await this.#patchStatus(node, signal, (status) => {
      const others = Object.entries(status.networkInterfaces ?? {}).filter(
        ([, known]) => known.networkInterfaceType !== 'Trunk',
      );
      status.networkInterfaces = Object.fromEntries(others);
      this.#trunkReady(node, status, 'False', reason, message);
    });
    return this.#informers.nodes.store.get(node.metadata.name) ?? node;
  }

  /** Drops the intent of a trunk on another instance. */
  async dropIntent(node: TerwayNode, signal: AbortSignal): Promise<TerwayNode> {
    await this.#patch(node, signal, (draft) => {
      const { [ANNOTATION_TRUNK_INTENT]: _dropped, ...kept } = draft.metadata.annotations ?? {};
      draft.metadata.annotations = kept;
    });
    return this.#informers.nodes.store.get(node.metadata.name) ?? node;
  }

  async intent(node: TerwayNode, intent: TrunkIntent, signal: AbortSignal): Promise<void> {
    await this.#patch(node, signal, (draft) => {
      draft.metadata.annotations = {
        ...draft.metadata.annotations,
        [ANNOTATION_TRUNK_INTENT]: JSON.stringify(intent),
      };
    });
  }

  /** Records the attached trunk where upstream's daemon reads it. */
  async attached(
    node: TerwayNode,
    eni: Eni,
    cidrs: { ipv4: string; ipv6: string },
    signal: AbortSignal,
  ): Promise<void> {
    await this.#patchStatus(node, signal, (status) => {
      const known = status.networkInterfaces ?? {};
      // Another trunk is gone: an instance has only one.
      const others = Object.entries(known).filter(
        ([id, { networkInterfaceType }]) => id !== eni.id && networkInterfaceType !== 'Trunk',
      );
      status.networkInterfaces = {
        ...Object.fromEntries(others),
        [eni.id]: attachedRecord(known[eni.id], eni, cidrs),
      };
      this.#trunkReady(node, status, 'True', 'Attached', `trunk ${eni.id} is attached`);
    });
  }

  /**
   * Reports whether the ConfigMap named by the node's label is in force; a node that never had the label gets no
   * condition.
   *
   * @returns whether that was written
   */
  async configuration(
    node: TerwayNode,
    { isOwn, source, problem }: Pick<NodeEniConfig, 'isOwn' | 'source' | 'problem'>,
    signal: AbortSignal,
  ): Promise<boolean> {
    const type = 'ConfigurationValid';
    if (!isOwn && findCondition(node.status?.conditions, type) === undefined) return false;
    return this.#patchStatus(node, signal, (status) => {
      const stated =
        problem === undefined
          ? ({ status: 'True', reason: 'ConfigurationInForce', message: `${source} is in force` } as const)
          : ({ status: 'False', reason: 'ConfigError', message: problem } as const);
      status.conditions = stateCondition(status.conditions, node, { type, ...stated }, this.#clock.now());
    });
  }

  /** Reports why the node has no trunk. @returns whether that was written */
  async condition(node: TerwayNode, reason: Reason, message: string, signal: AbortSignal): Promise<boolean> {
    return this.#patchStatus(node, signal, (status) => {
      const before = status.conditions?.find(({ type }) => type === 'TrunkReady');
      const words = withoutNewRequestId(before?.message, message);
      this.#trunkReady(node, status, 'False', reason, words);
    });
  }

  /** Reports that the recorded trunk is attached, even one that a node daemon recorded; writes only changes. */
  async ready(node: TerwayNode, trunkEniId: string, signal: AbortSignal): Promise<void> {
    await this.#patchStatus(node, signal, (status) => {
      this.#trunkReady(node, status, 'True', 'Attached', `trunk ${trunkEniId} is attached`);
    });
  }

  async deleteObject(node: TerwayNode, signal: AbortSignal): Promise<void> {
    const { uid, resourceVersion } = node.metadata;
    const { store } = this.#informers.nodes;
    const preconditions = { uid, resourceVersion };
    try {
      const result = await this.#client.delete(terwayNodeResource, node.metadata, { preconditions, signal });
      if (result.state === 'deleting') store.noteWritten(result.object);
      else store.noteDeleted(node.metadata.name, uid ?? '');
    } catch (error) {
      if (!isNotFound(error)) throw error;
      store.noteDeleted(node.metadata.name, uid ?? '');
    }
  }

  async removeFinalizer(node: TerwayNode, signal: AbortSignal): Promise<void> {
    await patchObject(
      this.#client,
      terwayNodeResource,
      node,
      (draft) => {
        draft.metadata.finalizers = (draft.metadata.finalizers ?? []).filter((name) => name !== FINALIZER_NODE);
      },
      { signal },
    );
    this.#informers.nodes.store.noteDeleted(node.metadata.name, node.metadata.uid ?? '');
  }

  async #patch(node: TerwayNode, signal: AbortSignal, mutate: (draft: TerwayNode) => void): Promise<void> {
    this.#informers.nodes.store.noteWritten(
      await patchObject(this.#client, terwayNodeResource, node, mutate, { signal }),
    );
  }

  /** @returns whether there was anything to write. */
  async #patchStatus(
    node: TerwayNode,
    signal: AbortSignal,
    mutate: (status: NonNullable<TerwayNode['status']>) => void,
  ): Promise<boolean> {
    const written = await patchObject(
      this.#client,
      terwayNodeResource,
      node,
      (draft) => {
        draft.status ??= {};
        mutate(draft.status);
      },
      { signal, subresource: 'status' },
    );
    this.#informers.nodes.store.noteWritten(written);
    return written !== node;
  }

  /** The node is Ready when pods can get interfaces: through its trunk, or without one in exclusive mode. */
  #trunkReady(
    node: TerwayNode,
    status: NonNullable<TerwayNode['status']>,
    trunkReady: 'True' | 'False',
    reason: Reason,
    message: string,
  ): void {
    const { generation } = node.metadata;
    if (generation !== undefined) status.observedGeneration = generation;
    const nowMs = this.#clock.now();
    const ready = reason === 'ExclusiveMode' ? 'True' : trunkReady;
    const trunk = { type: 'TrunkReady', status: trunkReady, reason, message };
    status.conditions = stateCondition(status.conditions, node, trunk, nowMs);
    status.conditions = stateCondition(status.conditions, node, { ...trunk, type: 'Ready', status: ready }, nowMs);
  }
}

/**
 * The mode of a node is set when the node is first seen and then stays, because ENIs of the other kind may be in use.
 */
function modeLabel(core: CoreNode, node: TerwayNode | undefined): Record<string, string> {
  const known = node?.metadata.labels?.[LABEL_EXCLUSIVE_MODE];
  return { [LABEL_EXCLUSIVE_MODE]: known ?? (isExclusive(core.metadata.labels) ? 'eniOnly' : 'default') };
}
