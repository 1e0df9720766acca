import type { Capacity } from '../allocation/plan.ts';
import { SlotLedger } from '../allocation/slots.ts';
import { VSwitchPool } from '../allocation/vswitch-pool.ts';
import { EniObserver } from '../cloud/observer.ts';
import { EniDriver } from './eni/driver.ts';
import { EniSearch } from './eni/eni-search.ts';
import { ControllerEvents } from './events.ts';
import { NetworkCatalog } from './network-catalog.ts';
import { PendingPods } from './pending-pods.ts';
import { NetworkingNews } from './pod-networking/news.ts';
import { PodStarts } from './pod-starts.ts';
import type { Queues } from './queues.ts';
import { slotNews } from './slot-news.ts';
import type { TermOptions } from './term.ts';

/** Whom news of the parts concerns. */
interface Wakes {
  queues: Queues;
  wakePod: (key: string) => void;
  wakeNode: (name: string) => void;
}

/** What several controllers of a term use. Each gets of it what its constructor names (manager.ts). */
export function termParts(options: TermOptions, { queues, wakePod, wakeNode }: Wakes, signal: AbortSignal) {
  const { cloud, quota, informers, clock, random, log, clusterId } = options;
  const wake = (owner: string) => queues.wake(owner);
  const observer = new EniObserver({
    cloud,
    clock,
    wake,
    onError: (message) => log.warn({ err: message }, 'describe failed'),
  });
  const search = new EniSearch({ cloud, quota, clock, clusterId, vpcId: options.vpcId, signal });
  const driver = new EniDriver({ cloud, quota, observer, search, clock, signal, wake });

  const news = new NetworkingNews({ clock, queue: queues.networkings });
  const pendingPods = new PendingPods(wakePod, (networking) => news.changed(networking));
  const slots = new SlotLedger(slotNews({ nodes: informers.nodes.store, pendingPods, wakeNode }));
  const vSwitches = new VSwitchPool();
  const capacity: Omit<Capacity, 'nowMs'> = { slots, vSwitches, random, clusterId, withIpv6: options.withIpv6 };
  const catalog = new NetworkCatalog({ cloud, clock, vpcId: options.vpcId, pool: vSwitches });
  const events = new ControllerEvents({ recorder: options.recorder, pods: informers.pods.store, clock });
  const starts = new PodStarts(clock);
  return { observer, search, driver, news, pendingPods, slots, capacity, catalog, events, starts };
}
