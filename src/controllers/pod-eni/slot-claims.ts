import { isOwnerLive, targetOf } from '../../allocation/lifecycle.ts';
import { type NodeView, slotsOf } from '../../allocation/plan.ts';
import type { SlotLedger } from '../../allocation/slots.ts';
import type { Informers } from '../../cluster/informers.ts';
import { nodeView } from '../../cluster/node-view.ts';
import { podView } from '../../cluster/pod-view.ts';
import type { TerwayNode } from '../../crds/node.ts';
import type { AttachTarget, PodEni } from '../../crds/pod-eni.ts';
import { keyOf } from '../../kube/types.ts';
import { type Watch, watch } from '../watch.ts';

export interface SlotClaimsContext {
  capacity: { slots: SlotLedger };
  informers: Pick<Informers, 'pods' | 'coreNodes' | 'podEnis' | 'nodes'>;
}

/** Reserves the slots that records hold, as far as this process has not planned them itself. */
export class SlotClaims {
  readonly #context: SlotClaimsContext;

  constructor(context: SlotClaimsContext) {
    this.#context = context;
  }

  /**
   * Nodes whose instance is another one now: the slots of their pods go there, ahead of pods without a record (L3). At the start of
   * a term this must come after all records have claimed theirs.
   */
  watches(): Watch {
    return watch(this.#context.informers.nodes, {
      added: (node) => this.#move(node),
      changed: (before, node) => (instanceOf(before) === instanceOf(node) ? [] : this.#move(node)),
    });
  }

  /** At the start of a term, and when someone else, such as the previous leader, creates or changes a record. */
  claim(podEni: PodEni): void {
    const { informers, capacity } = this.#context;
    const key = keyOf(podEni.metadata);
    const target = targetOf(podEni);
    if (target === undefined) return;
    const pod = podView(informers.pods.store.get(key));
    const isTaken = isOwnerLive(podEni, pod) && pod.state === 'live' && pod.nodeName === target.nodeName;
    if (podEni.status?.phase === 'Unbind' && !isTaken) return;
    const count = podEni.spec.allocations?.length ?? 1;
    const next = isTaken ? this.#nextInstance(podEni, target, count) : undefined;
    capacity.slots.reserve(key, next ?? target.instanceID, count);
  }

  /** Whether the instance that the record names has slots for it beside what others hold there. */
  hasRoom({ metadata, spec }: PodEni): boolean {
    const node = this.#nodeView(spec.target?.nodeName ?? '');
    if (node === undefined || node.instanceId !== spec.target?.instanceID) return true;
    const used = this.#context.capacity.slots.usedByOthers(node.instanceId, keyOf(metadata));
    return used + (spec.allocations?.length ?? 1) <= slotsOf(node);
  }

  /** @returns keys of the records that may go to the present instance of the node */
  #move({ metadata: { name } }: TerwayNode): string[] {
    const node = this.#nodeView(name);
    if (node === undefined) return [];
    const moved = this.#context.informers.podEnis.store
      .byIndex('node', name)
      .filter(({ spec }) => spec.target?.instanceID !== node.instanceId);
    for (const podEni of moved) this.claim(podEni);
    return moved.map(({ metadata }) => keyOf(metadata));
  }

  /**
   * The present instance of the node, if it is another one than the record's and has room. Without room the record waits like
   * any pod: records that held more slots than there are would wait for each other.
   */
  #nextInstance({ metadata, spec, status }: PodEni, target: AttachTarget, count: number): string | undefined {
    const node = this.#nodeView(target.nodeName);
    if (node === undefined || node.instanceId === target.instanceID || node.zone !== spec.zone) return undefined;
    if (metadata.deletionTimestamp !== undefined || status?.phase === 'Detaching') return undefined;
    const used = this.#context.capacity.slots.usedByOthers(node.instanceId, keyOf(metadata));
    return used + count <= slotsOf(node) ? node.instanceId : undefined;
  }

  #nodeView(name: string): NodeView | undefined {
    const { coreNodes, nodes } = this.#context.informers;
    return nodeView(coreNodes.store.get(name), nodes.store.get(name));
  }
}

function instanceOf({ spec }: TerwayNode): string | undefined {
  return spec.nodeMetadata?.instanceID;
}
