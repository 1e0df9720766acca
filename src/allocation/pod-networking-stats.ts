import type { PodEni } from '../crds/pod-eni.ts';
import { reasonEntry } from '../crds/reasons/catalogue.ts';
import { type RolloutState, rolloutState } from './security-groups.ts';

/** Progress of a pod's interface (`status.pods` of a PodNetworking). */
export type PodProgress = 'bound' | 'starting' | 'waiting' | 'releasing' | 'reserved' | 'failed';

/** Why the interface of a pod fails. */
export interface Failing {
  /** `namespace/name` */
  key: string;
  /** When it began, RFC 3339. */
  since: string;
  reason: string;
  message: string;
}

/** Totals over the PodENIs of one PodNetworking. */
export interface NetworkingStats {
  pods: Record<PodProgress, number>;
  /** Fixed addresses without a pod, by vSwitch. */
  reserved: ReadonlyMap<string, number>;
  failing: ReadonlyMap<string, Failing>;
  rollout: { updated: number; changing: ReadonlySet<string>; outdated: ReadonlySet<string> };
}

/** What one PodENI contributes to one PodNetworking. */
interface Share {
  progress: PodProgress;
  reserved: readonly string[];
  failing: Failing | undefined;
  rollout: RolloutState;
}

class Sum implements NetworkingStats {
  readonly pods = { bound: 0, starting: 0, waiting: 0, releasing: 0, reserved: 0, failed: 0 };
  readonly reserved = new Map<string, number>();
  readonly failing = new Map<string, Failing>();
  readonly rollout = { updated: 0, changing: new Set<string>(), outdated: new Set<string>() };

  add(key: string, { progress, reserved, failing, rollout }: Share, sign: 1 | -1): void {
    this.pods[progress] += sign;
    for (const id of reserved) {
      const count = (this.reserved.get(id) ?? 0) + sign;
      if (count === 0) this.reserved.delete(id);
      else this.reserved.set(id, count);
    }
    if (failing !== undefined) {
      if (sign === 1) this.failing.set(key, failing);
      else this.failing.delete(key);
    }
    if (rollout === 'updated') this.rollout.updated += sign;
    if (rollout !== 'changing' && rollout !== 'outdated') return;
    if (sign === 1) this.rollout[rollout].add(key);
    else this.rollout[rollout].delete(key);
  }
}

/**
 * Counts the PodENIs of each PodNetworking incrementally, so that writing a status does not scan all of them. Does no
 * I/O; the owner feeds it with the changes of the store.
 */
export class PodNetworkingStats {
  readonly #onChange: (networking: string) => void;
  readonly #sums = new Map<string, Sum>();
  readonly #shares = new Map<string, ReadonlyMap<string, Share>>();
  /** Security groups by PodNetworking; they decide whether a record is outdated. */
  readonly #securityGroups = new Map<string, readonly string[]>();

  /** @param onChange is called with a PodNetworking whose stats changed. */
  constructor(onChange: (networking: string) => void) {
    this.#onChange = onChange;
  }

  /** Entries held for PodNetworkings and PodENIs. */
  get size(): number {
    return this.#sums.size + this.#shares.size + this.#securityGroups.size;
  }

  of(networking: string): NetworkingStats {
    return this.#sums.get(networking) ?? new Sum();
  }

  /** A PodENI appeared or changed. */
  put(podEni: PodEni): void {
    this.#replace(keyOf(podEni), this.#sharesOf(podEni));
  }

  remove(podEni: PodEni): void {
    this.#replace(keyOf(podEni), new Map());
  }

  /**
   * A PodNetworking appeared or changed.
   *
   * @param podEnis its PodENIs; read only when the groups differ from before.
   */
  setSecurityGroups(networking: string, securityGroupIds: readonly string[], podEnis: () => Iterable<PodEni>): void {
    if (this.#securityGroups.get(networking)?.join() === securityGroupIds.join()) return;
    this.#securityGroups.set(networking, securityGroupIds);
    for (const podEni of podEnis()) this.put(podEni);
  }

  /** A PodNetworking is gone. Its pods stay counted as long as they exist. */
  forgetSecurityGroups(networking: string): void {
    this.#securityGroups.delete(networking);
  }

  #sharesOf(podEni: PodEni): Map<string, Share> {
    const shares = new Map<string, Share>();
    for (const { intent } of podEni.spec.allocations ?? []) {
      const name = intent?.networking;
      if (name !== undefined && !shares.has(name)) shares.set(name, this.#shareOf(podEni, name));
    }
    return shares;
  }

  #shareOf(podEni: PodEni, networking: string): Share {
    const groups = this.#securityGroups.get(networking);
    const progress = podProgress(podEni);
    const held = progress === 'reserved' ? (podEni.spec.allocations ?? []) : [];
    return {
      progress,
      reserved: held.flatMap(({ intent, eni }) => (intent?.networking === networking ? [eni.vSwitchID ?? ''] : [])),
      failing: progress === 'failed' ? failingOf(podEni) : undefined,
      rollout: groups === undefined ? 'none' : rolloutState(podEni, networking, groups),
    };
  }

  #replace(key: string, after: ReadonlyMap<string, Share>): void {
    const before = this.#shares.get(key) ?? new Map<string, Share>();
    if (after.size === 0) this.#shares.delete(key);
    else this.#shares.set(key, after);
    for (const name of new Set([...before.keys(), ...after.keys()])) {
      const [was, is] = [before.get(name), after.get(name)];
      if (JSON.stringify(was) === JSON.stringify(is)) continue;
      const sum = this.#sums.get(name) ?? new Sum();
      if (was !== undefined) sum.add(key, was, -1);
      if (is !== undefined) sum.add(key, is, 1);
      if (Object.values(sum.pods).every((count) => count === 0)) this.#sums.delete(name);
      else this.#sums.set(name, sum);
      this.#onChange(name);
    }
  }
}

/** Progress of a pod's interface by phase and condition of its record. */
export function podProgress({ metadata, status }: PodEni): PodProgress {
  if (metadata.deletionTimestamp !== undefined) return 'releasing';
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  const trouble = ready?.status === 'False' ? reasonEntry(ready.reason)?.pod : undefined;
  switch (status?.phase) {
    case 'Bind':
      return trouble === 'failed' ? 'failed' : 'bound';
    case 'Detaching':
    case 'Deleting':
      return 'releasing';
    case 'Unbind':
      return trouble ?? 'reserved';
    default:
      return trouble ?? 'starting';
  }
}

function failingOf(podEni: PodEni): Failing {
  const ready = podEni.status?.conditions?.find(({ type }) => type === 'Ready');
  const { lastTransitionTime: since = '', reason = '', message = '' } = ready ?? {};
  return { key: keyOf(podEni), since, reason, message };
}

function keyOf({ metadata }: PodEni): string {
  return `${metadata.namespace}/${metadata.name}`;
}
