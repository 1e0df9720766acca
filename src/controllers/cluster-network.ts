import { ENI_CONFIG, parseEniConfig } from '../config/eni-config.ts';
import { type PodNetworking, podNetworkingSchema } from '../crds/pod-networking.ts';
import type { Informers } from './context.ts';

/** Stands where records name a PodNetworking; the slash keeps it apart from every real one. */
export const CLUSTER_NETWORKING = `${ENI_CONFIG.namespace}/${ENI_CONFIG.name}`;

/** vSwitches of a zone and security groups as the cluster's eni-config names them, or one line about what it lacks. */
export function clusterNetwork(
  informers: Pick<Informers, 'configMaps'>,
  zone: string,
): { vSwitchIds: string[]; securityGroupIds: string[] } | { message: string } {
  const configMap = informers.configMaps.store.get(CLUSTER_NETWORKING);
  if (configMap === undefined) {
    return {
      message: `ConfigMap ${CLUSTER_NETWORKING} does not exist; it names the vSwitches and security groups of trunk ENIs and of pods on exclusive nodes`,
    };
  }
  const parsed = parseEniConfig(configMap.data);
  if ('error' in parsed) return { message: parsed.error };
  const { vSwitchesByZone, vSwitchesAnywhere } = parsed.config;
  const vSwitchIds = [...(vSwitchesByZone[zone] ?? []), ...vSwitchesAnywhere];
  if (vSwitchIds.length > 0) return { vSwitchIds, securityGroupIds: parsed.config.securityGroupIds };
  return { message: `ConfigMap ${CLUSTER_NETWORKING}, key ${ENI_CONFIG.key}: vswitches has no entry for zone ${zone}` };
}

/** The same as a PodNetworking, for pods of exclusive nodes that no PodNetworking picks (reference 4.1, step 4). */
export function clusterNetworking(
  informers: Pick<Informers, 'configMaps'>,
  zone: string,
): PodNetworking | { message: string } {
  const network = clusterNetwork(informers, zone);
  if ('message' in network) return network;
  return podNetworkingSchema.parse({
    metadata: { name: CLUSTER_NETWORKING },
    spec: { vSwitchOptions: network.vSwitchIds, securityGroupIDs: network.securityGroupIds },
    status: { status: 'Ready' },
  });
}
