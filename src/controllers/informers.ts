import { targetOf } from '../allocation/lifecycle.ts';
import { parseTrunkIntent } from '../allocation/trunk.ts';
import { ENI_CONFIG } from '../config/eni-config.ts';
import { ANNOTATION_TRUNK_INTENT } from '../crds/names.ts';
import type { KubeClient } from '../kube/client.ts';
import { Informer } from '../kube/informer.ts';
import type { HasMetadata } from '../kube/types.ts';
import type { Clock } from '../util/clock.ts';
import type { Random } from '../util/random.ts';
import type { Informers } from './context.ts';
import {
  configMapResource,
  coreNodeResource,
  namespaceResource,
  networkInterfaceResource,
  podEniResource,
  podNetworkingResource,
  podResource,
  terwayNodeResource,
} from './resources.ts';

/** Beyond this the API server has been silent for too long. */
const STALE_MS = 180_000;

/** Builds the informers of every kind that the controllers read; nothing runs yet. */
export function createInformers(options: {
  client: KubeClient;
  clock: Clock;
  random: Random;
  onError: (error: unknown) => void;
}): Informers {
  return {
    pods: new Informer({ ...options, resource: podResource, transform: (object) => trimAnnotations(object) }),
    coreNodes: new Informer({ ...options, resource: coreNodeResource, transform: (object) => trimAnnotations(object) }),
    namespaces: new Informer({
      ...options,
      resource: namespaceResource,
      transform: (object) => trimAnnotations(object),
    }),
    configMaps: new Informer({
      ...options,
      resource: configMapResource,
      namespace: ENI_CONFIG.namespace,
      fieldSelector: `metadata.name=${ENI_CONFIG.name}`,
    }),
    podNetworkings: new Informer({ ...options, resource: podNetworkingResource }),
    podEnis: new Informer({
      ...options,
      resource: podEniResource,
      indexers: {
        eni: (podEni) => (podEni.spec.allocations ?? []).map(({ eni }) => eni.id).filter((id) => id !== ''),
        trunk: (podEni) => {
          const trunk = targetOf(podEni)?.trunkENIID;
          return trunk === undefined ? [] : [trunk];
        },
        networking: (podEni) =>
          (podEni.spec.allocations ?? []).flatMap(({ intent }) =>
            intent?.networking === undefined ? [] : [intent.networking],
          ),
      },
    }),
    networkInterfaces: new Informer({ ...options, resource: networkInterfaceResource }),
    nodes: new Informer({
      ...options,
      resource: terwayNodeResource,
      indexers: {
        trunk: (node) => {
          const recorded = Object.values(node.status?.networkInterfaces ?? {}).flatMap((eni) =>
            eni.networkInterfaceType === 'Trunk' ? [eni.id] : [],
          );
          const intended = parseTrunkIntent(node.metadata.annotations?.[ANNOTATION_TRUNK_INTENT])?.eniID ?? '';
          return [...new Set([...recorded, ...(intended === '' ? [] : [intended])])];
        },
      },
    }),
  };
}

/** Runs all informers until the signal aborts. */
export async function runInformers(informers: Informers, signal: AbortSignal): Promise<void> {
  await Promise.all(
    Object.values(informers).map((informer: { run(signal: AbortSignal): Promise<void> }) => informer.run(signal)),
  );
}

/** Resolves when every store was filled once. */
export async function informersSynced(informers: Informers, signal: AbortSignal): Promise<void> {
  await Promise.all(
    Object.values(informers).map((informer: { synced(signal: AbortSignal): Promise<void> }) => informer.synced(signal)),
  );
}

/** @returns why the stores cannot be relied on, or undefined. */
export function informersProblem(informers: Informers): string | undefined {
  for (const [name, informer] of Object.entries(informers)) {
    if (!informer.hasSynced) return `the store of ${name} has not synced yet`;
    if (informer.staleForMs > STALE_MS)
      return `the store of ${name} has heard nothing for ${Math.round(informer.staleForMs / 1000)} s`;
  }
  return undefined;
}

/** Annotations that are read; the rest can be large. A merge patch of differences leaves them as they are. */
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
