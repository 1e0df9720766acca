import { checkNetworking } from '../../allocation/networking-check.ts';
import type { NetworkingTally } from '../../allocation/networking-tally.ts';
import { reasonOfFailure } from '../../allocation/observation.ts';
import { CloudError } from '../../cloud/errors.ts';
import type { PodNetworking } from '../../crds/pod-networking.ts';
import { jsonEqual, patchObject } from '../../kube/patch.ts';
import { jitter } from '../../util/random.ts';
import type { ControllerContext } from '../context.ts';
import { podNetworkingResource } from '../resources.ts';
import { withoutNewRequestId } from '../same-failure.ts';
import { Overlaps } from './overlaps.ts';
import { type Retarget, SecurityGroupRollout } from './rollout.ts';
import { type Checked, isNewVerdict, networkingStatus } from './status.ts';

/** A failing networking is looked at again this much more often than a Ready one. */
const FAILED_RECHECKS = 6;
const RECHECK_JITTER = 0.1;
/** How old the catalogue may be, in parts of the time between checks: one shortly after another costs nothing. */
const MAX_AGE = 0.8;
/** Between two writes that tell nothing new about the spec (budgets.md). */
const FIGURES_EVERY_MS = 10_000;
/** Changes of pods come in crowds; they are looked at together. */
const GATHER_MS = 250;
/** A rollout that pods hold up looks again. */
const ROLLOUT_RETRY_MS = 2000;

/** What this process knows of one PodNetworking. */
interface Known {
  checked: Checked;
  generation: number | undefined;
  checkDueMs: number;
  writtenMs: number;
  /** The cloud has told that there is room, and nobody was woken yet. */
  isNews: boolean;
}

/**
 * Checks with the cloud what a PodNetworking names, says in its status what is wrong and how its pods are served, and rolls
 * edited security groups out.
 */
export class PodNetworkingController {
  readonly #context: ControllerContext;
  readonly #tally: NetworkingTally;
  readonly #rollout: SecurityGroupRollout;
  readonly #overlaps: Overlaps;
  readonly #known = new Map<string, Known>();

  /** @param options.tally is kept by the owner; this controller tells it the security groups. */
  constructor(context: ControllerContext, options: { tally: NetworkingTally; retarget: Retarget }) {
    this.#context = context;
    this.#tally = options.tally;
    this.#rollout = new SecurityGroupRollout(context, options.retarget);
    this.#overlaps = new Overlaps(context);
  }

  /** A check is wanted at this time, earlier than it would be by itself. @param atMs epoch milliseconds. */
  wantCheck(name: string, atMs: number): void {
    const known = this.#known.get(name);
    if (known !== undefined) known.checkDueMs = Math.min(known.checkDueMs, atMs);
  }

  /** After how long news of its pods is worth a look; milliseconds. */
  delayOfNews(name: string): number {
    const isRollingOut = this.#tally.of(name).rollout.outdated.size > 0;
    const writtenMs = this.#known.get(name)?.writtenMs ?? Number.NEGATIVE_INFINITY;
    if (isRollingOut) return GATHER_MS;
    const restMs = writtenMs + FIGURES_EVERY_MS - this.#context.clock.now();
    return Math.min(FIGURES_EVERY_MS, Math.max(GATHER_MS, restMs));
  }

  /** Reconciles one PodNetworking. @throws KubeApiError, TransportError */
  async reconcile(name: string, signal: AbortSignal): Promise<{ requeueAfterMs?: number }> {
    const { informers, clock } = this.#context;
    const networking = informers.podNetworkings.store.get(name);
    if (networking === undefined || networking.metadata.deletionTimestamp !== undefined) {
      this.#known.delete(name);
      this.#tally.untarget(name);
      return {};
    }
    this.#tally.target(name, networking.spec.securityGroupIDs ?? [], () =>
      informers.podEnis.store.byIndex('networking', name),
    );
    const known = await this.#checked(networking, signal);
    const writeAfterMs = await this.#write(networking, known, signal);
    if (known.isNews) this.#wakeWaiting(name, known);
    const current = informers.podNetworkings.store.get(name) ?? networking;
    const isUnderWay = await this.#rollout.advance(current, this.#tally.of(name), signal);
    // The longest of them also bounds the wait when the clock was set back.
    const checkAfterMs = Math.min(known.checkDueMs - clock.now(), this.#context.networkingRecheckMs);
    const next = [checkAfterMs, writeAfterMs, isUnderWay ? ROLLOUT_RETRY_MS : undefined];
    return { requeueAfterMs: Math.max(1, Math.min(...next.filter((ms) => ms !== undefined))) };
  }

