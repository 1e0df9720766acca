import type { EniConfigs } from '../../cluster/eni-configs.ts';
import type { Informers } from '../../cluster/informers.ts';
import type { CoreNode, Pod } from '../../cluster/resources.ts';
import { ANNOTATION_MAX_AVAILABLE_IP, ANNOTATION_TRUNK_INTENT, CONDITION_SUFFICIENT_IP } from '../../crds/names.ts';
import type { TerwayNode } from '../../crds/node.ts';
import { findCondition } from '../../kube/conditions.ts';
import { jsonEqual } from '../../kube/patch.ts';
import type { HasMetadata } from '../../kube/types.ts';
import { type Watch, watch } from '../watch.ts';

export interface PoolWatchesOptions {
  informers: Pick<
    Informers,
    'pods' | 'nodes' | 'nodeRuntimes' | 'coreNodes' | 'podNetworkings' | 'namespaces' | 'configMaps'
  >;
  eniConfigs: Pick<EniConfigs, 'isCentral'>;
  /** Calls the listener when the configuration file was accepted or refused, until the returned function is called. */
  onConfigVerdict: (listener: () => void) => () => void;
}

/**
 * Pods, Node CRs, what nodes report, and what concerns all nodes: `eni-config`, the configuration file, and what decides which pods the
 * pool serves.
 */
export function poolWatches({ informers, eniConfigs, onConfigVerdict }: PoolWatchesOptions): Watch[] {
  const { pods, nodes, nodeRuntimes, coreNodes, podNetworkings, namespaces, configMaps } = informers;
  const nodeOf = ({ spec: { nodeName } }: Pod) => (nodeName === '' ? [] : [nodeName]);
  const itself = ({ metadata: { name } }: HasMetadata) => [name];
  const allNodes = () => nodes.store.keys();
  // Where there are no pools, it does not matter which pods they serve.
  const nodesWithPools = () => (eniConfigs.isCentral ? allNodes() : []);
  return [
    watch(pods, { added: nodeOf, changed: (_, pod) => nodeOf(pod), removed: nodeOf }),
    watch(nodes, {
      added: itself,
      // A write of the pool comes from a reconcile that continues anyway; one of the node controller may tell of something else.
      changed: (before, node, origin) => (origin === 'write' && newsOf(before) === newsOf(node) ? [] : itself(node)),
      removed: itself,
    }),
    watch(nodeRuntimes, { added: itself, changed: (_, runtime) => itself(runtime), removed: itself }),
    watch(coreNodes, {
      added: itself,
      changed: (before, core, origin) => {
        const isRelabelled = !jsonEqual(before.metadata.labels, core.metadata.labels);
        // Somebody else has changed what we say there.
        const isGainsaid = origin !== 'write' && saidOn(before) !== saidOn(core);
        return isRelabelled || isGainsaid ? itself(core) : [];
      },
    }),
    // Which pods they pick.
    watch(podNetworkings, {
      added: nodesWithPools,
      changed: (before, { spec }) => (jsonEqual(before.spec, spec) ? [] : nodesWithPools()),
      removed: nodesWithPools,
    }),
    watch(namespaces, {
      added: nodesWithPools,
      changed: (before, { metadata }) => (jsonEqual(before.metadata.labels, metadata.labels) ? [] : nodesWithPools()),
    }),
    watch(configMaps, { added: allNodes, changed: allNodes, removed: allNodes }),
    (add) =>
      onConfigVerdict(() => {
        for (const name of allNodes()) add(name);
      }),
  ];
}

/** What the node controller has decided about the trunk and the instance. */
function newsOf({ metadata: { annotations, deletionTimestamp }, spec, status }: TerwayNode): string {
  const trunk = Object.values(status?.networkInterfaces ?? {}).find((eni) => eni.networkInterfaceType === 'Trunk');
  const isPlanned = annotations?.[ANNOTATION_TRUNK_INTENT] !== undefined;
  const ofTrunk = [isPlanned, findCondition(status?.conditions, 'TrunkReady')?.reason, trunk?.id, trunk?.status];
  return JSON.stringify([deletionTimestamp, spec.nodeCap, spec.nodeMetadata, ofTrunk]);
}

/** What the pool has written on a Kubernetes node. */
function saidOn({ metadata: { annotations }, status: { conditions } }: CoreNode): string {
  const ours = conditions.filter(({ type }) => type === CONDITION_SUFFICIENT_IP);
  return JSON.stringify([annotations?.[ANNOTATION_MAX_AVAILABLE_IP], ours]);
}
