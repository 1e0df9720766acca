import { type CheckedCondition, checkNetworking } from '../../allocation/networking-check.ts';
import { CloudError } from '../../cloud/errors.ts';
import type { PodNetworking, PodNetworkingStatus } from '../../crds/pod-networking.ts';
import { setCondition } from '../../kube/conditions.ts';
import { patchObject } from '../../kube/patch.ts';
import { rfc3339 } from '../../util/clock.ts';
import { jitter } from '../../util/random.ts';
import type { ControllerContext } from '../context.ts';
import type { CatalogAnswer, NetworkCatalog } from '../network-catalog.ts';
import { podNetworkingResource } from '../resources.ts';

/** A Ready networking is looked at again this often, a failing one more often. */
const RECHECK_READY_MS = 60_000;
const RECHECK_FAILED_MS = 10_000;
const RECHECK_JITTER = 0.1;
/** How old the catalogue may be: a check shortly after another one costs nothing. */
const MAX_AGE_MS = 8000;
/** Between two writes that only update figures (budgets.md). */
const FIGURES_EVERY_MS = 10_000;

/** Checks with the cloud what a PodNetworking names, and says in its status what is wrong. */
export class PodNetworkingController {
  readonly #context: ControllerContext;
  readonly #catalog: NetworkCatalog;

  constructor(context: ControllerContext, catalog: NetworkCatalog) {
    this.#context = context;
    this.#catalog = catalog;
  }

  async reconcile(name: string, signal: AbortSignal): Promise<{ requeueAfterMs?: number }> {
    const { informers, random } = this.#context;
    const networking = informers.podNetworkings.store.get(name);
    if (networking === undefined || networking.metadata.deletionTimestamp !== undefined) return {};
    const checked = await this.#check(networking, signal);
    const ready = checked.conditions.every((condition) => condition.ok);
    await this.#write(networking, checked, ready, signal);
    return { requeueAfterMs: jitter(random, ready ? RECHECK_READY_MS : RECHECK_FAILED_MS, RECHECK_JITTER) };
  }

  async #check(networking: PodNetworking, signal: AbortSignal): Promise<Checked> {
    const vSwitchIds = networking.spec.vSwitchOptions ?? [];
    const securityGroupIds = networking.spec.securityGroupIDs ?? [];
    try {
      const answer = await this.#catalog.lookUp({ vSwitchIds, securityGroupIds }, MAX_AGE_MS, signal);
      const conditions = checkNetworking(networking.spec, { vpcId: this.#context.vpcId, ...answer });
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
      return { conditions: [{ type: 'VSwitchesReady', ok: false, reason: 'CloudError', message: error.message }] };
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
      vSwitches: this.#vSwitchesOf(networking, checked.answer, nowMs),
    };
    const changed = JSON.stringify({ ...status, updateAt: '' }) !== JSON.stringify({ ...before, updateAt: '' });
    if (changed) status.updateAt = rfc3339(nowMs);
    return status;
  }

  /** Figures alone are not worth a write more often than every ten seconds. */
  #vSwitchesOf(networking: PodNetworking, answer: CatalogAnswer | undefined, nowMs: number) {
    const before = networking.status?.vSwitches;
    if (answer === undefined) return before;
    const now = (networking.spec.vSwitchOptions ?? []).flatMap((id) => {
      const found = answer.vSwitches.get(id);
      return found === undefined ? [] : [{ id, zone: found.zoneId, availableIPCount: found.availableIpCount }];
    });
    const sameIds = before?.map(({ id }) => id).join() === now.map(({ id }) => id).join();
    const recent = nowMs - Date.parse(networking.status?.updateAt ?? '') < FIGURES_EVERY_MS;
    return sameIds && recent ? before : now;
  }

  #announce(networking: PodNetworking, becomes: 'Ready' | 'Fail', problem: CheckedCondition | undefined): void {
    const regarding = { apiVersion: 'network.alibabacloud.com/v1beta1', kind: 'PodNetworking', object: networking };
    const { events } = this.#context;
    if (becomes === 'Ready') {
      events.about(regarding, 'Normal', 'SyncPodNetworkingSucceed', 'ready for pods', 'pod-networking');
    } else {
      events.about(regarding, 'Warning', 'SyncPodNetworkingFailed', problem?.message ?? '', 'pod-networking');
    }
  }
}

interface Checked {
  conditions: CheckedCondition[];
  answer?: CatalogAnswer;
}
