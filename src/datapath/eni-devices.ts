import type { Clock } from '../util/clock.ts';
import { DatapathError } from './errors.ts';
import { inStep, type Kernel, NODE } from './kernel/kernel.ts';
import { linkAt, listLinks } from './links.ts';
import { containerOf, isOurGroup } from './names.ts';
import type { Link } from './netlink/link.ts';
import type { ResolvedEni } from './plan-node.ts';
import type { EniDevice } from './types.ts';

/** How long to wait for a device that the cloud has attached but the kernel does not show yet. */
const APPEAR_TIMEOUT_MS = 10_000;
const POLL_MS = 100;

/** Kinds of links that have an ENI's MAC address because they are stacked on it. */
const NO_DEVICES = ['vlan', 'macvlan', 'macvtap', 'ipvlan', 'ipvtap', 'bridge', 'bond', 'team'];

/** Whether a link may be the device of an ENI: neither ours nor stacked on another link. */
export function mayBeEni(link: Link): boolean {
  return (
    !link.loopback &&
    !isOurGroup(link.group) &&
    containerOf(link.alias) === undefined &&
    !NO_DEVICES.includes(link.kind)
  );
}

/** Finds ENIs among the links of the node by their MAC addresses, and remembers where they are. */
export class EniDevices {
  readonly #kernel: Kernel;
  readonly #clock: Clock;
  readonly #known = new Map<string, number>();

  constructor(kernel: Kernel, clock: Clock) {
    this.#kernel = kernel;
    this.#clock = clock;
  }

  /**
   * Finds the device, with a single look-up if it has not moved. Waits for it if it has not appeared yet.
   *
   * @throws DatapathError when it does not appear in time
   */
  async resolve(device: EniDevice, signal: AbortSignal): Promise<ResolvedEni> {
    return inStep(`find ENI ${device.mac}`, async () => {
      const deadlineMs = this.#clock.monotonicMs() + APPEAR_TIMEOUT_MS;
      for (;;) {
        const found = await this.find(device.mac);
        if (found !== undefined) return { device, name: found.name, index: found.index };
        if (this.#clock.monotonicMs() >= deadlineMs) {
          throw new DatapathError(
            `find ENI ${device.mac}`,
            `no link of the node has this MAC address after ${APPEAR_TIMEOUT_MS} ms; is the ENI attached to the instance?`,
          );
        }
        await this.#clock.sleep(POLL_MS, signal);
      }
    });
  }

  /** Whether a device with this address was found at the last look. */
  isKnown(mac: string): boolean {
    return this.#known.has(mac);
  }

  /** The link with this MAC address now. */
  async find(mac: string): Promise<Link | undefined> {
    const wanted = mac.toLowerCase();
    const index = this.#known.get(wanted);
    if (index !== undefined) {
      const link = await linkAt(this.#kernel, NODE, index);
      if (link?.mac === wanted) return link;
    }
    const candidates = (await listLinks(this.#kernel, NODE)).filter((link) => link.mac === wanted && mayBeEni(link));
    // Real devices have no kind; among others, as in virtual machines of tests, the first.
    const found = candidates.find(({ kind }) => kind === '') ?? candidates[0];
    if (found === undefined) this.#known.delete(wanted);
    else this.#known.set(wanted, found.index);
    return found;
  }
}
