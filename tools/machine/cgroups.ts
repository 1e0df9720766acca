import { readdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { identifyProcess, isRunning } from './process-table.ts';

const CGROUP_ROOT = '/sys/fs/cgroup';
const PREFIX = 'terway-test-node';

/** Name of a node's cgroup. It identifies the owner, so that others can remove the cgroup after the owner was killed. */
export async function cgroupName(node: string): Promise<string> {
  const owner = await identifyProcess(process.pid);
  return [PREFIX, process.pid, owner?.startTicks ?? 0, node].join('.');
}

/** Paths of the cgroups of all nodes, of every owner and in every hierarchy. */
export async function nodeCgroups(): Promise<string[]> {
  const found: string[] = [];
  // Version 2 has one hierarchy, at the root. Version 1 has one for each controller, below it.
  for (const folder of [CGROUP_ROOT, ...(await subfolders(CGROUP_ROOT))]) {
    for (const path of await subfolders(folder)) {
      if (path.slice(folder.length + 1).startsWith(`${PREFIX}.`)) found.push(path);
    }
  }
  return found;
}

/**
 * Removes the cgroups of nodes whose owner was killed together with its cleanup process. Only these survive: the kernel removes
 * everything else by itself.
 */
export async function removeAbandonedCgroups(): Promise<void> {
  for (const path of await nodeCgroups()) {
    const [, pid, startTicks] = path.slice(path.lastIndexOf('/') + 1).split('.');
    if (await isRunning({ pid: Number(pid), startTicks: startTicks ?? '' })) continue;
    await removeTree(path).catch(() => undefined);
  }
}

/** Removing a cgroup's folder removes the files in it. */
async function removeTree(path: string): Promise<void> {
  for (const child of await subfolders(path)) await removeTree(child);
  await rmdir(path);
}

async function subfolders(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map((entry) => join(path, entry.name));
}
