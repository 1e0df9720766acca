import { LABEL_POD_ENI } from '../crds/names.ts';
import { isAdmitted } from './match.ts';

/**
 * Timestamps of objects are whole seconds, and a webhook learns of a PodNetworking a moment after it was made: a pod that is
 * younger by no more than this may have been admitted without anybody being wrong.
 */
const SAME_MOMENT_MS = 5000;

export interface PodToJudge {
  annotations: Record<string, string> | undefined;
  createdAt: string | undefined;
  /** It has an address or runs: whatever network it has, it is not going to get another one. */
  hasNetwork: boolean;
  owners: readonly { kind: string; uid: string; controller?: boolean | undefined }[];
  namespaceLabels: Record<string, string> | undefined;
}

/**
 * How a pod that a PodNetworking picks has come past the webhook.
 *
 * - `admitted`: it has not; the webhook saw it.
 * - `unasked`: there was nothing for the webhook to do, as the pod was made before the PodNetworking, or in a namespace that
 *   opted out and about which the API server does not ask. It is served if it still has no network.
 * - `escaped`: the webhook should have seen it.
 * - `settled`: it lives on whatever network it has.
 */
export type Passage = 'admitted' | 'unasked' | 'escaped' | 'settled';

/** @param networkingCreatedAt RFC 3339; of several PodNetworkings the youngest one counts. */
export function passageOf(pod: PodToJudge, networkingCreatedAt: readonly (string | undefined)[]): Passage {
  if (isAdmitted(pod.annotations)) return 'admitted';
  if (pod.hasNetwork) return 'settled';
  if (pod.namespaceLabels?.[LABEL_POD_ENI] === 'false') return 'unasked';
  const madeMs = Date.parse(pod.createdAt ?? '');
  const youngestMs = Math.max(...networkingCreatedAt.map((text) => Date.parse(text ?? '')));
  return madeMs <= youngestMs + SAME_MOMENT_MS ? 'unasked' : 'escaped';
}

/** Who makes a pod again that is evicted; undefined when nobody does. A kubelet makes its static pods again as they were. */
export function remaker(pod: Pick<PodToJudge, 'owners'>): string | undefined {
  return pod.owners.find(({ kind, controller }) => controller === true && kind !== 'Node')?.uid;
}
