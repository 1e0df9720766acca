import * as z from 'zod';
import { parseCidr } from '../util/ip.ts';
import { bindAddress, duration } from './fields.ts';

const absolutePath = (fallback: string) => z.string().regex(/^\//, 'must be an absolute path').default(fallback);

const cidr = z.string().refine((text) => parseCidr(text) !== undefined, 'must be a CIDR such as 10.96.0.0/12');

/** Bits of the packet mark that other programs on a node use; docs/design/node.md says why. */
const TAKEN_MARKS: readonly [bits: number, whose: string][] = [
  [0x4000, 'kube-proxy'],
  [0x8000, 'kube-proxy'],
  [0x0f00, 'Cilium'],
  [0xffff_0000, 'Cilium'],
  [0x0010, 'symmetric routing'],
];

const hexNumber = z.union([
  z.int(),
  z
    .string()
    .regex(/^0x[0-9a-fA-F]{1,8}$/, 'must be a number such as 0x30e0')
    .transform(Number),
]);

const markMask = hexNumber.default(0x30e0).check(({ value, issues }) => {
  const problem = markMaskProblem(value);
  if (problem !== undefined) issues.push({ code: 'custom', input: value, message: problem });
});

function markMaskProblem(mask: number): string | undefined {
  const text = `0x${mask.toString(16)}`;
  if (mask <= 0 || mask > 0xffff_ffff) return `${text} is not a mask of 32 bits`;
  const bits = mask.toString(2).replaceAll('0', '').length;
  if (bits < 4)
    return `${text} has ${bits} bits; at least 4 are needed, one for "member" and the others to number the ENIs`;
  const taken = TAKEN_MARKS.find(([other]) => (BigInt(mask) & BigInt(other)) !== 0n);
  return taken === undefined ? undefined : `${text} has bits of 0x${taken[0].toString(16)}, which ${taken[1]} uses`;
}

/** The configuration of the node agent. Unknown keys are errors; otherwise a misspelt key would be silently ignored. */
export const agentConfigSchema = z.strictObject({
  healthzBindAddress: bindAddress.prefault('127.0.0.1:9196'),
  metricsBindAddress: bindAddress.prefault('0'),
  logLevel: z.enum(['trace', 'debug', 'info', 'warn', 'error']).default('info'),
  /** How long CNI ADD waits for the PodENI; the kubelet gives a sandbox four minutes. */
  addTimeout: duration('100s'),
  /** How often the whole node is compared with its desired state. */
  syncPeriod: duration('30s'),
  mtu: z.int().min(576).max(65_535).default(1500),
  /** Writes the addresses of a pod on it, as Terway's daemon does. Needs a right on pods that the agent does not have otherwise. */
  podIPsAnnotation: z.boolean().default(false),
  serviceCIDRs: z.array(cidr).default(['10.96.0.0/12']),
  /** Destinations that pods with an exclusive ENI reach through the node, such as a node-local DNS cache. */
  hostStackCIDRs: z.array(cidr).default(['169.254.20.10/32']),
  datapath: z
    .strictObject({
      layout: z.enum(['marks', 'perPod']).default('marks'),
      markMask,
      /** kube-proxy's `masqueradeBit` as a mask; 0 when nothing masquerades. */
      masqueradeMark: hexNumber
        .refine((mask) => Number.isInteger(Math.log2(Math.max(mask, 1))), 'must be a single bit such as 0x4000, or 0')
        .default(0x4000),
      /** Packets between trunk pods of one node leave the node, so that security groups see them. */
      isolateMembers: z.boolean().default(true),
      tagProgram: z.enum(['auto', 'ebpf', 'tc']).default('auto'),
    })
    .prefault({}),
  paths: z
    .strictObject({
      state: absolutePath('/var/lib/terway-agent'),
      run: absolutePath('/run/terway'),
      cniBin: absolutePath('/opt/cni/bin'),
      cniConf: absolutePath('/etc/cni/net.d'),
      bpf: absolutePath('/sys/fs/bpf/terway'),
      netns: absolutePath('/run/netns'),
    })
    .prefault({}),
});

export type AgentConfig = z.infer<typeof agentConfigSchema>;
