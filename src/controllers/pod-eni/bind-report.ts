import { isRewritten } from '../../allocation/rewritten.ts';
import type { Informers } from '../../cluster/informers.ts';
import type { PodEni } from '../../crds/pod-eni.ts';
import type { Eni } from '../../ecs/eni.ts';
import type { Log } from '../../telemetry/log.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { Clock } from '../../util/clock.ts';
import type { ControllerEvents } from '../events.ts';
import type { PodStarts } from '../pod-starts.ts';

export interface BindReportContext {
  clock: Clock;
  events: ControllerEvents;
  log: Log;
  metrics: Pick<Metrics, 'podReadySeconds'>;
  /** Since when pods wait for their interfaces. */
  starts: PodStarts;
  informers: Pick<Informers, 'pods'>;
}

/** Reports in events, log and metrics that a pod has its interfaces, or has new security groups. */
export class BindReport {
  readonly #context: BindReportContext;

  constructor(context: BindReportContext) {
    this.#context = context;
  }

  /**
   * @param podEni the record before the bind
   * @param isModified whether the security groups of an interface, by index, were changed
   */
  tell(key: string, podEni: PodEni, enis: readonly Eni[], isModified: (index: number) => boolean): void {
    const { events, log } = this.#context;
    const wasBound = podEni.status?.phase === 'Bind';
    if (!wasBound) this.#measure(key, podEni);
    for (const [index, eni] of enis.entries()) {
      if (wasBound && isModified(index)) {
        const groups = eni.securityGroupIds.join(', ');
        events.podNormal(key, 'SecurityGroupsChanged', `${eni.id} now has the security groups ${groups}`);
        log.info({ podEni: key, eni: eni.id, securityGroups: eni.securityGroupIds }, 'security groups changed');
        continue;
      }
      // A rollout that found nothing to change, or a second interface that was not changed.
      if (wasBound && isRewritten(podEni)) continue;
      events.podNormal(
        key,
        'AttachENISucceed',
        `${eni.id} (${eni.primaryIp}, ${eni.vSwitchId}) is attached${eni.vlanId === undefined ? '' : ` with VLAN id ${eni.vlanId}`}`,
      );
      log.info({ podEni: key, eni: eni.id, ip: eni.primaryIp, vlan: eni.vlanId, trunk: eni.trunkEniId }, 'bound');
    }
  }

  /**
   * How long the pod waited for its interfaces. A wait that started before this leader counts from the pod's creation.
   */
  #measure(key: string, podEni: PodEni): void {
    const { starts, metrics, informers, clock } = this.#context;
    const waitedMs = starts.end(key);
    if (waitedMs !== undefined) {
      const path = podEni.status?.phase === 'Binding' ? 'fixed' : 'cold';
      metrics.podReadySeconds.observe({ path }, waitedMs / 1000);
      return;
    }
    const createdMs = Date.parse(informers.pods.store.get(key)?.metadata.creationTimestamp ?? '');
    if (Number.isNaN(createdMs)) return;
    metrics.podReadySeconds.observe({ path: 'adopted' }, Math.max(0, clock.now() - createdMs) / 1000);
  }
}
