import type { SandboxReport } from '../allocation/operation.ts';
import type { Informers } from '../cluster/informers.ts';
import { isReady } from '../cluster/node-view.ts';
import { coreNodeResource } from '../cluster/resources.ts';
import { ANNOTATION_POD_UID, ANNOTATION_REPORTED_FOR, ANNOTATION_REPORTS_RELEASE, LABEL_NODE } from '../crds/names.ts';
import type { TerwayNode } from '../crds/node.ts';
import { type NodeRuntime, nodeRuntimeResource, saysDeleted } from '../crds/node-runtime.ts';
import type { PodEni } from '../crds/pod-eni.ts';
import type { KubeClient } from '../kube/client.ts';
import { isNotFound } from '../kube/errors.ts';
import type { HasMetadata, Resource } from '../kube/types.ts';

/**
 * What the node of a PodENI reports about the sandbox of its pod.
 *
 * @param timeoutMs how long to wait for its report
 * @returns undefined when no report can be expected: the node runs no agent of ours, is gone or is not Ready
 */
export function sandboxReport(
  podEni: PodEni,
  { coreNodes, nodeRuntimes }: Pick<Informers, 'coreNodes' | 'nodeRuntimes'>,
  timeoutMs: number,
): SandboxReport | undefined {
  const nodeName = nodeNameOf(podEni);
  const runtime = nodeRuntimes.store.get(nodeName);
  if (!reportsRelease(runtime)) return undefined;
  if (!isReady(coreNodes.store.get(nodeName))) return undefined;
  const uid = podEni.metadata.annotations?.[ANNOTATION_POD_UID] ?? '';
  const entry = runtime.status?.pods?.[uid];
  const deleted = saysDeleted(entry);
  return { deleted, exists: entry !== undefined && !deleted, timeoutMs };
}

/**
 * Reads from the API server what {@link sandboxReport} depends on, because the stores may lag behind a node that has joined, or is
 * Ready again, and puts it there.
 *
 * @throws KubeApiError, TransportError
 */
export async function refreshSandboxReport(
  podEni: PodEni,
  client: KubeClient,
  { coreNodes, nodeRuntimes }: Pick<Informers, 'coreNodes' | 'nodeRuntimes'>,
  signal: AbortSignal,
): Promise<void> {
  const name = nodeNameOf(podEni);
  if (name === '') return;
  const read = <T extends HasMetadata>(resource: Resource<T>) =>
    client.get(resource, { name }, { signal }).catch((error: unknown) => {
      if (!isNotFound(error)) throw error;
      return undefined;
    });
  const runtime = await read(nodeRuntimeResource);
  if (!reportsRelease(runtime)) return;
  nodeRuntimes.store.noteWritten(runtime);
  const node = await read(coreNodeResource);
  if (node !== undefined) coreNodes.store.noteWritten(node);
}

function nodeNameOf({ metadata, spec }: PodEni): string {
  return spec.target?.nodeName || metadata.labels?.[LABEL_NODE] || '';
}

/** Whether our agent runs on the node, or one that keeps the same promise. */
export function reportsRelease(runtime: NodeRuntime | undefined): runtime is NodeRuntime {
  return runtime?.metadata.annotations?.[ANNOTATION_REPORTS_RELEASE] === 'true';
}

/** Pods, as `namespace/name`, whose sandbox is gone in the newer object but not in the older one. */
export function newlyDeleted(before: NodeRuntime, after: NodeRuntime): string[] {
  return Object.entries(after.status?.pods ?? {}).flatMap(([uid, entry]) => {
    const isNews = saysDeleted(entry) && !saysDeleted(before.status?.pods?.[uid]);
    return isNews && entry.podID !== undefined ? [entry.podID] : [];
  });
}

/** Whether the agent has reported all sandboxes of the node since this record was made. One that never says so is not waited for. */
export function hasReportedFor(runtime: NodeRuntime | undefined, { metadata }: TerwayNode): boolean {
  const uid = reportsRelease(runtime) ? runtime.metadata.annotations?.[ANNOTATION_REPORTED_FOR] : undefined;
  return uid === undefined || uid === metadata.uid;
}
