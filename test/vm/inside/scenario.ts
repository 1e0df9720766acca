import { setTimeout as delay } from 'node:timers/promises';
import { type Frame, run } from '../../../src/datapath/test-support/datapath-lab.ts';
import type { PodAttachment } from '../../../src/datapath/types.ts';

/** Checks something in the VM. Throws if it does not hold. */
export type Scenario = () => Promise<void>;

/** Scenarios by name, in the order in which they run. */
export interface ScenarioGroup {
  title: string;
  scenarios: Readonly<Record<string, Scenario>>;
}

/** Name of the network namespace of a pod. */
export const netnsOf = ({ netnsPath }: PodAttachment) => netnsPath.slice('/run/netns/'.length);

export const isUdp = ({ protocol }: Frame) => protocol === 17;

/** One filter, as `tc` shows it. */
export interface ShownFilter {
  /** Such as `ip`, `ipv6` or `802.1Q`. */
  protocol: string;
  preference: number;
  /** Such as `800::800`. */
  handle: string;
  /** Such as `0a000005/ffffffff at 12`. */
  matches: string[];
  /** Such as `vlan push id 101 protocol 802.1Q priority 0 pipe`; undefined without an action. */
  action: string | undefined;
}

/** The u32 filters at a hook of a link. */
export function shownFilters(netns: string, link: string, direction: 'ingress' | 'egress'): ShownFilter[] {
  const text = run('tc', '-n', netns, 'filter', 'show', 'dev', link, direction);
  return text.split(/^filter /m).flatMap((block) => {
    const head = /^(?:parent \S+ )?protocol (\S+) pref (\d+) u32 .*?fh (\S+) order/.exec(block);
    if (head === null) return [];
    const [, protocol = '', preference, handle = ''] = head;
    const matches = [...block.matchAll(/^ +match (.+?) *$/gm)].map(([, match = '']) => match);
    const action = /^\s+action order 1: (.+?) *$/m.exec(block)?.[1]?.replaceAll(/ +/g, ' ');
    return [{ protocol, preference: Number(preference), handle, matches, action }];
  });
}

/** The filter that `tc` must show for an address that gets a VLAN id. */
export function pushFilter(address: 'ipv4' | 'ipv6', matches: string[], vlanId: number): Omit<ShownFilter, 'handle'> {
  return {
    protocol: address === 'ipv4' ? 'ip' : 'ipv6',
    preference: address === 'ipv4' ? 50_001 : 50_002,
    matches,
    action: `vlan push id ${vlanId} protocol 802.1Q priority 0 pipe`,
  };
}

/** The filters without their handles, which the kernel chooses. */
export function withoutHandles(filters: readonly ShownFilter[]): Omit<ShownFilter, 'handle'>[] {
  return filters.map(({ protocol, preference, matches, action }) => ({ protocol, preference, matches, action }));
}

/** Waits until the condition holds. Has no timeout of its own: every scenario has one. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await delay(50);
}
