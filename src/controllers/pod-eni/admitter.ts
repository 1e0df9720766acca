import { matchNetworking } from '../../allocation/match.ts';
import { planPodEni, type WaitsFor } from '../../allocation/plan.ts';
import type { PodNetworking } from '../../crds/pod-networking.ts';
import { isAlreadyExists } from '../../kube/errors.ts';
import type { ControllerContext } from '../context.ts';
import { nodeFacts } from '../node-facts.ts';
import { hasStableName, isCandidate } from '../pod-facts.ts';
import type { Pod } from '../resources.ts';
import type { PodEniWriter } from './writer.ts';

/** Nothing wakes a pod whose namespace is not in the store yet. */
const NAMESPACE_LAG_MS = 500;
/** Free addresses come back without our doing, too. */
const RECHECK_MS = 15_000;

/** Gives a pod that should have an ENI its PodENI, or a place in the waiting room. */
export class PodAdmitter {
  readonly #context: ControllerContext;
  readonly #writer: PodEniWriter;

  constructor(context: ControllerContext, writer: PodEniWriter) {
    this.#context = context;
    this.#writer = writer;
  }

  /** @returns `again` when a PodENI was written. */
  async admit(key: string, pod: Pod | undefined, signal: AbortSignal): Promise<'again' | { requeueAfterMs?: number }> {
    const { informers, waitingRoom, events } = this.#context;
    if (pod === undefined || !isCandidate(pod)) {
      waitingRoom.leave(key);
      return {};
    }
    const namespace = informers.namespaces.store.get(pod.metadata.namespace ?? '');
    if (namespace === undefined) return { requeueAfterMs: NAMESPACE_LAG_MS };
    const match = matchNetworking(
      {
        labels: pod.metadata.labels ?? {},
        annotations: pod.metadata.annotations ?? {},
        namespaceLabels: namespace.metadata.labels ?? {},
        hasStableName: hasStableName(pod),
      },
      informers.podNetworkings.store.list(),
    );
    switch (match.kind) {
      case 'none':
        waitingRoom.leave(key);
        return {};
      case 'matched':
        return this.#plan(key, pod, match.networking, signal);
      case 'notReady':
        waitingRoom.park(key, { kind: 'networking', name: match.name });
        events.podWarning(
          key,
          'PodNetworkingNotReady',
          `PodNetworking ${match.name} is not Ready; \`kubectl describe podnetworking ${match.name}\` says why`,
        );
        return {};
      case 'unknown':
        waitingRoom.park(key, { kind: 'networking', name: match.name });
        events.podWarning(
          key,
          'PodNetworkingNotFound',
          `annotation k8s.aliyun.com/pod-networking names PodNetworking ${match.name}, which does not exist`,
        );
        return {};
      case 'needsStableName':
        waitingRoom.park(key, { kind: 'networking', name: match.name });
        events.podWarning(
          key,
          'FixedNeedsStableName',
          `PodNetworking ${match.name} gives Fixed addresses, which need a pod whose name comes back: use a StatefulSet, or allocationType Elastic`,
        );
        return {};
    }
  }

  async #plan(
    key: string,
    pod: Pod,
    networking: PodNetworking,
    signal: AbortSignal,
  ): Promise<'again' | { requeueAfterMs?: number }> {
    const { informers, waitingRoom, room, events, clock } = this.#context;
    const { nodeName } = pod.spec;
    const node = nodeFacts(informers.coreNodes.store.get(nodeName), informers.nodes.store.get(nodeName));
    const slot: WaitsFor = { kind: 'slot', nodeName };
    if (node?.trunkEniId !== undefined) {
      const free = node.memberLimit - room.slots.used(node.trunkEniId);
      if (free > 0 && waitingRoom.ahead(key, slot) >= free) {
        // Those who came before get the slots that are free (L3); all of them are on their way.
        waitingRoom.park(key, slot);
        return {};
      }
    }
    const identity = { namespace: pod.metadata.namespace ?? '', name: pod.metadata.name, uid: pod.metadata.uid ?? '' };
    const plan = planPodEni(identity, networking, node, nodeName, { ...room, nowMs: clock.now() });
    if (plan.kind === 'wait') {
      waitingRoom.park(key, plan.waitsFor);
      events.podWarning(key, plan.reason, plan.message);
      return plan.waitsFor.kind === 'vSwitch' ? { requeueAfterMs: RECHECK_MS } : {};
    }
    try {
      await this.#writer.create(plan.podEni, signal);
    } catch (error) {
      const vSwitchId = plan.podEni.spec.allocations?.[0]?.eni.vSwitchID;
      if (vSwitchId !== undefined) room.vSwitches.giveBack(vSwitchId);
      room.slots.release(key);
      // Another leader or a store that lags; the watch will bring it.
      if (isAlreadyExists(error)) return { requeueAfterMs: NAMESPACE_LAG_MS };
      throw error;
    }
    waitingRoom.leave(key);
    return 'again';
  }
}
