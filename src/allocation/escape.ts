import { LABEL_POD_ENI } from '../crds/names.ts';
import { isAdmitted } from './match.ts';

/**
 * Object timestamps are whole seconds, and the webhook learns of a PodNetworking a moment after it was created. A pod
 * that is younger by no more than this may have been admitted without the new PodNetworking, and nothing is wrong.
 */
const SAME_MOMENT_MS = 5000;

export interface PodToJudge {
  annotations: Record<string, string> | undefined;
  createdAt: string | undefined;
  /** It has an address or runs, so it will not get another network. */
  hasNetwork: boolean;
  owners: readonly { kind: string; uid: string; controller?: boolean | undefined }[];
  namespaceLabels: Record<string, string> | undefined;
}

/**
 * Whether a pod that a PodNetworking selects went through the webhook.
 *
 * - `admitted`: the webhook processed it.
 * - `unasked`: the webhook had nothing to do. The pod is older than the PodNetworking, or its namespace opted out and
 *   the API server does not call the webhook for it. It is served if it has no network yet.
 * - `escaped`: the webhook should have processed it and did not.
 * - `settled`: it runs on some other network.
 */
export type WebhookOutcome = 'admitted' | 'unasked' | 'escaped' | 'settled';

/** @param networkingCreatedAt RFC 3339; of several PodNetworkings the youngest counts. */
export function webhookOutcome(pod: PodToJudge, networkingCreatedAt: readonly (string | undefined)[]): WebhookOutcome {
  if (isAdmitted(pod.annotations)) return 'admitted';
  if (pod.hasNetwork) return 'settled';
  if (pod.namespaceLabels?.[LABEL_POD_ENI] === 'false') return 'unasked';
  const madeMs = Date.parse(pod.createdAt ?? '');
  const youngestMs = Math.max(...networkingCreatedAt.map((text) => Date.parse(text ?? '')));
  return madeMs <= youngestMs + SAME_MOMENT_MS ? 'unasked' : 'escaped';
}

/**
 * The owner that recreates an evicted pod; undefined when there is none. A kubelet recreates its static pods unchanged,
 * so they do not count.
 */
export function recreatingOwner(pod: Pick<PodToJudge, 'owners'>): string | undefined {
  return pod.owners.find(({ kind, controller }) => controller === true && kind !== 'Node')?.uid;
}
