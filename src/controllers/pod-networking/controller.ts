import { checkNetworking } from '../../allocation/networking-check.ts';
import { reasonOfFailure } from '../../allocation/operation.ts';
import type { Capacity } from '../../allocation/plan.ts';
import type { PodNetworkingStats } from '../../allocation/pod-networking-stats.ts';
import { CloudError } from '../../cloud/errors.ts';
import type { Informers } from '../../cluster/informers.ts';
import type { PodEni } from '../../crds/pod-eni.ts';
import { isChecked, type PodNetworking, podNetworkingResource } from '../../crds/pod-networking.ts';
import type { KubeClient } from '../../kube/client.ts';
import { jsonEqual, patchObject } from '../../kube/patch.ts';
import type { Log } from '../../telemetry/log.ts';
import type { Clock } from '../../util/clock.ts';
import { jitter, type Random } from '../../util/random.ts';
import { withoutNewRequestId } from '../../util/same-failure.ts';
import type { ControllerEvents } from '../events.ts';
import type { NetworkCatalog } from '../network-catalog.ts';
import type { PendingPods } from '../pending-pods.ts';
import { type Watch, watch } from '../watch.ts';
import { FIGURES_EVERY_MS, type Known, type NetworkingNews } from './news.ts';
import { Overlaps, type OverlapsContext } from './overlaps.ts';
import { type RolloutContext, SecurityGroupRollout } from './rollout.ts';
import { type Checked, isNewVerdict, networkingStatus } from './status.ts';

/** A failing PodNetworking is checked this many times as often as a Ready one. */
const FAILED_RECHECKS = 6;
const RECHECK_JITTER = 0.1;
/**
 * Allowed age of the catalogue as a fraction of the check interval, so that checks close together share one request.
 */
const MAX_AGE = 0.8;
/** Delay of a rollout that yields to waiting pods. */
const ROLLOUT_RETRY_MS = 2000;

export type PodNetworkingContext = OverlapsContext &
  RolloutContext & {
    catalog: NetworkCatalog;
    client: KubeClient;
    clock: Clock;
    /** Why the configuration file on disk is not in force; undefined when it is. Read at each use. */
    configProblem: () => string | undefined;
    events: ControllerEvents;
    log: Log;
    /** How often a Ready PodNetworking is checked again. */
    networkingRecheckMs: number;
    random: Random;
    /** Slots and addresses; each plan adds `nowMs`. */
    capacity: Omit<Capacity, 'nowMs'>;
    vpcId: string;
    pendingPods: PendingPods;
    news: NetworkingNews;
    /**
     * Calls the listener when the configuration file was accepted or refused, until the returned function is called.
     */
    onConfigVerdict: (listener: () => void) => () => void;
    informers: Pick<Informers, 'podNetworkings' | 'podEnis'>;
  };

/**
 * Checks the resources that a PodNetworking names with the cloud, reports problems and the state of its pods in the
 * status, and rolls out edited security groups.
 */
export class PodNetworkingController {
  readonly #context: PodNetworkingContext;
  readonly #stats: PodNetworkingStats;
  readonly #rollout: SecurityGroupRollout;
  readonly #overlaps: Overlaps;
  readonly #known: Map<string, Known>;

  constructor(context: PodNetworkingContext) {
    this.#context = context;
    this.#known = context.news.known;
    this.#stats = context.news.stats;
    this.#rollout = new SecurityGroupRollout(context);
    this.#overlaps = new Overlaps(context);
  }

  /** Entries held for PodNetworkings and their PodENIs. */
  get size(): number {
    return this.#context.news.size + this.#overlaps.size;
  }

  /** PodNetworkings; PodENIs, which are counted first; and changes of the configuration file. */
  watches(): Watch[] {
    const { informers, onConfigVerdict } = this.#context;
    return [
      watch(informers.podNetworkings, {
        added: ({ metadata }) => [metadata.name],
        // Our own write comes from a reconcile that continues anyway.
        changed: (_, { metadata }, origin) => (origin === 'write' ? [] : [metadata.name]),
        removed: ({ metadata }) => [metadata.name],
      }),
      watch(informers.podEnis, {
        added: (podEni) => this.#count(podEni),
        changed: (_, podEni) => this.#count(podEni),
        removed: (podEni) => {
          this.#stats.remove(podEni);
          return [];
        },
      }),
      (add) =>
        onConfigVerdict(() => {
          for (const name of informers.podNetworkings.store.keys()) add(name);
        }),
    ];
  }

