import type { CheckedCondition } from '../../allocation/networking-check.ts';
import { type ServiceCondition, serviceConditions } from '../../allocation/networking-conditions.ts';
import type { NetworkingStats } from '../../allocation/pod-networking-stats.ts';
import { rolloutGate } from '../../allocation/security-groups.ts';
import type { PodNetworking, PodNetworkingStatus } from '../../crds/pod-networking.ts';
import { jsonEqual } from '../../kube/patch.ts';
import { rfc3339 } from '../../util/clock.ts';
import { withoutNewRequestId } from '../../util/same-failure.ts';
import { stateCondition } from '../conditions.ts';
import type { CatalogAnswer } from '../network-catalog.ts';

/** The cloud's response about the spec. Without conditions there was no response, and the last known state stays. */
export interface Checked {
  conditions: CheckedCondition[];
  answer?: CatalogAnswer | undefined;
}

/** The inputs of a status. */
export interface StatusView {
  checked: Checked;
  stats: NetworkingStats;
  /** Waiting pods without a PodENI, and the zones in which they wait for an address. */
  unserved: { pods: number; zonesWithoutAddress: ReadonlySet<string> };
  /** Addresses believed to be free: the last count minus reservations since then. */
  free: (vSwitchId: string) => number | undefined;
  /** Appended to the Ready message, for example about other PodNetworkings that select the same pods. */
  remark?: string | undefined;
  /** Why the control plane's configuration file is not in force; undefined when it is. */
  configProblem?: string | undefined;
  nowMs: number;
}

/** The desired status of a PodNetworking. Pure; `updateAt` changes only when anything else does. */
export function networkingStatus(networking: PodNetworking, view: StatusView): PodNetworkingStatus {
  const { checked, nowMs } = view;
  const before = networking.status ?? {};
  const problem = checked.conditions.find((condition) => !condition.ok);
  const verdict = checked.conditions.length === 0 ? {} : verdictOf(networking, view, problem);
  const current: PodNetworking = { ...networking, status: { ...before, ...verdict } };
  const status: PodNetworkingStatus = { ...current.status, ...figures(networking, view) };
  const about = serviceConditions({
    stats: view.stats,
    gate: rolloutGate(current),
    zonesWithoutAddress: view.unserved.zonesWithoutAddress,
    vSwitches: status.vSwitches?.map(({ id, zone = '', availableIPCount = 0 }) => ({
      id,
      zone,
      free: view.free(id) ?? availableIPCount,
    })),
  });
  for (const stated of about) {
    status.conditions = stateCondition(status.conditions, networking, withOldRequestId(status, stated), nowMs);
  }
  const { configProblem } = view;
  const saidSo = status.conditions?.some(({ type }) => type === 'ConfigurationValid') === true;
  // Set only once a file was refused, so that the objects of a healthy system are not all written for it.
  if (configProblem !== undefined || saidSo) {
    const stated =
      configProblem === undefined
        ? ({ status: 'True', reason: 'ConfigurationInForce', message: 'the configuration file is in force' } as const)
        : ({ status: 'False', reason: 'ConfigurationRefused', message: configProblem } as const);
    status.conditions = stateCondition(status.conditions, networking, { type: 'ConfigurationValid', ...stated }, nowMs);
  }
  if (!jsonEqual(status, before)) status.updateAt = rfc3339(nowMs);
  return status;
}

/** Whether a status has news about spec or configuration, which is written at once; statistics may wait. */
export function isNewVerdict(before: PodNetworkingStatus | undefined, after: PodNetworkingStatus): boolean {
  const words = (status: PodNetworkingStatus | undefined) =>
    ['Ready', 'VSwitchesReady', 'SecurityGroupsReady', 'ConfigurationValid'].map((wanted) => {
      const condition = status?.conditions?.find(({ type }) => type === wanted);
      return [condition?.status, condition?.reason].join();
    });
  return (
    before?.status !== after.status ||
    before?.observedGeneration !== after.observedGeneration ||
    words(before).join() !== words(after).join()
  );
}

function verdictOf(
  networking: PodNetworking,
  { checked, remark, nowMs }: StatusView,
  problem: CheckedCondition | undefined,
): PodNetworkingStatus {
  const { generation } = networking.metadata;
  let conditions = networking.status?.conditions;
  for (const { type, ok, reason, message } of checked.conditions) {
    const stated = { type, status: ok ? 'True' : 'False', reason, message } as const;
    conditions = stateCondition(conditions, networking, stated, nowMs);
  }
  const verdict = problem?.message ?? 'vSwitches and security groups exist in the VPC';
  const message = remark === undefined ? verdict : `${verdict}; ${remark}`;
  conditions = stateCondition(
    conditions,
    networking,
    { type: 'Ready', status: problem === undefined ? 'True' : 'False', reason: problem?.reason ?? 'Checked', message },
    nowMs,
  );
  return {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    conditions,
    status: problem === undefined ? 'Ready' : 'Fail',
    message: problem?.message ?? '',
  };
}

function figures(networking: PodNetworking, { checked, stats, unserved }: StatusView): PodNetworkingStatus {
  const { updated, changing, outdated } = stats.rollout;
  const reservedOf = (id: string) => stats.reserved.get(id) ?? 0;
  const sum = (numbers: number[]) => numbers.reduce((total, count) => total + count, 0);
  const described = (networking.spec.vSwitchOptions ?? []).flatMap((id) => {
    const found = checked.answer?.vSwitches.get(id);
    return found === undefined ? [] : [{ id, zone: found.zoneId, availableIPCount: found.availableIpCount }];
  });
  const known = checked.answer === undefined ? (networking.status?.vSwitches ?? []) : described;
  const vSwitches = known.map((vSwitch) => ({ ...vSwitch, reservedIPCount: reservedOf(vSwitch.id) }));
  return {
    pods: { ...stats.pods, waiting: stats.pods.waiting + unserved.pods },
    rollout: { updated, changing: changing.size, outdated: outdated.size },
    vSwitches,
    availableIPCount: sum(vSwitches.map(({ availableIPCount = 0 }) => availableIPCount)),
    reservedIPCount: sum([...stats.reserved.values()]),
  };
}

/** A repeated error with another request id is no reason to write. */
function withOldRequestId({ conditions }: PodNetworkingStatus, stated: ServiceCondition): ServiceCondition {
  const before = conditions?.find(({ type }) => type === stated.type);
  return { ...stated, message: withoutNewRequestId(before?.message, stated.message) };
}
