import { targetOf } from '../allocation/lifecycle.ts';
import { ENI_CONFIG } from '../config/eni-config.ts';
import type { NetworkInterface } from '../crds/network-interface.ts';
import { networkInterfaceResource } from '../crds/network-interface.ts';
import type { TerwayNode } from '../crds/node.ts';
import { terwayNodeResource } from '../crds/node.ts';
import type { NodeRuntime } from '../crds/node-runtime.ts';
import { nodeRuntimeResource } from '../crds/node-runtime.ts';
import type { PodEni } from '../crds/pod-eni.ts';
import { podEniResource } from '../crds/pod-eni.ts';
import type { PodNetworking } from '../crds/pod-networking.ts';
import { podNetworkingResource } from '../crds/pod-networking.ts';
import type { KubeClient } from '../kube/client.ts';
import { Informer } from '../kube/informer.ts';
import { NamedInformers } from '../kube/named-informers.ts';
import type { HasMetadata, Resource } from '../kube/types.ts';
import type { Clock } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';
import type { Random } from '../util/random.ts';
import { NETWORKING_INDEXERS } from './networking-lookup.ts';
import type { ConfigMap, CoreNode, Namespace, Pod } from './resources.ts';
import { configMapResource, coreNodeResource, namespaceResource, podResource } from './resources.ts';

/** The stores that the control plane reads. They run on every replica, so that a new leader starts with warm stores. */
export interface Informers {
  pods: Informer<Pod>;
  coreNodes: Informer<CoreNode>;
  namespaces: Informer<Namespace>;
  /** `eni-config`, and the ConfigMaps that node labels may name. */
  configMaps: NamedInformers<ConfigMap>;
  podNetworkings: Informer<PodNetworking>;
  podEnis: Informer<PodEni>;
  networkInterfaces: Informer<NetworkInterface>;
  nodes: Informer<TerwayNode>;
  nodeRuntimes: Informer<NodeRuntime>;
}

/** A store without news from the API server for longer than this is stale. */
const STALE_MS = 180_000;

/**
 * Builds the informers of every kind that the controllers read, without starting them.
 *
 * @param options.nodeConfigMaps ConfigMaps besides `eni-config` that node labels may name
 * @param options.onError is called with the plural of the kind and each error that is being retried.
 */
export function createInformers(options: {
  client: KubeClient;
  clock: Clock;
  random: Random;
  nodeConfigMaps: readonly string[];
  onError: (plural: string, error: unknown) => void;
}): Informers {
  const { client, clock, random } = options;
  const base = <T extends HasMetadata>(resource: Resource<T>) => ({
    client,
    clock,
    random,
    resource,
    onError: (error: unknown) => options.onError(nameOf(resource), error),
  });
  return {
    pods: new Informer({
      ...base(podResource),
      transform: (object) => trimAnnotations(object),
      indexers: { node: ({ spec }) => (spec.nodeName === '' ? [] : [spec.nodeName]) },
    }),
    coreNodes: new Informer({ ...base(coreNodeResource), transform: (object) => trimAnnotations(object) }),
    namespaces: new Informer({
      ...base(namespaceResource),
      transform: (object) => trimAnnotations(object),
    }),
    configMaps: new NamedInformers(
      [ENI_CONFIG.name, ...options.nodeConfigMaps],
      (name) =>
        new Informer({
          ...base(configMapResource),
          namespace: ENI_CONFIG.namespace,
          fieldSelector: `metadata.name=${name}`,
        }),
    ),
    podNetworkings: new Informer({ ...base(podNetworkingResource), indexers: NETWORKING_INDEXERS }),
    podEnis: new Informer({
      ...base(podEniResource),
      indexers: {
        eni: (podEni) => (podEni.spec.allocations ?? []).map(({ eni }) => eni.id).filter((id) => id !== ''),
        trunk: (podEni) => {
          // A reserved address keeps its last target but uses no trunk.
          const trunk = podEni.status?.phase === 'Unbind' ? undefined : targetOf(podEni)?.trunkENIID;
          return trunk === undefined ? [] : [trunk];
        },
        node: ({ spec }) => (spec.target === undefined ? [] : [spec.target.nodeName]),
        networking: (podEni) =>
          (podEni.spec.allocations ?? []).flatMap(({ intent }) =>
            intent?.networking === undefined ? [] : [intent.networking],
          ),
      },
    }),
    networkInterfaces: new Informer({ ...base(networkInterfaceResource) }),
    nodes: new Informer({
      ...base(terwayNodeResource),
      indexers: {
        instance: (node) => [node.spec.nodeMetadata?.instanceID ?? ''].filter((id) => id !== ''),
      },
    }),
    nodeRuntimes: new Informer({ ...base(nodeRuntimeResource) }),
  };
}

