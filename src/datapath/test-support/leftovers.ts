import type { DatapathLab } from './datapath-lab.ts';

/** By few processes, as it is asked for hundreds of times. */
const SHOW = String.raw`
printf 'link\naddr\n' | ip -o -batch -
printf 'route show table all\nrule\n' | ip -4 -batch -
printf 'route show table all\nrule\n' | ip -6 -batch -
tc qdisc
`;

const OURS: readonly RegExp[] = [
  /^\d+: cali/,
  / proto 84\b/,
  // Rules, but those of the kernel.
  /^(?!0:|32766:|32767:)\d+:\s+from /,
  /192\.168\.0\.10\b|fd10::10\b/,
  // Of an ENI the empty hook stays, as nobody can tell whose it is; of a pod's veth it goes with the veth.
  /^qdisc clsact .* dev cali/,
];

/** Objects of ours on the node, by looking with other tools. */
export function leftovers(lab: DatapathLab): string[] {
  const lines = lab.sh(lab.node, SHOW).split('\n');
  return lines.filter((line) => OURS.some((pattern) => pattern.test(line)));
}
