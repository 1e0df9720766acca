import type { SandboxReport } from '../allocation/operation.ts';
import type { Informers } from '../cluster/informers.ts';
import { ANNOTATION_POD_UID, ANNOTATION_REPORTS_RELEASE, LABEL_NODE } from '../crds/names.ts';
import { type NodeRuntime, saysDeleted } from '../crds/node-runtime.ts';
import type { PodEni } from '../crds/pod-eni.ts';

/**
 * What the node of a PodENI reports about the sandbox of its pod.
 *
 * @param timeoutMs how long to wait for its report
 * @returns undefined when no report can be expected: the node runs no agent of ours, is gone or is not Ready
 */
export function sandboxReport(
  { metadata, spec }: PodEni,
  { coreNodes, nodeRuntimes }: Pick<Informers, 'coreNodes' | 'nodeRuntimes'>,
  timeoutMs: number,
): SandboxReport | undefined {
  const nodeName = spec.target?.nodeName || metadata.labels?.[LABEL_NODE] || '';
  const runtime = nodeRuntimes.store.get(nodeName);
  if (runtime?.metadata.annotations?.[ANNOTATION_REPORTS_RELEASE] !== 'true') return undefined;
  const { conditions = [] } = coreNodes.store.get(nodeName)?.status ?? {};
  if (!conditions.some(({ type, status }) => type === 'Ready' && status === 'True')) return undefined;
  const uid = metadata.annotations?.[ANNOTATION_POD_UID] ?? '';
  return { deleted: saysDeleted(runtime.status?.pods?.[uid]), timeoutMs };
}

/** Pods, as `namespace/name`, whose sandbox is gone in the newer object but not in the older one. */
export function newlyDeleted(before: NodeRuntime, after: NodeRuntime): string[] {
  return Object.entries(after.status?.pods ?? {}).flatMap(([uid, entry]) => {
    const isNews = saysDeleted(entry) && !saysDeleted(before.status?.pods?.[uid]);
    return isNews && entry.podID !== undefined ? [entry.podID] : [];
  });
}