  #count(podEni: PodEni): readonly string[] {
    this.#stats.put(podEni);
    return [];
  }

  /** Reconciles one PodNetworking. @throws KubeApiError, TransportError */
  async reconcile(name: string, signal: AbortSignal): Promise<{ requeueAfterMs?: number }> {
    const { informers, clock } = this.#context;
    const networking = informers.podNetworkings.store.get(name);
    if (networking === undefined || networking.metadata.deletionTimestamp !== undefined) {
      this.#known.delete(name);
      this.#stats.forgetSecurityGroups(name);
      this.#overlaps.forget(name);
      return {};
    }
    this.#stats.setSecurityGroups(name, networking.spec.securityGroupIDs ?? [], () =>
      informers.podEnis.store.byIndex('networking', name),
    );
    const known = await this.#checked(networking, signal);
    const writeAfterMs = await this.#write(networking, known, signal);
    if (known.isNews) this.#wakeWaiting(name, known);
    const current = informers.podNetworkings.store.get(name) ?? networking;
    const isUnderWay = await this.#rollout.advance(current, this.#stats.of(name), signal);
    // The maximum interval also bounds the wait when the clock was set back.
    const checkAfterMs = Math.min(known.checkDueMs - clock.now(), this.#context.networkingRecheckMs);
    const next = [checkAfterMs, writeAfterMs, isUnderWay ? ROLLOUT_RETRY_MS : undefined];
    return { requeueAfterMs: Math.max(1, Math.min(...next.filter((ms) => ms !== undefined))) };
  }

  /** The cloud's response, requested only when due; news of pods alone does not trigger a request. */
  async #checked(networking: PodNetworking, signal: AbortSignal): Promise<Known> {
    const { random, clock, networkingRecheckMs } = this.#context;
    const { name, generation } = networking.metadata;
    const before = this.#known.get(name);
    const nowMs = clock.now();
    if (before !== undefined && before.generation === generation && nowMs < before.checkDueMs) return before;
    const checked = await this.#check(networking, signal);
    const isSound = checked.conditions.every((condition) => condition.ok);
    const periodMs = isSound ? networkingRecheckMs : networkingRecheckMs / FAILED_RECHECKS;
    const known = {
      checked: { ...checked, answer: checked.answer ?? before?.checked.answer },
      generation,
      checkDueMs: clock.now() + jitter(random, periodMs, RECHECK_JITTER),
      writtenMs: before?.writtenMs ?? (Date.parse(networking.status?.updateAt ?? '') || 0),
      isNews: isSound && checked.answer !== undefined,
    };
    this.#known.set(name, known);
    return known;
  }

  async #check(networking: PodNetworking, signal: AbortSignal): Promise<Checked> {
    const vSwitchIds = networking.spec.vSwitchOptions ?? [];
    const securityGroupIds = networking.spec.securityGroupIDs ?? [];
    const maxAgeMs = (this.#context.networkingRecheckMs / FAILED_RECHECKS) * MAX_AGE;
    try {
      const answer = await this.#context.catalog.lookUp({ vSwitchIds, securityGroupIds }, maxAgeMs, signal);
      const conditions = checkNetworking(networking.spec, {
        vpcId: this.#context.vpcId,
        withIpv6: this.#context.capacity.withIpv6,
        ...answer,
      });
      return { conditions, answer };
    } catch (error) {
      if (!(error instanceof CloudError)) throw error;
      // It worked before: a cloud that does not respond is no reason to stop serving pods.
      if (isChecked(networking)) {
        this.#context.log.warn({ podNetworking: networking.metadata.name, err: error.message }, 'check postponed');
        return { conditions: [] };
      }
      const before = networking.status?.conditions?.find(({ type }) => type === 'VSwitchesReady');
      const message = withoutNewRequestId(before?.message, error.message);
      return { conditions: [{ type: 'VSwitchesReady', ok: false, reason: reasonOfFailure(error), message }] };
    }
  }

  /** @returns after how long deferred statistics are to be written; undefined when none are left. */
  async #write(networking: PodNetworking, known: Known, signal: AbortSignal): Promise<number | undefined> {
    const { client, informers, pendingPods, capacity, clock, log, configProblem } = this.#context;
    const { name } = networking.metadata;
    const remark = await this.#overlaps.remarkOn(name, signal);
    const nowMs = clock.now();
    const status = networkingStatus(networking, {
      checked: known.checked,
      stats: this.#stats.of(name),
      unserved: pendingPods.unserved(name),
      free: (id) => capacity.vSwitches.free(id),
      remark,
      configProblem: configProblem(),
      nowMs,
    });
    if (jsonEqual(status, networking.status)) return undefined;
    const sinceMs = nowMs - known.writtenMs;
    // After the clock was set back the elapsed time is unknown.
    const isTooSoon = sinceMs >= 0 && sinceMs < FIGURES_EVERY_MS;
    if (isTooSoon && !isNewVerdict(networking.status, status)) return FIGURES_EVERY_MS - sinceMs;
    const written = await patchObject(
      client,
      podNetworkingResource,
      networking,
      (draft) => {
        draft.status = status;
      },
      { subresource: 'status', signal },
    );
    known.writtenMs = nowMs;
    informers.podNetworkings.store.noteWritten(written);
    if (networking.status?.status !== status.status) this.#announce(written);
    log.debug({ podNetworking: name, status: status.status, at: nowMs }, 'status written');
    return undefined;
  }

  /** Called after the status was written, because waiting pods read it. */
  #wakeWaiting(name: string, known: Known): void {
    const { pendingPods } = this.#context;
    known.isNews = false;
    pendingPods.wake({ kind: 'networking', name });
    for (const vSwitch of known.checked.answer?.vSwitches.values() ?? []) {
      pendingPods.wakeForAddress(vSwitch.id, vSwitch.availableIpCount);
    }
  }

  #announce(networking: PodNetworking): void {
    const regarding = { apiVersion: 'network.alibabacloud.com/v1beta1', kind: 'PodNetworking', object: networking };
    const { events } = this.#context;
    const said = isChecked(networking)
      ? ({
          type: 'Normal',
          reason: 'SyncPodNetworkingSucceed',
          cause: 'vSwitches and security groups exist; pods can use it',
        } as const)
      : ({
          type: 'Warning',
          reason: 'SyncPodNetworkingFailed',
          cause: networking.status?.message ?? '',
        } as const);
    events.transition(regarding, said, 'pod-networking');
  }
}
