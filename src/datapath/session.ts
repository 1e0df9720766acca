import { mkdir, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { BpfPrograms } from './bpf/programs.ts';
import { IPV4, IPV6 } from './ip.ts';
import { inStep, type Kernel, NODE } from './kernel/kernel.ts';
import type { Marks } from './marks.ts';
import { RULE_PRIORITY } from './names.ts';
import { decodeRule, dumpRules, OUR_PROTOCOL } from './netlink/network.ts';
import type { DatapathSettings } from './types.ts';

const BPF_FS_MAGIC = 0xcafe4a11;

/** State that is valid for the life of one helper process. */
export interface Session {
  kernel: Kernel;
  /** Of the helper process. */
  generation: number;
  /** Absent with the classic tag filters. */
  programs: BpfPrograms | undefined;
}

/**
 * Opens the maps and programs, and learns from the kernel's rules which number each ENI has.
 *
 * @throws DatapathError
 */
export async function openSession(
  helper: Kernel,
  options: { settings: DatapathSettings; objectPath: string; marks: Marks },
): Promise<Session> {
  const { settings, objectPath, marks } = options;
  const kernel = helper.bound();
  const { generation } = kernel;
  if (settings.tagProgram === 'tc') return { kernel, generation, programs: undefined };
  await inStep('read rules', () => learnMarks(kernel, marks));
  await inStep(`mount a bpf file system for ${settings.bpfDirectory}`, () => mountFor(kernel, settings.bpfDirectory));
  return {
    kernel,
    generation,
    programs: await BpfPrograms.open(kernel, { objectPath, directory: settings.bpfDirectory }),
  };
}

async function learnMarks(kernel: Kernel, marks: Marks): Promise<void> {
  for (const family of [IPV4, IPV6] as const) {
    for (const { payload } of await kernel.netlink(NODE, dumpRules(family))) {
      const rule = decodeRule(payload);
      const isOfEni = rule?.priority === RULE_PRIORITY.eni || rule?.priority === RULE_PRIORITY.eniFirst;
      if (rule?.protocol !== OUR_PROTOCOL || !isOfEni || rule.mark === undefined) continue;
      marks.learn(rule.table - 1000, rule.mark.value);
    }
  }
}

/** Whether the directory is, or would be made, in a bpf file system. */
export async function isInBpffs(directory: string): Promise<boolean> {
  for (let at = directory; ; at = dirname(at)) {
    try {
      return (await statfs(at)).type === BPF_FS_MAGIC;
    } catch {
      if (at === dirname(at)) return false;
    }
  }
}

async function mountFor(kernel: Kernel, directory: string): Promise<void> {
  if (await isInBpffs(directory)) return;
  const mountPoint = dirname(directory);
  await mkdir(mountPoint, { recursive: true });
  await kernel.mountBpffs(mountPoint);
}
