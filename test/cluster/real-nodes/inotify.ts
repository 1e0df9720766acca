import { readdir, readFile, readlink } from 'node:fs/promises';
import { pollUntil } from '../../../tools/machine/poll.ts';
import { TestClusterError } from '../errors.ts';

const LIMIT_FILE = '/proc/sys/fs/inotify/max_user_instances';
/** Number for containerd, the kubelet, kube-proxy and a few pods. */
const PER_NODE = 14;
/** Other clusters of the same test run will end by themselves. */
const TIMEOUT_MS = 120_000;

/**
 * Waits until the machine has enough inotify instances for one more node. If containerd gets none, it runs without its CRI
 * plugin, and the only symptom is a kubelet that keeps exiting.
 *
 * @throws TestClusterError that names the limit
 */
export async function waitForInotify(signal?: AbortSignal): Promise<void> {
  const limit = Number(await readFile(LIMIT_FILE, 'utf8'));
  let inUse = 0;
  const hasEnough = async () => {
    inUse = await instancesInUse();
    return inUse + PER_NODE <= limit ? true : undefined;
  };
  try {
    await pollUntil(hasEnough, { what: 'inotify instances', timeoutMs: TIMEOUT_MS, intervalMs: 1000, signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw new TestClusterError(
      `fs.inotify.max_user_instances is ${limit}, ${inUse} are in use, and a node needs ${PER_NODE} more: raise it (sysctl -w fs.inotify.max_user_instances=1024), or run fewer tests at once`,
      { cause: error },
    );
  }
}

/** Counts all processes: the limit is per user, and the nodes' processes, like everything here, run as root. */
async function instancesInUse(): Promise<number> {
  let count = 0;
  for (const process of await readdir('/proc')) {
    if (!/^\d+$/.test(process)) continue;
    // The process may end while we read.
    for (const fd of await readdir(`/proc/${process}/fd`).catch(() => [])) {
      const target = await readlink(`/proc/${process}/fd/${fd}`).catch(() => '');
      if (target.includes('inotify')) count += 1;
    }
  }
  return count;
}
