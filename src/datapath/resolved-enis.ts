import { DatapathError } from './errors.ts';
import type { Marks } from './marks.ts';
import type { ResolvedEni } from './plan-node.ts';
import type { PlanContext } from './plan-pod.ts';
import { eniOf } from './pod-interfaces.ts';
import type { WantedEni } from './shared-state.ts';
import type { DatapathSettings, EniDevice, PodAttachment } from './types.ts';

/** ENIs that a pod needs as links of the node, each once. */
export function enisOf(pod: PodAttachment): EniDevice[] {
  const devices = pod.interfaces.flatMap((network) => eniOf(network) ?? []);
  return [...new Map(devices.map((device) => [device.mac.toLowerCase(), device])).values()];
}

/** Whether any of its interfaces has an IPv6 address. */
export function hasIpv6(pod: PodAttachment): boolean {
  return pod.interfaces.some(({ ipv6 }) => ipv6 !== undefined);
}

/** ENIs that were found, by their MAC addresses: what plans are made with. */
export class ResolvedEnis implements PlanContext {
  readonly settings: DatapathSettings;
  readonly marks: Marks;
  readonly #enis = new Map<string, ResolvedEni>();

  constructor(settings: DatapathSettings, marks: Marks) {
    this.settings = settings;
    this.marks = marks;
  }

  set(eni: ResolvedEni): void {
    this.#enis.set(eni.device.mac.toLowerCase(), eni);
  }

  has(device: EniDevice): boolean {
    return this.#enis.has(device.mac.toLowerCase());
  }

  indexes(): number[] {
    return [...this.#enis.values()].map(({ index }) => index);
  }

  eni(device: EniDevice): ResolvedEni {
    const found = this.#enis.get(device.mac.toLowerCase());
    if (found === undefined)
      throw new DatapathError(`find ENI ${device.mac}`, 'no link of the node has this MAC address');
    return found;
  }

  /** How a pod uses those of its ENIs that were found. */
  wantedBy(pod: PodAttachment): WantedEni[] {
    return pod.interfaces.flatMap((network) => {
      const device = eniOf(network);
      if (device === undefined || !this.has(device)) return [];
      const { kind } = network.attachment;
      // The classic filter takes every tag off, before a VLAN device sees it.
      const isTrunk = kind === 'member' || (kind === 'vlanDevice' && this.settings.tagProgram === 'ebpf');
      return [{ eni: this.eni(device), isTrunk, mtu: network.mtu, ipv6: network.ipv6 !== undefined }];
    });
  }
}
