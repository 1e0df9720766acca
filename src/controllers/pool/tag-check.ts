import { withSchedulability } from '../../allocation/pool/audit.ts';
import type { PoolStatus } from '../../allocation/pool/pool-view.ts';
import type { EniObserver } from '../../cloud/observer.ts';
import type { TerwayNode } from '../../crds/node.ts';
import type { Clock } from '../../util/clock.ts';
import { poolOwner } from '../owners.ts';

interface Seen {
  /** `tagBlockList` and `tagFilter`, as they were at the last look. */
  rules: string;
  /** When they changed, as long as an ENI was not looked at since, epoch milliseconds. */
  changedMs: number | undefined;
}

/**
 * An edit of `eni_tag_block_list` or `eni_tag_filter` counts at once: the record does not have the tags of ENIs, so they are read, and until then
 * pods get nothing of them. What was edited while nobody led, the collector finds.
 */
export class PoolTagCheck {
  readonly #context: { clock: Clock; clusterId: string; observer: Pick<EniObserver, 'expect' | 'latest'> };
  readonly #seen = new Map<string, Seen>();

  constructor(context: { clock: Clock; clusterId: string; observer: Pick<EniObserver, 'expect' | 'latest'> }) {
    this.#context = context;
  }

  /** Nodes that are remembered. */
  get size(): number {
    return this.#seen.size;
  }

  forget(name: string): void {
    this.#seen.delete(name);
  }

  /** Records what ENIs are left alone by now. Changes the status in place. @returns ids of ENIs of which that is not known yet */
  into(status: PoolStatus, { metadata: { name }, spec }: TerwayNode): ReadonlySet<string> {
    const { clock, clusterId, observer } = this.#context;
    const rules = JSON.stringify([spec.eni?.tagBlockList, spec.eni?.tagFilter]);
    const before = this.#seen.get(name);
    const isEdited = before !== undefined && before.rules !== rules;
    // A clock that was set back must not make every answer older than the edit.
    const changedMs = isEdited
      ? clock.now()
      : before?.changedMs === undefined
        ? undefined
        : Math.min(before.changedMs, clock.now());
    const unread = new Set<string>();
    if (changedMs !== undefined) {
      const enis = { ...status.networkInterfaces };
      for (const eni of Object.values(enis)) {
        const { atMs = 0, eni: shown } = observer.latest(eni.id) ?? {};
        if (eni.status !== 'InUse') continue;
        if (atMs < changedMs) {
          unread.add(eni.id);
          observer.expect(eni.id, 'read', poolOwner(name), 'repair');
        } else if (shown !== undefined) {
          enis[eni.id] = withSchedulability(eni, shown, { spec, clusterId });
        }
      }
      status.networkInterfaces = enis;
    }
    this.#seen.set(name, { rules, changedMs: unread.size > 0 ? changedMs : undefined });
    return unread;
  }
}
