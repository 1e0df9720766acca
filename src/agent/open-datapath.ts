import { join } from 'node:path';
import type { AgentConfig } from '../config/agent.ts';
import { openDatapath } from '../datapath/datapath.ts';
import { DatapathError } from '../datapath/errors.ts';
import type { Datapath, TagProgram } from '../datapath/types.ts';
import type { Log } from '../telemetry/log.ts';
import type { Clock } from '../util/clock.ts';

export interface NodeDatapathOptions {
  config: Pick<AgentConfig, 'serviceCIDRs' | 'hostStackCIDRs' | 'datapath' | 'paths'>;
  nodeAddress: { ipv4?: string; ipv6?: string };
  /** Folder of terway-kernel and terway.bpf.o. */
  lib: string;
  clock: Clock;
  /** Ends waits for devices. */
  signal: AbortSignal;
  /** Path of the namespace that is the node; absent: the one of this process. */
  nodeNetns?: string;
}

/**
 * The tag program of a configuration. `auto` never selects the classic filters: they pass packets that the eBPF programs drop, so
 * the operator has to choose them.
 */
export function tagProgramOf({ datapath }: Pick<AgentConfig, 'datapath'>): TagProgram {
  return datapath.tagProgram === 'tc' ? 'tc' : 'ebpf';
}

/**
 * Opens the data path and checks that the kernel can do what the configuration asks for.
 *
 * @throws DatapathError with everything that the kernel lacks, and what to do
 */
export async function openNodeDatapath(options: NodeDatapathOptions & { log: Pick<Log, 'debug'> }): Promise<Datapath> {
  const { config, log } = options;
  const datapath = await openWithTagProgram(options, tagProgramOf(config));
  try {
    const found = await datapath.probe();
    for (const { feature, message } of found) log.debug({ feature }, message);
    const missing = found.filter(({ available, required }) => required && !available);
    if (missing.length === 0) return datapath;
    throw new DatapathError('start', missing.map(({ feature, message }) => `${feature}: ${message}`).join('; '));
  } catch (error) {
    await datapath[Symbol.asyncDispose]();
    throw error;
  }
}

/** Opens the data path without probing the kernel. @throws DatapathError when the settings contradict each other */
export function openWithTagProgram(options: NodeDatapathOptions, tagProgram: TagProgram): Promise<Datapath> {
  const { config, nodeAddress, lib, clock, signal, nodeNetns } = options;
  const { layout, markMask, masqueradeMark, isolateMembers } = config.datapath;
  return openDatapath({
    settings: {
      nodeAddress,
      serviceCidrs: config.serviceCIDRs,
      hostStackCidrs: config.hostStackCIDRs,
      // Marks are set by eBPF programs.
      layout: tagProgram === 'tc' ? 'perPod' : layout,
      markMask,
      masqueradeMark,
      isolateMembers,
      tagProgram,
      bpfDirectory: config.paths.bpf,
    },
    helperPath: join(lib, 'terway-kernel'),
    objectPath: join(lib, 'terway.bpf.o'),
    clock,
    signal,
    ...(nodeNetns === undefined ? {} : { nodeNetns }),
  });
}
