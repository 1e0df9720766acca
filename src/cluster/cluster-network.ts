import type { NetworkDefaults } from '../allocation/match.ts';
import { inlineNetworking, inlineOwner, parsePodNetworks } from '../allocation/network-request.ts';
import { ENI_CONFIG, nameOfConfigMap } from '../config/eni-config.ts';
import { ANNOTATION_POD_NETWORKS } from '../crds/names.ts';
import { type PodNetworking, podNetworkingSchema } from '../crds/pod-networking.ts';
import type { EniConfigs } from './eni-configs.ts';
import type { Informers } from './informers.ts';

/** Used in records in place of a PodNetworking's name; a real one contains no slash. */
export const CLUSTER_NETWORKING = `${ENI_CONFIG.namespace}/${ENI_CONFIG.name}`;

/** A node and its zone. */
export interface NodePlace {
  nodeName: string;
  zone: string;
}

/** Defaults for the ENIs of a node. */
export interface ClusterNetwork {
  vSwitchIds: string[];
  securityGroupIds: string[];
  tags: Record<string, string>;
}

/** vSwitches of the zone and security groups from the eni-config of a node, or one line about what it lacks. */
export function clusterNetwork(
  eniConfigs: EniConfigs,
  { nodeName, zone }: NodePlace,
): ClusterNetwork | { message: string } {
  const { parsed, source } = eniConfigs.ofNode(nodeName);
  if ('error' in parsed) return { message: parsed.error };
  const { vSwitchesByZone, vSwitchesAnywhere, securityGroupIds, tags } = parsed.config;
  const vSwitchIds = [...(vSwitchesByZone[zone] ?? []), ...vSwitchesAnywhere];
  if (vSwitchIds.length > 0) return { vSwitchIds, securityGroupIds, tags };
  return { message: `${source}, key ${ENI_CONFIG.key}: vswitches has no entry for zone ${zone}` };
}

/** The vSwitches of all zones and security groups, as defaults; or one line about what eni-config lacks. */
export function networkDefaults({ ofCluster }: Pick<EniConfigs, 'ofCluster'>): NetworkDefaults | { message: string } {
  if ('error' in ofCluster) return { message: ofCluster.error };
  const { vSwitchesByZone, vSwitchesAnywhere, securityGroupIds } = ofCluster.config;
  const vSwitchOptions = [...new Set([...Object.values(vSwitchesByZone).flat(), ...vSwitchesAnywhere])].sort();
  if (vSwitchOptions.length > 0) return { vSwitchOptions, securityGroupIDs: securityGroupIds };
  return { message: `${nameOfConfigMap(ENI_CONFIG.name)}, key ${ENI_CONFIG.key}: names no vSwitches` };
}

/** The {@link clusterNetwork} as a PodNetworking, for pods of exclusive nodes that no PodNetworking selects. */
export function clusterNetworking(eniConfigs: EniConfigs, place: NodePlace): PodNetworking | { message: string } {
  const network = clusterNetwork(eniConfigs, place);
  if ('message' in network) return network;
  return podNetworkingSchema.parse({
    metadata: { name: CLUSTER_NETWORKING },
    spec: { vSwitchOptions: network.vSwitchIds, securityGroupIDs: network.securityGroupIds },
    status: { status: 'Ready' },
  });
}

/**
 * A PodNetworking by the name in a record: a real one, that of eni-config, or what a pod's annotation describes now.
 */
export function networkingByName(
  { pods, podNetworkings }: Pick<Informers, 'pods' | 'podNetworkings'>,
  eniConfigs: EniConfigs,
  name: string,
  place: NodePlace,
): PodNetworking | undefined {
  const inline = inlineOwner(name);
  if (inline !== undefined) return inlineNetworkingOf(pods, inline);
  if (name !== CLUSTER_NETWORKING) return podNetworkings.store.get(name);
  const networking = clusterNetworking(eniConfigs, place);
  return 'message' in networking ? undefined : networking;
}

/** Undefined when the pod is gone. */
function inlineNetworkingOf(
  pods: Informers['pods'],
  { podKey, interfaceName }: { podKey: string; interfaceName: string },
): PodNetworking | undefined {
  const annotations = pods.store.get(podKey)?.metadata.annotations;
  const described = parsePodNetworks(annotations?.[ANNOTATION_POD_NETWORKS] || '{}');
  if ('error' in described) return undefined;
  const entry = described.entries.find((candidate) => candidate.interface === interfaceName);
  return entry === undefined ? undefined : inlineNetworking(podKey, entry);
}
