export const numbers = (count: number) => Array.from({ length: count }, (_, at) => at);
export const ipv4Of = (net: number, at: number) => `${net}.${(at >> 16) & 255}.${(at >> 8) & 255}.${at & 255}`;
const ipv6Of = (at: number) => `fd55::${(at >> 16).toString(16)}:${(at & 0xffff).toString(16)}`;

/** What a pod with NET_ADMIN can fill its own namespace with; commands for `ip -batch`. */
const LINES = {
  neighbours: () =>
    numbers(300_000).map((at) => `neigh add ${ipv4Of(44, at)} lladdr 02:00:00:00:00:01 dev eth0 nud permanent`),
  routes: () => numbers(60_000).map((at) => `route add ${ipv4Of(45, at)}/32 dev eth0 proto 84`),
  'routes of IPv6': () => numbers(60_000).map((at) => `route add ${ipv6Of(at)}/128 dev eth0 proto 84`),
  addresses: () => numbers(3000).map((at) => `addr add ${ipv6Of(at)}/128 dev eth0 nodad`),
  rules: () => numbers(4000).map((at) => `rule add from ${ipv4Of(46, at)} lookup 77 pref 512 protocol 84`),
  links: () => numbers(500).map((at) => `link add a${at} type veth peer name b${at}`),
} as const;

export type FloodKind = keyof typeof LINES;
export const FLOOD_KINDS = Object.keys(LINES) as readonly FloodKind[];

/** How `ip` is called to fill a namespace that has an `eth0`. */
export function floodCommand(kind: FloodKind, netns: string): { command: 'ip'; args: string[]; input: string } {
  const family = kind === 'routes of IPv6' ? ['-6'] : [];
  return { command: 'ip', args: [...family, '-n', netns, '-batch', '-'], input: `${LINES[kind]().join('\n')}\n` };
}
