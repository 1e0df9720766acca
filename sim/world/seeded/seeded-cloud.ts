import { ANNOTATION_POD_UID } from '../../../src/crds/names.ts';
import type { PodEni } from '../../../src/crds/pod-eni.ts';
import type { CloudCall, CloudFault } from '../cloud-link.ts';
import type { World } from '../world.ts';
import type { CloudAct } from './acts.ts';

/** With the longest delay, and a list that lags, the ENI still appears within 30 s of the intent. */
const YOUNG_MS = 4000;
/** Before an attachment that is late arrives. */
const PODS_GO_MS = 200;

/** Carries out what a plan does to the behaviour of the cloud. */
export class SeededCloud {
  readonly #world: World;
  /** Until when creations arrive late, and by how much. */
  #lateCreations = { byMs: 0, untilMs: 0 };
  #lateAttachments = { byMs: 0, untilMs: 0, isPodGone: false };

  constructor(world: World) {
    this.#world = world;
  }

  perform(act: CloudAct): void {
    const { cloud, clock } = this.#world;
    const nowMs = clock.now();
    switch (act.kind) {
      case 'throttle':
        cloud.setBehaviour({ rateWindows: { [act.action]: { limit: act.limit, windowMs: 60_000 } } }, nowMs);
        clock.schedule(act.forMs, () => cloud.setBehaviour({ rateWindows: {} }, clock.now()));
        return;
      case 'fail-attachments':
        cloud.setBehaviour({ attachFaults: [{ outcome: act.outcome, count: act.count }] }, nowMs);
        return;
      case 'lag-lists':
        this.#lagLists(act.createdMs, act.deletedMs, act.forMs);
        return;
      case 'delay-creations':
        this.#lateCreations = { byMs: act.byMs, untilMs: clock.monotonicMs() + act.forMs };
        return;
      case 'delay-attachments': {
        const { byMs, isPodGone } = act;
        this.#lagLists(act.createdMs, 0, act.forMs);
        this.#lateAttachments = { byMs, isPodGone, untilMs: clock.monotonicMs() + act.forMs };
      }
    }
  }

  #lagLists(createdMs: number, deletedMs: number, forMs: number): void {
    const { cloud, clock } = this.#world;
    cloud.setBehaviour({ listLag: { createdMs, deletedMs } }, clock.now());
    const end = () => cloud.setBehaviour({ listLag: { createdMs: 0, deletedMs: 0 } }, clock.now());
    clock.schedule(forMs, end);
  }

  /** What an act does to this call. */
  faultOf(call: CloudCall): CloudFault | undefined {
    if (call.action === 'CreateNetworkInterface') return this.#lateCreation(call);
    return call.action === 'AttachNetworkInterface' ? this.#lateAttachment(call) : undefined;
  }

  #lateAttachment({ params }: CloudCall): CloudFault | undefined {
    const { clock } = this.#world;
    const { byMs, untilMs, isPodGone } = this.#lateAttachments;
    const eniId = params['NetworkInterfaceId'];
    if (clock.monotonicMs() >= untilMs) return undefined;
    const podEni = this.#world.podEnis().find(({ spec }) => spec.allocations?.some(({ eni }) => eni.id === eniId));
    if (isPodGone && podEni !== undefined) clock.schedule(PODS_GO_MS, () => this.#deletePodOf(podEni));
    return { kind: 'late', ms: byMs };
  }

  #deletePodOf({ metadata: { namespace = '', name, annotations } }: PodEni): void {
    const pod = this.#world.kube.peek('pods', { namespace, name });
    if (pod?.metadata.uid === annotations?.[ANNOTATION_POD_UID]) this.#world.deletePod(`${namespace}/${name}`, 0);
  }

  /** Whether a creation arrives late: only while its intent is young, as the product trusts that an ENI appears within 30 s of it. */
  #lateCreation({ params }: CloudCall): CloudFault | undefined {
    const { clock } = this.#world;
    if (clock.monotonicMs() >= this.#lateCreations.untilMs) return undefined;
    const intents = this.#world.podEnis().flatMap(({ spec }) => (spec.allocations ?? []).map(({ intent }) => intent));
    const createdAt = intents.find((intent) => intent?.clientToken === params['ClientToken'])?.createdAt;
    const isYoung = createdAt !== undefined && clock.now() - Date.parse(createdAt) < YOUNG_MS;
    return isYoung ? { kind: 'late', ms: this.#lateCreations.byMs } : undefined;
  }

  /** It behaves well from now on. */
  quiet(): void {
    const { cloud, clock } = this.#world;
    this.#lateCreations = { byMs: 0, untilMs: 0 };
    this.#lateAttachments = { byMs: 0, untilMs: 0, isPodGone: false };
    cloud.setBehaviour({ rateWindows: {}, listLag: { createdMs: 0, deletedMs: 0 }, attachFaults: [] }, clock.now());
  }

  /** As the cloud's support does. */
  endHangingAttachments(): void {
    const { cloud, clock } = this.#world;
    cloud.advance(clock.now());
    if (cloud.nextDueMs() !== undefined) cloud.completeAll(clock.now());
    for (const { id, status } of cloud.enis()) if (status === 'Attaching') cloud.detachEniByHand(id, clock.now());
  }
}
