import type { NetworkDefaults } from '../allocation/match.ts';
import { inlineNetworking, inlineOwner, parsePodNetworks } from '../allocation/network-request.ts';
import { ENI_CONFIG, nameOfConfigMap } from '../config/eni-config.ts';
import { ANNOTATION_POD_NETWORKS } from '../crds/names.ts';
import { type PodNetworking, podNetworkingSchema } from '../crds/pod-networking.ts';
import type { EniConfigs } from './eni-configs.ts';
import type { Informers } from './informers.ts';

/** Stands where records name a PodNetworking; the slash keeps it apart from every real one. */
export const CLUSTER_NETWORKING = `${ENI_CONFIG.namespace}/${ENI_CONFIG.name}`;

/** A node and where it lies. */
export interface NodePlace {
  nodeName: string;
  zone: string;
}

/** What ENIs of a node are created with when nobody says otherwise. */
export interface ClusterNetwork {
  vSwitchIds: string[];
  securityGroupIds: string[];
  tags: Record<string, string>;
}

/** vSwitches of the zone and security groups as the eni-config of a node names them, or one line about what it lacks. */
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

/** vSwitches of every zone and security groups, for whoever names none; or one line about what eni-config lacks. */
export function networkDefaults({ ofCluster }: Pick<EniConfigs, 'ofCluster'>): NetworkDefaults | { message: string } {
  if ('error' in ofCluster) return { message: ofCluster.error };
  const { vSwitchesByZone, vSwitchesAnywhere, securityGroupIds } = ofCluster.config;
  const vSwitchOptions = [...new Set([...Object.values(vSwitchesByZone).flat(), ...vSwitchesAnywhere])].sort();
  if (vSwitchOptions.length > 0) return { vSwitchOptions, securityGroupIDs: securityGroupIds };
  return { message: `${nameOfConfigMap(ENI_CONFIG.name)}, key ${ENI_CONFIG.key}: names no vSwitches` };
}

/** What {@link clusterNetwork} gives as a PodNetworking, for pods of exclusive nodes that no PodNetworking picks. */
export function clusterNetworking(eniConfigs: EniConfigs, place: NodePlace): PodNetworking | { message: string } {
  const network = clusterNetwork(eniConfigs, place);
  if ('message' in network) return network;
  return podNetworkingSchema.parse({
    metadata: { name: CLUSTER_NETWORKING },
    spec: { vSwitchOptions: network.vSwitchIds, securityGroupIDs: network.securityGroupIds },
    status: { status: 'Ready' },
  });
}

/** A PodNetworking by the name that a record has: a real one, eni-config's, or what the annotation of a pod describes now. */
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
