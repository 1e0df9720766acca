import { attachedTrunk, eniLimitOf, isExclusive } from '../allocation/node-mode.ts';
import type { NodeView } from '../allocation/plan.ts';
import { ANNOTATION_TRUNK_INTENT, ANNOTATION_TRUNK_ON, LABEL_IGNORE, LABEL_LINGJUN } from '../crds/names.ts';
import type { TerwayNode } from '../crds/node.ts';
import type { CoreNode } from './resources.ts';

const LABEL_ZONE = 'topology.kubernetes.io/zone';
const LABEL_ZONE_LEGACY = 'failure-domain.beta.kubernetes.io/zone';
const LABEL_REGION = 'topology.kubernetes.io/region';
const LABEL_INSTANCE_TYPE = 'node.kubernetes.io/instance-type';

/** Identity of the ECS instance behind a Kubernetes node. */
export interface NodeIdentity {
  regionId: string;
  zoneId: string;
  instanceId: string;
  instanceType: string;
}

/** @returns the identity, or the first thing that is missing on the node. */
export function nodeIdentity(node: CoreNode): { identity: NodeIdentity } | { missing: string } {
  const labels = node.metadata.labels ?? {};
  const regionId = labels[LABEL_REGION] ?? '';
  const zoneId = labels[LABEL_ZONE] ?? labels[LABEL_ZONE_LEGACY] ?? '';
  const instanceType = labels[LABEL_INSTANCE_TYPE] ?? '';
  const instanceId = node.spec.providerID.split('.')[1] ?? '';
  if (instanceId === '') return { missing: 'spec.providerID of the form REGION.INSTANCE_ID' };
  if (regionId === '') return { missing: `label ${LABEL_REGION}` };
  if (zoneId === '') return { missing: `label ${LABEL_ZONE}` };
  if (instanceType === '') return { missing: `label ${LABEL_INSTANCE_TYPE}` };
  return { identity: { regionId, zoneId, instanceId, instanceType } };
}

/** Whether the node can tell of its pods. */
export function isReady(core: CoreNode | undefined): boolean {
  return (core?.status.conditions ?? []).some(({ type, status }) => type === 'Ready' && status === 'True');
}

/**
 * The node state that plans depend on. The trunk recorded in the Node CR takes precedence; the annotation `trunk-on` is
 * what an upstream node daemon leaves behind where it manages the trunk itself.
 */
export function nodeView(core: CoreNode | undefined, node: TerwayNode | undefined): NodeView | undefined {
  if (core === undefined || node?.spec.nodeMetadata === undefined) return undefined;
  // It is being deleted, or belongs to an earlier instance of this name: nothing new may be attached there.
  if (node.metadata.deletionTimestamp !== undefined) return undefined;
  if (hasLeft(core, node)) return undefined;
  // Where we manage the trunk, the annotation only repeats an older state of the record.
  const isOurs = node.metadata.annotations?.[ANNOTATION_TRUNK_INTENT] !== undefined;
  const trunkEniId = attachedTrunk(node)?.id ?? (isOurs ? undefined : core.metadata.annotations?.[ANNOTATION_TRUNK_ON]);
  return {
    nodeName: core.metadata.name,
    instanceId: node.spec.nodeMetadata.instanceID,
    zone: node.spec.nodeMetadata.zoneID,
    exclusive: isExclusive(node.metadata.labels),
    eniLimit: eniLimitOf(node),
    memberLimit: node.spec.nodeCap?.memberAdapterLimit ?? 0,
    ...(trunkEniId === undefined || trunkEniId === '' ? {} : { trunkEniId }),
  };
}

/** Whether the instance of a Node CR is the cluster's no more: its node is gone, or another instance has the name. */
export function hasLeft(core: CoreNode | undefined, node: TerwayNode): boolean {
  if (core === undefined) return true;
  const found = nodeIdentity(core);
  return 'identity' in found && found.identity.instanceId !== node.spec.nodeMetadata?.instanceID;
}

/** Nodes that are not ours: without the wanted labels, ignored, virtual or Lingjun. */
export function isForeign(core: CoreNode, wanted: Readonly<Record<string, string>>): boolean {
  const labels = core.metadata.labels ?? {};
  if (Object.entries(wanted).some(([name, value]) => labels[name] !== value)) return true;
  return labels[LABEL_IGNORE] === 'true' || labels['type'] === 'virtual-kubelet' || labels[LABEL_LINGJUN] === 'true';
}

/** Fields of a node that concern its network, as one text; heartbeats do not. */
export function watchedPart(node: CoreNode): string {
  const { resourceVersion: _version, ...metadata } = { resourceVersion: '', ...node.metadata };
  return JSON.stringify([metadata, node.spec, node.status]);
}