/** Runs all informers until the signal aborts. */
export async function runInformers(informers: Informers, signal: AbortSignal): Promise<void> {
  await Promise.all(
    Object.values(informers).map((informer: { run(signal: AbortSignal): Promise<void> }) => informer.run(signal)),
  );
}

/** Resolves when every store has synced. */
export async function informersSynced(informers: Informers, signal: AbortSignal): Promise<void> {
  await Promise.all(
    Object.values(informers).map((informer: { synced(signal: AbortSignal): Promise<void> }) => informer.synced(signal)),
  );
}

/** For each store, the time since the API server was last heard; milliseconds. */
export function storeAges(informers: Informers): { store: string; staleMs: number }[] {
  return Object.entries(informers).map(([key, { staleForMs }]: [string, { staleForMs: number }]) => ({
    store: STORE_NAMES[key] ?? key,
    staleMs: staleForMs,
  }));
}

/** Number of our objects on the server that could not be parsed. */
export function unreadableObjects(informers: Informers): number {
  const { podNetworkings, podEnis, networkInterfaces, nodes, nodeRuntimes } = informers;
  const stores = [podNetworkings.store, podEnis.store, networkInterfaces.store, nodes.store, nodeRuntimes.store];
  return stores.reduce((sum, { unreadableKeys }) => sum + unreadableKeys.size, 0);
}

/** Why the stores are unreliable, for readiness. */
export class StoreHealth {
  readonly #lastErrors = new Map<string, string>();

  /** Records an error that {@link createInformers} reported. */
  note(plural: string, error: unknown): void {
    this.#lastErrors.set(plural, errorMessage(error));
  }

  /** @returns one line, or undefined when every store is current. */
  problem(informers: Informers): string | undefined {
    for (const [key, informer] of Object.entries(informers)) {
      const { hasSynced, staleForMs }: { hasSynced: boolean; staleForMs: number } = informer;
      const name = STORE_NAMES[key] ?? key;
      const error = this.#lastErrors.get(name);
      const because = error === undefined ? '' : `: ${error}`;
      if (!hasSynced) return `the store of ${name} has not synced yet${because}`;
      if (staleForMs > STALE_MS) {
        return `the store of ${name} has heard nothing for ${Math.round(staleForMs / 1000)} s${because}`;
      }
    }
    return undefined;
  }
}

function nameOf({ group, plural }: { group: string; plural: string }): string {
  return group === '' ? plural : `${plural}.${group}`;
}

const STORE_NAMES: Record<string, string> = {
  pods: nameOf(podResource),
  coreNodes: nameOf(coreNodeResource),
  namespaces: nameOf(namespaceResource),
  configMaps: nameOf(configMapResource),
  podNetworkings: nameOf(podNetworkingResource),
  podEnis: nameOf(podEniResource),
  networkInterfaces: nameOf(networkInterfaceResource),
  nodes: nameOf(terwayNodeResource),
  nodeRuntimes: nameOf(nodeRuntimeResource),
} satisfies Record<keyof Informers, string>;

/** Annotations that are kept; others can be large. Merge patches of differences leave those unchanged. */
const ANNOTATION_PREFIX = 'k8s.aliyun.com/';

function trimAnnotations<T extends HasMetadata>(object: T): T {
  const { annotations } = object.metadata;
  if (annotations !== undefined) {
    object.metadata.annotations = Object.fromEntries(
      Object.entries(annotations).filter(([name]) => name.startsWith(ANNOTATION_PREFIX)),
    );
  }
  return object;
}
