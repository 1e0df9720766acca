import type { NodeAddress } from '../../crds/node.ts';
import { addressesOf, isBound, isUsable, type PoolDraft, type PoolPod } from './view.ts';

export interface Freed {
  eniId: string;
  ip: string;
  /** `namespace/name` of the pod that had it. */
  key: string;
}

export interface Releases {
  freed: Freed[];
  /** Addresses whose pod is gone, and whose node has not said so of its sandbox. */
  unconfirmed: Freed[];
}

/**
 * Frees the addresses of pods that are gone, once the node says that no sandbox of theirs is left. Without that an address
 * stays bound, also for a pod that comes under the same name: its predecessor may still run. A pod that has no sandbox yet gives up what
 * no sandbox can get, so that it gets another one. What it had besides goes with it once the node says that no sandbox has that.
 *
 * @param words.isGone whether the node has reported `deleted` for a pod's uid
 * @param words.hasSandbox whether the node has reported a sandbox of it
 */
export function release(
  draft: PoolDraft,
  pods: readonly PoolPod[],
  { isGone, hasSandbox }: { isGone: (uid: string) => boolean; hasSandbox: (uid: string) => boolean },
): Releases {
  const byUid = new Map(pods.map((pod) => [pod.uid, pod]));
  const keys = new Set(pods.map(({ key }) => key));
  const isHeld = ({ podID = '', podUID = '' }: NodeAddress) => (podUID === '' ? keys.has(podID) : byUid.has(podUID));
  const isWithoutSandbox = (uid: string) => {
    const pod = byUid.get(uid);
    return pod?.mayGet === true && pod.reported.length === 0 && !hasSandbox(uid);
  };
  const releases: Releases = { freed: [], unconfirmed: [] };
  for (const eni of Object.values(draft.enis)) {
    const bound = addressesOf(eni).filter(isBound);
    const uses = new Set(bound.flatMap((address) => (isUsable(eni, address) ? [address.podUID] : [])));
    const dead = bound.filter((address) => !isUsable(eni, address));
    const mayGiveUp = (uid: string) => isWithoutSandbox(uid) && (!uses.has(uid) || isGone(uid));
    const useless = new Set(dead.flatMap(({ podUID = '' }) => (mayGiveUp(podUID) ? [podUID] : [])));
    for (const address of addressesOf(eni)) {
      const { podUID = '' } = address;
      const isGivenUp = useless.has(podUID);
      if (!isBound(address) || (isHeld(address) && !isGivenUp)) continue;
      const what = { eniId: eni.id, ip: address.ip, key: address.podID ?? '' };
      if (podUID !== '' && !isGivenUp && !isGone(podUID)) {
        releases.unconfirmed.push(what);
        continue;
      }
      delete address.podID;
      delete address.podUID;
      // The cloud took it away while it was bound.
      if (address.status === 'Invalid' && !address.primary) address.status = 'Deleting';
      releases.freed.push(what);
    }
  }
  return releases;
}
