import { type CheckedCondition, checkNetworking } from '../../allocation/networking-check.ts';
import { CloudError } from '../../cloud/errors.ts';
import type { PodNetworking, PodNetworkingStatus } from '../../crds/pod-networking.ts';
import { setCondition } from '../../kube/conditions.ts';
import { patchObject } from '../../kube/patch.ts';
import { rfc3339 } from '../../util/clock.ts';
import { jitter } from '../../util/random.ts';
import type { ControllerContext } from '../context.ts';
import type { CatalogAnswer } from '../network-catalog.ts';
import { podNetworkingResource } from '../resources.ts';
import { withoutNewRequestId } from '../same-failure.ts';

/** A failing networking is looked at again this much more often than a Ready one. */
const FAILED_RECHECKS = 6;
const RECHECK_JITTER = 0.1;
/** How old the catalogue may be, in parts of the time between checks: one shortly after another costs nothing. */
const MAX_AGE = 0.8;
/** Between two writes that only update figures (budgets.md). */
const FIGURES_EVERY_MS = 10_000;

/** Checks with the cloud what a PodNetworking names, and says in its status what is wrong. */
export class PodNetworkingController {
  readonly #context: ControllerContext;

  constructor(context: ControllerContext) {
    this.#context = context;
  }

  async reconcile(name: string, signal: AbortSignal): Promise<{ requeueAfterMs?: number }> {
    const { informers, random, networkingRecheckMs } = this.#context;
    const networking = informers.podNetworkings.store.get(name);
    if (networking === undefined || networking.metadata.deletionTimestamp !== undefined) return {};
    const checked = await this.#check(networking, signal);
    const ready = checked.conditions.every((condition) => condition.ok);
    await this.#write(networking, checked, ready, signal);
    const requeueAfterMs = ready ? networkingRecheckMs : networkingRecheckMs / FAILED_RECHECKS;
    return { requeueAfterMs: jitter(random, requeueAfterMs, RECHECK_JITTER) };
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
      return { conditions: [{ type: 'VSwitchesReady', ok: false, reason: 'CloudError', message }] };
    }
  }

  async #write(networking: PodNetworking, checked: Checked, ready: boolean, signal: AbortSignal): Promise<void> {
    const { client, informers, waitingRoom, clock } = this.#context;
    if (checked.conditions.length === 0) return;
    const problem = checked.conditions.find((condition) => !condition.ok);
    const was = networking.status?.status;
    const becomes = ready ? 'Ready' : 'Fail';
    const written = await patchObject(
      client,
      podNetworkingResource,
      networking,
      (draft) => {
        draft.status = this.#statusOf(networking, checked, becomes, problem);
      },
      { subresource: 'status', signal },
    );
    informers.podNetworkings.store.noteWritten(written);
    if (was !== becomes) this.#announce(written, becomes, problem);
    if (ready) {
      waitingRoom.wake({ kind: 'networking', name: networking.metadata.name });
      for (const vSwitch of checked.answer?.vSwitches.values() ?? []) {
        if (vSwitch.availableIpCount > 0) waitingRoom.wake({ kind: 'vSwitch', zone: vSwitch.zoneId });
      }
    }
    this.#context.log.debug({ podNetworking: networking.metadata.name, status: becomes, at: clock.now() }, 'checked');
  }

  #statusOf(
    networking: PodNetworking,
    checked: Checked,
    becomes: 'Ready' | 'Fail',
    problem: CheckedCondition | undefined,
  ): PodNetworkingStatus {
    const nowMs = this.#context.clock.now();
    const before = networking.status ?? {};
    const { generation } = networking.metadata;
    const observed = generation === undefined ? {} : { observedGeneration: generation };
    let conditions = before.conditions;
    for (const { type, ok, reason, message } of checked.conditions) {
      conditions = setCondition(
        conditions,
        { type, status: ok ? 'True' : 'False', reason, message, ...observed },
        nowMs,
      );
    }
    conditions = setCondition(
      conditions,
      {
        type: 'Ready',
        status: becomes === 'Ready' ? 'True' : 'False',
        reason: problem?.reason ?? 'Checked',
        message: problem?.message ?? 'vSwitches and security groups exist in the VPC',
        ...observed,
      },
      nowMs,
    );
    const status: PodNetworkingStatus = {
      ...before,
      ...observed,
      conditions,
      status: becomes,
      message: problem?.message ?? '',
      ...this.#figuresOf(networking, checked.answer, nowMs),
    };
    const changed = JSON.stringify({ ...status, updateAt: '' }) !== JSON.stringify({ ...before, updateAt: '' });
    if (changed) status.updateAt = rfc3339(nowMs);
    return status;
  }

  /** Figures alone are not worth a write more often than every ten seconds. */
  #figuresOf(
    networking: PodNetworking,
    answer: CatalogAnswer | undefined,
    nowMs: number,
  ): Partial<PodNetworkingStatus> {
    if (answer === undefined) return {};
    const vSwitches = (networking.spec.vSwitchOptions ?? []).flatMap((id) => {
      const found = answer.vSwitches.get(id);
      return found === undefined ? [] : [{ id, zone: found.zoneId, availableIPCount: found.availableIpCount }];
    });
    const before = networking.status?.vSwitches;
    const sameIds = before?.map(({ id }) => id).join() === vSwitches.map(({ id }) => id).join();
    const recent = nowMs - Date.parse(networking.status?.updateAt ?? '') < FIGURES_EVERY_MS;
    if (sameIds && recent) return {};
    return { vSwitches, availableIPCount: vSwitches.reduce((sum, { availableIPCount }) => sum + availableIPCount, 0) };
  }

  #announce(networking: PodNetworking, becomes: 'Ready' | 'Fail', problem: CheckedCondition | undefined): void {
    const regarding = { apiVersion: 'network.alibabacloud.com/v1beta1', kind: 'PodNetworking', object: networking };
    const { events } = this.#context;
    if (becomes === 'Ready') {
      events.transition(
        regarding,
        'Normal',
        'SyncPodNetworkingSucceed',
        'vSwitches and security groups exist; pods can use it',
        'pod-networking',
      );
    } else {
      events.transition(regarding, 'Warning', 'SyncPodNetworkingFailed', problem?.message ?? '', 'pod-networking');
    }
  }
}

interface Checked {
  conditions: CheckedCondition[];
  answer?: CatalogAnswer;
}
