import type { NetworkingStats } from '../../allocation/pod-networking-stats.ts';
import { rolloutAllowance, rolloutGate } from '../../allocation/security-groups.ts';
import type { QuotaScheduler } from '../../cloud/quota.ts';
import type { Informers } from '../../cluster/informers.ts';
import type { PodEni } from '../../crds/pod-eni.ts';
import type { PodNetworking } from '../../crds/pod-networking.ts';
import { isConflict, isNotFound } from '../../kube/errors.ts';

/** APIs whose calls a pod waits for. */
const PODS_WAIT_FOR = ['CreateNetworkInterface', 'AttachNetworkInterface'] as const;

/** Writes the security groups of an edited PodNetworking into one record; the record's controller does the rest. */
type ApplySecurityGroups = (podEni: PodEni, networking: PodNetworking, signal: AbortSignal) => Promise<void>;

/** What it works with. */
export interface RolloutContext {
  quota: Pick<QuotaScheduler, 'status'>;
  applySecurityGroups: ApplySecurityGroups;
  informers: Pick<Informers, 'podEnis'>;
}

/**
 * Rolls the security groups of a PodNetworking out to running pods, a few records at a time. Nothing is kept in memory:
 * how far it is stands in the records, so that another leader goes on where this one ends. One that the cloud refuses stays
 * on its way and holds its place, so that a rollout that fails stops after a few pods.
 */
export class SecurityGroupRollout {
  readonly #context: RolloutContext;

  constructor(context: RolloutContext) {
    this.#context = context;
  }

  /**
   * Rewrites as many records as may be now.
   *
   * @returns whether there is more to do later.
   * @throws KubeApiError, TransportError
   */
  async advance(networking: PodNetworking, stats: NetworkingStats, signal: AbortSignal): Promise<boolean> {
    const { outdated, changing } = stats.rollout;
    if (outdated.size === 0 || rolloutGate(networking) !== 'open') return false;
    const { quota, informers } = this.#context;
    const podsWaitForCalls = PODS_WAIT_FOR.some((api) => quota.status(api).waiting > 0);
    // A copy: each write changes the stats.
    for (const key of [...outdated].slice(0, rolloutAllowance(changing.size, podsWaitForCalls))) {
      const podEni = informers.podEnis.store.get(key);
      if (podEni === undefined) continue;
      try {
        await this.#context.applySecurityGroups(podEni, networking, signal);
      } catch (error) {
        // It changed or went meanwhile; the watch brings it, and with it the next look.
        if (!isConflict(error) && !isNotFound(error)) throw error;
      }
    }
    return outdated.size > 0;
  }
}
