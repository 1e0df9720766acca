import type { Datapath, PodAttachment } from '../datapath/types.ts';
import type { KeyedQueue } from '../util/keyed-queue.ts';
import type { AttachmentRequest } from './cni/request.ts';
import type { RecordStore } from './records.ts';
import type { SandboxNetns } from './sandbox-netns.ts';
import type { AssignmentWaiter } from './waiter.ts';

export interface RebuildOptions {
  records: RecordStore;
  datapath: Datapath;
  waiter: AssignmentWaiter;
  queue: KeyedQueue;
  netns: Pick<SandboxNetns, 'paths'>;
  /** Namespaces that were there when the records were read: one that came later is of another sandbox. */
  netnsBefore: ReadonlySet<string>;
  /** All of the node. */
  pods: () => readonly { namespace: string; name: string }[];
}

/** A record that could not be read is there again; without a pod, no sandbox can be the one that it was about. */
export interface RebuiltRecord {
  key: string;
  pod: string | undefined;
}

/**
 * Rebuilds records that could not be read. The file name identifies the sandbox, the API server shows which pods have no record, and
 * the kernel shows in which namespace such a pod's interface is. What is not found now may be later: its PodENI may not be usable at
 * the moment, or its pod may be gone and its sandbox still live.
 *
 * @returns what became of those that are settled
 * @throws Error when the kernel, the disk or the namespaces fail; what was not settled is tried again by the next call
 */
export async function rebuildRecords(options: RebuildOptions): Promise<RebuiltRecord[]> {
  const { records, queue, pods, netns, netnsBefore } = options;
  const settled: RebuiltRecord[] = [];
  for (const key of [...records.unreadable].filter((each) => !records.ended.has(each))) {
    const taken = new Set(records.all().map(({ attachment }) => attachment.netnsPath));
    const free = (await netns.paths()).filter((path) => netnsBefore.has(path) && !taken.has(path));
    if (free.length === 0) {
      await records.end(key);
      settled.push({ key, pod: undefined });
      continue;
    }
    for (const pod of pods()) {
      const name = `${pod.namespace}/${pod.name}`;
      if (!(await queue.run(name, () => rebuildAs(key, pod, free, options)))) continue;
      settled.push({ key, pod: name });
      break;
    }
  }
  return settled;
}

/** @returns whether the record is that of a sandbox of this pod, and is there again */
async function rebuildAs(
  key: string,
  pod: { namespace: string; name: string },
  netnsPaths: readonly string[],
  { records, datapath, waiter }: RebuildOptions,
): Promise<boolean> {
  const isKnown = records
    .all()
    .some(({ attachment }) => attachment.namespace === pod.namespace && attachment.name === pod.name);
  // Its DEL may have come meanwhile.
  if (isKnown || !records.unreadable.has(key) || records.ended.has(key)) return false;
  const dot = key.lastIndexOf('.');
  const [containerId, ifName] = [key.slice(0, dot), key.slice(dot + 1)];
  const attachment = await findSandbox(pod, containerId, ifName, netnsPaths, waiter, datapath);
  if (attachment === undefined) return false;
  await datapath.add(attachment, async (change) => {
    const attached = await change();
    await records.put({ phase: 'ready', ifName, network: 'terway', attachment, attached });
    return attached;
  });
  return true;
}

async function findSandbox(
  pod: { namespace: string; name: string },
  containerId: string,
  ifName: string,
  netnsPaths: readonly string[],
  waiter: AssignmentWaiter,
  datapath: Datapath,
): Promise<PodAttachment | undefined> {
  for (const netnsPath of netnsPaths) {
    const request: AttachmentRequest = {
      containerId,
      netnsPath,
      ifName,
      pod,
      config: { cniVersion: '1.1.0', name: 'terway' },
    };
    const assignment = waiter.now(request);
    if (assignment.state !== 'ready') return undefined;
    const deviations = await datapath.check(assignment.attachment).catch(() => undefined);
    // Routes, rules and tags may need repair; links and addresses identify the sandbox.
    const isHere = deviations?.every(({ object }) => object !== 'link' && object !== 'address') ?? false;
    if (isHere) return assignment.attachment;
  }
  return undefined;
}
