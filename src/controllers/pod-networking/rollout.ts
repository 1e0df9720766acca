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

export interface RolloutContext {
  quota: Pick<QuotaScheduler, 'status'>;
  applySecurityGroups: ApplySecurityGroups;
  informers: Pick<Informers, 'podEnis'>;
}

/**
 * Rolls the security groups of a PodNetworking out to running pods, a few records at a time. It keeps no state in
 * memory: progress is in the records, so that the next leader continues. A record that the cloud refuses keeps its
 * place, so that a failing rollout stops after a few pods.
 */
export class SecurityGroupRollout {
  readonly #context: RolloutContext;

  constructor(context: RolloutContext) {
    this.#context = context;
  }

  /**
   * Rewrites as many records as allowed now.
   *
   * @returns whether more remains for later.
   * @throws KubeApiError, TransportError
   */
  async advance(networking: PodNetworking, stats: NetworkingStats, signal: AbortSignal): Promise<boolean> {
    const { outdated, changing } = stats.rollout;
    if (outdated.size === 0 || rolloutGate(networking) !== 'open') return false;
    const { quota, informers } = this.#context;
    const podsWaitForCalls = PODS_WAIT_FOR.some((api) => quota.status(api).waiting > 0);
    for (const key of firstOf(outdated, rolloutAllowance(changing.size, podsWaitForCalls))) {
      const podEni = informers.podEnis.store.get(key);
      if (podEni === undefined) continue;
      try {
        await this.#context.applySecurityGroups(podEni, networking, signal);
      } catch (error) {
        // It changed or was deleted in the meantime; the watch triggers the next attempt.
        if (!isConflict(error) && !isNotFound(error)) throw error;
      }
    }
    return outdated.size > 0;
  }
}

/** A copy, because each write changes the stats; of no more than needed, because there may be thousands. */
function firstOf(keys: ReadonlySet<string>, count: number): string[] {
  const first: string[] = [];
  for (const key of keys) {
    if (first.length >= count) break;
    first.push(key);
  }
  return first;
}
