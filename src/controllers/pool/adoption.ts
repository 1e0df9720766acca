import type { OperationFailure } from '../../allocation/operation.ts';
import type { Capacity } from '../../allocation/plan.ts';
import { adopted } from '../../allocation/pool/audit.ts';
import { subnetsIn } from '../../allocation/pool/news.ts';
import type { PoolStatus } from '../../allocation/pool/pool-view.ts';
import type { Informers } from '../../cluster/informers.ts';
import type { TerwayNode } from '../../crds/node.ts';
import type { NetworkCatalog } from '../network-catalog.ts';
import { StoreCheck, type StoreCheckOptions } from './store-check.ts';
import { PoolSurvey, type PoolSurveyOptions } from './survey.ts';

type PoolAdoptionContext = PoolSurveyOptions &
  StoreCheckOptions & {
    clusterId: string;
    capacity: Pick<Capacity, 'vSwitches'>;
    catalog: Pick<NetworkCatalog, 'knows'>;
    informers: Pick<Informers, 'podEnis' | 'networkInterfaces'>;
    /** Until when a call that got no answer may take addresses of an ENI away. */
    heldUntilMs: (eniId: string) => number | undefined;
  };

/** What has become of a comparison with the cloud. */
export type Comparison =
  /** The record holds what the instance has. */
  | { is: 'done' }
  /** Nothing is to be compared. */
  | { is: 'idle' }
  /** The answers wake the node. */
  | { is: 'asked' }
  /** It is asked again. */
  | { is: 'failed'; failure: OperationFailure }
  /** These vSwitches must be known first. */
  | { is: 'heldUp'; vSwitchIds: string[] }
  /** Until then, addresses of an ENI may be taken away by a call that was sent before the ENI left the record. */
  | { is: 'waiting'; untilMs: number };

/** Takes into the record of a node what its instance has, when the record was never compared with it or lacks an ENI of it. */
export class PoolAdoption {
  readonly #context: PoolAdoptionContext;
  readonly #survey: PoolSurvey;
  readonly #stores: StoreCheck;
  /** Nodes for which the cloud has an ENI that their record lacks. */
  readonly #toCompare = new Set<string>();

  constructor(context: PoolAdoptionContext) {
    this.#context = context;
    this.#survey = new PoolSurvey(context);
    this.#stores = new StoreCheck(context);
  }

  /** Nodes that are remembered. */
  get size(): number {
    return this.#survey.size + this.#stores.size + this.#toCompare.size;
  }

  /** The cloud has an ENI for the node that its record lacks. */
  compare(name: string): void {
    this.#toCompare.add(name);
    this.#context.wakePool(name);
  }

  /** Changes the status in place. */
  into(status: PoolStatus, { metadata: { name }, spec }: TerwayNode, instanceId: string): Comparison {
    const { informers, capacity, catalog, clock, clusterId, heldUntilMs } = this.#context;
    const { podEnis, networkInterfaces } = informers;
    const isNew = status.lastSyncOpenAPITime === undefined;
    if (!isNew && !this.#toCompare.has(name)) return { is: 'idle' };
    const { enis, failure } = this.#survey.of(name, instanceId);
    if (enis === undefined) return failure === undefined ? { is: 'asked' } : { is: 'failed', failure };
    // From now on the record says who has an address, so nobody may be overlooked.
    if (isNew && !this.#stores.isPassed(name)) return { is: 'asked' };
    // Of a vSwitch that the VPC lacks nothing will be known; pods get nothing of its ENIs.
    const unknown = enis
      .map(({ vSwitchId }) => vSwitchId)
      .filter((id) => capacity.vSwitches.get(id) === undefined && !catalog.knows([id]));
    if (unknown.length > 0) return { is: 'heldUp', vSwitchIds: [...new Set(unknown)] };
    const held = enis.filter(({ id }) => status.networkInterfaces?.[id] === undefined).map(({ id }) => heldUntilMs(id));
    const untilMs = Math.max(0, ...held.filter((ms) => ms !== undefined));
    if (untilMs > clock.now()) {
      // What the cloud shows now may be gone by then.
      this.#survey.forget(name);
      return { is: 'waiting', untilMs };
    }
    const isNamed = (id: string) =>
      podEnis.store.byIndex('eni', id).length > 0 || networkInterfaces.store.get(id) !== undefined;
    const found = adopted(enis, { spec, clusterId }, isNamed, subnetsIn(capacity.vSwitches));
    status.networkInterfaces = { ...found, ...status.networkInterfaces };
    status.lastSyncOpenAPITime = new Date(clock.now()).toISOString();
    return { is: 'done' };
  }

  /** The record is written, or the node is gone. */
  forget(name: string): void {
    this.#survey.forget(name);
    this.#stores.forget(name);
    this.#toCompare.delete(name);
  }
}
