import * as z from 'zod';
import { addressesOf } from '../../allocation/pool/view.ts';
import { parseControlPlaneConfig } from '../../config/config-file.ts';
import { ConfigError } from '../../config/errors.ts';
import { type TerwayNode, terwayNodeResource } from '../../crds/node.ts';
import { type NodeRuntime, nodeRuntimeResource } from '../../crds/node-runtime.ts';
import { type PodEni, podEniResource } from '../../crds/pod-eni.ts';
import { type PodNetworking, podNetworkingResource } from '../../crds/pod-networking.ts';
import { KubeApiError } from '../../kube/errors.ts';
import type { ClusterReader } from '../cluster.ts';
import type { CommandContext } from '../command.ts';
import {
  type CoreNode,
  configMapResource,
  coreNodeResource,
  type Event,
  eventResource,
  namespaceResource,
  type Pod,
  podResource,
} from '../resources.ts';

/** Everything in the cluster that concerns the network of one pod. */
export interface ExplainView {
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
  /** What the node agent reports about this pod. */
  runtime?: NonNullable<NonNullable<NodeRuntime['status']>['pods']>[string] | undefined;
  /** Kinds of owners whose pods come back under their name, besides StatefulSet. */
  stableNameKinds: readonly string[];
  nowMs: number;
}

const CONFIG_KEY = 'ctrl-config.yaml';
const configMapDataSchema = z.record(z.string(), z.string()).catch({});

/** @throws KubeApiError, TransportError */
export async function gatherExplainView(
  {
    cluster,
    systemNamespace,
    controlPlaneName,
    clock,
  }: Pick<CommandContext, 'cluster' | 'systemNamespace' | 'controlPlaneName' | 'clock'>,
  key: { namespace: string; name: string },
): Promise<ExplainView> {
  const [pod, podEni, namespace, networkings, events, stableNameKinds] = await Promise.all([
    cluster.find(podResource, key),
    cluster.find(podEniResource, key),
    cluster.find(namespaceResource, { name: key.namespace }),
    cluster.list(podNetworkingResource),
    cluster.list(eventResource, { namespace: key.namespace, fieldSelector: `regarding.name=${key.name}` }),
    stableNameKindsOf(cluster, systemNamespace, controlPlaneName),
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
    pod,
    podEni,
    networkings,
    coreNode,
    node,
    stableNameKinds,
    nowMs: clock.now(),
    namespaceLabels: namespace === undefined ? undefined : (namespace.metadata.labels ?? {}),
    events: events.filter(({ regarding }) => ['Pod', 'PodENI'].includes(regarding.kind)),
    runtime: runtime?.status?.pods?.[pod?.metadata.uid ?? ''],
  };
}

/** From the control plane's configuration; empty without the right to read it. */
async function stableNameKindsOf(
  cluster: ClusterReader,
  namespace: string,
  name: CommandContext['controlPlaneName'],
): Promise<readonly string[]> {
  try {
    const found = await cluster.find(configMapResource, { namespace, name: await name() });
    const text = configMapDataSchema.parse(found?.['data'])[CONFIG_KEY] ?? '';
    return parseControlPlaneConfig(CONFIG_KEY, text).config.customStatefulWorkloadKinds;
  } catch (error) {
    const isForbidden = error instanceof KubeApiError && error.code === 403;
    if (isForbidden || error instanceof ConfigError) return [];
    throw error;
  }
}

/** Addresses of a shared ENI of its node that the pod has. */
export interface SharedAddresses {
  eniID: string;
  vSwitchID: string;
  ips: string[];
  /** The cloud has one of them no more. */
  isLost: boolean;
}

/** Undefined without any. */
export function sharedAddressesOf({ pod, node }: ExplainView): SharedAddresses | undefined {
  const uid = pod?.metadata.uid ?? '';
  for (const eni of Object.values(node?.status?.networkInterfaces ?? {})) {
    const own = addressesOf(eni).filter(({ podUID = '' }) => podUID !== '' && podUID === uid);
    if (own.length === 0) continue;
    const isLost = own.some(({ status }) => status === 'Invalid');
    return { eniID: eni.id, vSwitchID: eni.vSwitchID ?? '', ips: own.map(({ ip }) => ip), isLost };
  }
  return undefined;
}
