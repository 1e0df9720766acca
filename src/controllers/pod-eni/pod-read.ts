import { isFixed } from '../../allocation/retention.ts';
import { isFinished } from '../../cluster/pod-view.ts';
import { type Pod, podResource } from '../../cluster/resources.ts';
import { ANNOTATION_POD_UID } from '../../crds/names.ts';
import type { PodEni } from '../../crds/pod-eni.ts';
import type { KubeClient } from '../../kube/client.ts';
import { isNotFound } from '../../kube/errors.ts';

/* The pod of a record, from a read that is newer than the decision: the store of the watch may lag. */

/**
 * Whether the pod of the record is gone. A reservation belongs to the name, so a pod with another uid is its next user.
 *
 * @throws KubeApiError, TransportError
 */
export async function podIsGone(client: KubeClient, podEni: PodEni, signal: AbortSignal): Promise<boolean> {
  const pod = await readPod(client, podEni, signal);
  const isReserved = isFixed(podEni) && podEni.status?.phase === 'Unbind';
  return pod === undefined || !(isReserved || isOwnedBy(podEni, pod));
}

/** Whether the pod that the record was given to still runs. @throws KubeApiError, TransportError */
export async function ownerRuns(client: KubeClient, podEni: PodEni, signal: AbortSignal): Promise<boolean> {
  const pod = await readPod(client, podEni, signal);
  return pod !== undefined && isOwnedBy(podEni, pod);
}

/** @returns undefined when it is gone or has finished */
async function readPod(client: KubeClient, { metadata }: PodEni, signal: AbortSignal): Promise<Pod | undefined> {
  const { namespace = '', name } = metadata;
  try {
    const pod = await client.get(podResource, { namespace, name }, { signal });
    return isFinished(pod) ? undefined : pod;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

function isOwnedBy({ metadata }: PodEni, pod: Pod): boolean {
  const owner = metadata.annotations?.[ANNOTATION_POD_UID];
  return owner === undefined || pod.metadata.uid === owner;
}
