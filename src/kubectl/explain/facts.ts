import type { TerwayNode } from '../../crds/node.ts';
import type { NodeRuntime } from '../../crds/node-runtime.ts';
import type { PodEni } from '../../crds/pod-eni.ts';
import type { PodNetworking } from '../../crds/pod-networking.ts';
import type { ClusterReader } from '../cluster.ts';
import {
  type CoreNode,
  coreNodeResource,
  type Event,
  eventResource,
  namespaceResource,
  nodeRuntimeResource,
  type Pod,
  podEniResource,
  podNetworkingResource,
  podResource,
  terwayNodeResource,
} from '../resources.ts';

/** Everything in the cluster that tells of the network of one pod. */
export interface PodFacts {
  namespace: string;
  name: string;
  pod?: Pod | undefined;
  podEni?: PodEni | undefined;
  /** Labels of the namespace; undefined when there is no such namespace. */
  namespaceLabels?: Record<string, string> | undefined;
  networkings: PodNetworking[];
  /** About the pod and its PodENI. */
  events: Event[];
  coreNode?: CoreNode | undefined;
  node?: TerwayNode | undefined;
  /** What the node agent says of this pod. */
  runtime?: NonNullable<NonNullable<NodeRuntime['status']>['pods']>[string] | undefined;
  nowMs: number;
}

/** @throws KubeApiError, TransportError */
export async function gatherPodFacts(
  cluster: ClusterReader,
  key: { namespace: string; name: string },
  nowMs: number,
): Promise<PodFacts> {
  const [pod, podEni, namespace, networkings, events] = await Promise.all([
    cluster.find(podResource, key),
    cluster.find(podEniResource, key),
    cluster.find(namespaceResource, { name: key.namespace }),
    cluster.list(podNetworkingResource),
    cluster.list(eventResource, { namespace: key.namespace, fieldSelector: `regarding.name=${key.name}` }),
  ]);
  const nodeName = pod?.spec.nodeName || podEni?.spec.target?.nodeName || '';
  const [coreNode, node, runtime] =
    nodeName === ''
      ? []
      : await Promise.all([
          cluster.find(coreNodeResource, { name: nodeName }),
          cluster.find(terwayNodeResource, { name: nodeName }),
          cluster.find(nodeRuntimeResource, { name: nodeName }),
        ]);
  return {
    ...key,
    ...{ pod, podEni, networkings, coreNode, node, nowMs },
    namespaceLabels: namespace === undefined ? undefined : (namespace.metadata.labels ?? {}),
    events: events.filter(({ regarding }) => ['Pod', 'PodENI'].includes(regarding.kind)),
    runtime: runtime?.status?.pods?.[pod?.metadata.uid ?? ''],
  };
}
