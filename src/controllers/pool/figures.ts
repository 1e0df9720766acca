import { ADDRESS_STATES, type AddressCounts, countAddresses } from '../../allocation/pool/counts.ts';
import type { NodeEni } from '../../crds/node.ts';

interface OfNode {
  addresses: ReadonlyMap<string, AddressCounts>;
  wanted: number;
}

/** Addresses of all pools, for metrics. Kept per node, so that a scrape does not read every record. */
export class PoolFigures {
  readonly #nodes = new Map<string, OfNode>();

  get size(): number {
    return this.#nodes.size;
  }

  /** @param wanted addresses that pods wait for, or that are to be idle, and that are not there */
  note(nodeName: string, enis: readonly NodeEni[], wanted: number): void {
    this.#nodes.set(nodeName, { addresses: countAddresses(enis), wanted });
  }

  forget(nodeName: string): void {
    this.#nodes.delete(nodeName);
  }

  /** Sums, by vSwitch. */
  addresses(): Map<string, AddressCounts> {
    const sums = new Map<string, AddressCounts>();
    for (const { addresses } of this.#nodes.values()) {
      for (const [vSwitchId, counts] of addresses) {
        const sum = sums.get(vSwitchId) ?? { idle: 0, bound: 0, releasing: 0, invalid: 0 };
        sums.set(vSwitchId, sum);
        for (const state of ADDRESS_STATES) sum[state] += counts[state];
      }
    }
    return sums;
  }

  wanted(): number {
    return [...this.#nodes.values()].reduce((sum, { wanted }) => sum + wanted, 0);
  }
}