  /** What the cloud says, asked for only when it is due; news of pods alone is no reason. */
  async #checked(networking: PodNetworking, signal: AbortSignal): Promise<Known> {
    const { random, clock, networkingRecheckMs } = this.#context;
    const { name, generation } = networking.metadata;
    const before = this.#known.get(name);
    const nowMs = clock.now();
    if (before !== undefined && before.generation === generation && nowMs < before.checkDueMs) return before;
    const checked = await this.#check(networking, signal);
    const isReady = checked.conditions.every((condition) => condition.ok);
    const periodMs = isReady ? networkingRecheckMs : networkingRecheckMs / FAILED_RECHECKS;
    const known = {
      checked: { ...checked, answer: checked.answer ?? before?.checked.answer },
      generation,
      checkDueMs: clock.now() + jitter(random, periodMs, RECHECK_JITTER),
      writtenMs: before?.writtenMs ?? (Date.parse(networking.status?.updateAt ?? '') || 0),
      isNews: isReady && checked.answer !== undefined,
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
        withIpv6: this.#context.room.withIpv6,
        ...answer,
      });
      return { conditions, answer };
    } catch (error) {
      if (!(error instanceof CloudError)) throw error;
      // Known to work before: a cloud that does not answer is no reason to stop serving pods.
      if (
        networking.status?.status === 'Ready' &&
        networking.status.observedGeneration === networking.metadata.generation
      ) {
        this.#context.log.warn({ podNetworking: networking.metadata.name, err: error.message }, 'check postponed');
        return { conditions: [] };
      }
      const before = networking.status?.conditions?.find(({ type }) => type === 'VSwitchesReady');
      const message = withoutNewRequestId(before?.message, error.message);
      return { conditions: [{ type: 'VSwitchesReady', ok: false, reason: reasonOfFailure(error), message }] };
    }
  }

  /** @returns after how long what is not worth a write yet is to be written; undefined when nothing is left. */
  async #write(networking: PodNetworking, known: Known, signal: AbortSignal): Promise<number | undefined> {
    const { client, informers, waitingRoom, room, clock, log, configProblem } = this.#context;
    const { name } = networking.metadata;
    const remark = await this.#overlaps.remarkOn(name, signal);
    const nowMs = clock.now();
    const status = networkingStatus(networking, {
      checked: known.checked,
      tally: this.#tally.of(name),
      unserved: waitingRoom.unserved(name),
      free: (id) => room.vSwitches.free(id),
      remark,
      configProblem: configProblem(),
      nowMs,
    });
    if (jsonEqual(status, networking.status)) return undefined;
    const sinceMs = nowMs - known.writtenMs;
    // After the clock was set back nobody knows how long it has been.
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

  /** After the status was written, which is what those who wait look at. */
  #wakeWaiting(name: string, known: Known): void {
    const { waitingRoom } = this.#context;
    known.isNews = false;
    waitingRoom.wake({ kind: 'networking', name });
    for (const vSwitch of known.checked.answer?.vSwitches.values() ?? []) {
      waitingRoom.wakeForAddress(vSwitch.id, vSwitch.availableIpCount);
    }
  }

  #announce(networking: PodNetworking): void {
    const regarding = { apiVersion: 'network.alibabacloud.com/v1beta1', kind: 'PodNetworking', object: networking };
    const { events } = this.#context;
    const said =
      networking.status?.status === 'Ready'
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
