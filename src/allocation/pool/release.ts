import type { NodeAddress } from '../../crds/node.ts';
import { addressesOf, isBound, type PoolDraft, type PoolPod } from './view.ts';

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
 * stays bound, also for a pod that comes under the same name: its predecessor may still run.
 *
 * @param isGone whether the node has reported `deleted` for a pod's uid
 */
export function release(draft: PoolDraft, pods: readonly PoolPod[], isGone: (uid: string) => boolean): Releases {
  const uids = new Set(pods.map(({ uid }) => uid));
  const keys = new Set(pods.map(({ key }) => key));
  const isHeld = ({ podID = '', podUID = '' }: NodeAddress) => (podUID === '' ? keys.has(podID) : uids.has(podUID));
  const releases: Releases = { freed: [], unconfirmed: [] };
  for (const eni of Object.values(draft.enis)) {
    for (const address of addressesOf(eni)) {
      if (!isBound(address) || isHeld(address)) continue;
      const what = { eniId: eni.id, ip: address.ip, key: address.podID ?? '' };
      const { podUID = '' } = address;
      if (podUID !== '' && !isGone(podUID)) {
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
