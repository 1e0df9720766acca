import { readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { errorMessage } from '../util/errors.ts';
import { PROGRAM_NAMES, tryPrograms } from './bpf/programs.ts';
import { programsBefore, refusal } from './foreign-programs.ts';
import { type Kernel, KernelError, NODE } from './kernel/kernel.ts';
import { findLink, listLinks } from './links.ts';
import { createVeth, createVlanLink } from './netlink/link.ts';
import type { NetlinkRequest } from './netlink/message.ts';
import {
  addClsact,
  ETH_P,
  type FilterAction,
  setPopFilter,
  setProgramFilter,
  setTokenBucket,
  tokenBucket,
} from './netlink/traffic.ts';
import { describe } from './objects.ts';
import { PREFERENCE } from './plan-node.ts';
import { isInBpffs } from './session.ts';
import type { DatapathSettings, Layout, ProbeResult } from './types.ts';
import { listFilters } from './vlan-filters.ts';

const CAPABILITIES = { CAP_NET_ADMIN: 12, CAP_SYS_ADMIN: 21, CAP_BPF: 39 } as const;
const ORELSE = "or set `datapath.tagProgram: tc` in the agent's configuration, which protects less (docs/hardening.md)";
/** In every namespace. */
const LOOPBACK_INDEX = 1;
/** The oldest kernel on which Cilium runs in upstream's DataPath V2. */
const OLDEST = { major: 5, minor: 10 };

export interface ProbeOptions {
  settings: DatapathSettings;
  /** The object file `terway.bpf.o`. */
  objectPath: string;
}

/**
 * Tries everything that the data path uses, in a temporary namespace.
 *
 * @throws DatapathError when the helper cannot be run
 */
export async function probe(kernel: Kernel, { settings, objectPath }: ProbeOptions): Promise<ProbeResult[]> {
  await kernel.start();
  const isEbpf = settings.tagProgram === 'ebpf';
  const results = [
    await probeCapabilities(),
    probeRelease(),
    await probeBpffs(settings.bpfDirectory, isEbpf),
    ...(isEbpf ? [await probeOthers(kernel, settings.layout)] : []),
  ];
  const netns = await attempt(() => kernel.newNetns());
  if ('error' in netns) {
    return [...results, outcome('network namespaces', true, netns.error, '', 'needs CAP_SYS_ADMIN')];
  }
  try {
    return [...results, ...(await probeInside(kernel, netns.value.path, { objectPath, isEbpf }))];
  } finally {
    await kernel.closeHandle(netns.value.handle);
  }
}

async function probeInside(
  kernel: Kernel,
  netns: string,
  { objectPath, isEbpf }: { objectPath: string; isEbpf: boolean },
): Promise<ProbeResult[]> {
  const send = (request: NetlinkRequest) => attempt(() => kernel.netlink(netns, request));
  const peer = { name: 'probe1', mac: '02:00:00:00:00:02', netns };
  const veth = await send(createVeth({ name: 'probe0', mac: '02:00:00:00:00:01', mtu: 1500, group: 0, peer }));
  const results = [outcome('veth', true, errorOf(veth), 'pods can be joined to the node', 'build or load module veth')];
  const index = (await findLink(kernel, netns, 'probe0'))?.index ?? 0;
  const tbf = await send(setTokenBucket(index, tokenBucket(1_000_000, 1500)));
  results.push(
    outcome('tbf', false, errorOf(tbf), 'bandwidth can be limited', 'load module sch_tbf; pods with limits fail'),
  );
  const clsact = await send(addClsact(index));
  results.push(outcome('clsact', true, errorOf(clsact), 'filters can be attached', 'load module sch_ingress'));
  const tcx = await kernel.tcxPrograms(LOOPBACK_INDEX, 'egress');
  const noTcx = tcx === undefined ? 'not on this kernel' : undefined;
  const whatFor = 'Linux 6.6 and later have it; without it a filter of another program can come before ours on a trunk';
  results.push(outcome('TCX', false, noTcx, 'our program on a trunk comes before all filters', whatFor));

  let attached: unknown;
  const programs = await attempt(() =>
    tryPrograms(kernel, objectPath, async (handles) => {
      const place = { linkIndex: index, direction: 'egress', preference: 1, protocol: ETH_P.all, handle: 1 } as const;
      const program = { handle: handles.get('trunk_egress') ?? -1, name: 'trunk_egress' };
      attached = errorOf(await send(setProgramFilter(place, program, 'exclusive')));
    }),
  );
  const error = errorOf(programs);
  results.push(
    outcome('eBPF programs', isEbpf, error, 'programs load', `needs CAP_BPF and CONFIG_BPF_SYSCALL; ${ORELSE}`),
    outcome('vlan push helper', isEbpf, error, 'programs can write VLAN tags', 'needs a kernel of 5.10 or later'),
    outcome('cls_bpf', isEbpf, error ?? attached, 'programs can be filters', `load module cls_bpf; ${ORELSE}`),
  );

  const pop = { linkIndex: index, direction: 'ingress', preference: 1, protocol: ETH_P.vlan, handle: 0 } as const;
  const vlanAction = await send(setPopFilter(pop, 'exclusive'));
  const classic = 'load modules cls_u32 and act_vlan; only tag program `tc` needs them';
  results.push(outcome('act_vlan', !isEbpf, errorOf(vlanAction), 'the classic tag filters work', classic));
  const vlan = { name: 'probe2', parentIndex: index, vlanId: 1, mtu: 1500, group: 0, netns };
  const device = await send(createVlanLink(vlan));
  const only8021q = 'load module 8021q; only pods with a VLAN device need it';
  return [...results, outcome('8021q', false, errorOf(device), 'VLAN devices can be made', only8021q)];
}

async function attempt<T>(work: () => Promise<T>): Promise<{ value: T } | { error: unknown }> {
  try {
    return { value: await work() };
  } catch (error) {
    return { error };
  }
}

function errorOf(result: { value: unknown } | { error: unknown }): unknown {
  return 'error' in result ? result.error : undefined;
}

function outcome(feature: string, required: boolean, error: unknown, found: string, missing: string): ProbeResult {
  if (error === undefined) return { feature, available: true, required, message: found };
  const [reason = ''] = errorMessage(error instanceof KernelError ? error : error).split('\n');
  return { feature, available: false, required, message: `${reason}: ${missing}` };
}

async function probeCapabilities(): Promise<ProbeResult> {
  const status = await readFile('/proc/self/status', 'utf8');
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  const has = (bit: number) => ((effective >> BigInt(bit)) & 1n) === 1n;
  const missing = Object.entries(CAPABILITIES)
    // CAP_SYS_ADMIN includes CAP_BPF.
    .filter(([name, bit]) => !has(bit) && !(name === 'CAP_BPF' && has(CAPABILITIES.CAP_SYS_ADMIN)))
    .map(([name]) => name);
  const message = missing.length === 0 ? 'all are there' : `add ${missing.join(', ')} to the container's capabilities`;
  return { feature: 'capabilities', available: missing.length === 0, required: true, message };
}

function probeRelease(): ProbeResult {
  const version = release();
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const available = major > OLDEST.major || (major === OLDEST.major && minor >= OLDEST.minor);
  const message = available ? `this is ${version}` : `this is ${version}; DataPath V2 (Cilium) needs 5.10 or later`;
  return { feature: 'kernel 5.10', available, required: false, message };
}

async function probeBpffs(directory: string, required: boolean): Promise<ProbeResult> {
  const mounted = await isInBpffs(directory);
  const message = mounted
    ? `${directory} is in one`
    : `none is mounted for ${directory}; the agent mounts it, but share the host's so that maps outlive the container`;
  // Not required: it can be mounted later.
  return {
    feature: 'bpffs',
    available: mounted,
    required: false,
    message: required ? message : `${message} (not needed)`,
  };
}

/** Whether programs of others come before ours, where ours are already. */
async function probeOthers(kernel: Kernel, layout: Layout): Promise<ProbeResult> {
  const found: string[] = [];
  for (const { index, name: link } of await listLinks(kernel, NODE)) {
    for (const direction of ['ingress', 'egress'] as const) {
      const filters = await listFilters(kernel, index, direction);
      const tcx = (await kernel.tcxPrograms(index, direction)) ?? [];
      const attached = PROGRAM_NAMES.find((name) => tcx.some((other) => other.name === name));
      const filtering = PROGRAM_NAMES.find((name) => filters.some(({ action }) => isProgram(action, name)));
      const program = attached ?? filtering;
      if (program === undefined) continue;
      const own = filters.find(({ action }) => isProgram(action, program));
      const afterCilium = layout === 'perPod' && program === 'trunk_egress';
      const place = {
        kind: 'program',
        netns: NODE,
        link,
        direction,
        preference: own?.preference ?? PREFERENCE.tag,
        program,
        afterCilium,
        ...(attached !== undefined && { beforeFilters: 'make' as const }),
      } as const;
      const before = await programsBefore(kernel, place, index, filters);
      if (before.length > 0) found.push(`${describe(place)} ${refusal(before)}`);
    }
  }
  const message = found.length === 0 ? 'none comes before the filters of the agent' : found.join('; ');
  return { feature: 'other programs', available: found.length === 0, required: false, message };
}

const isProgram = (action: FilterAction, name: string) => action.kind === 'bpf' && action.name === name;
