import type { Datapath, PodAttachment } from '../datapath/types.ts';
import type { AttachmentRequest } from './cni/request.ts';
import type { RecordStore } from './records.ts';
import type { SandboxNetns } from './sandbox-netns.ts';
import type { AssignmentWaiter } from './waiter.ts';

/**
 * Rebuilds records whose files could not be read. The file name identifies the sandbox, the API server shows which pods have no
 * record, and the kernel shows in which namespace such a pod's interface is.
 *
 * @param options.keys of the lost records, as `records.ts` names them
 * @returns what was rebuilt; a sandbox that is not found belongs to no pod, and the next look at the node removes what is left of it.
 */
export async function rebuildRecords(options: {
  keys: readonly string[];
  records: RecordStore;
  datapath: Datapath;
  waiter: AssignmentWaiter;
  pods: readonly { namespace: string; name: string }[];
  netns: SandboxNetns;
}): Promise<{ key: string; pod: string }[]> {
  const { records, datapath, waiter } = options;
  const rebuilt: { key: string; pod: string }[] = [];
  for (const key of options.keys) {
    const dot = key.lastIndexOf('.');
    const [containerId, ifName] = [key.slice(0, dot), key.slice(dot + 1)];
    if (containerId === '' || ifName === '') continue;
    const taken = new Set(records.all().map(({ attachment }) => attachment.netnsPath));
    const free = (await options.netns.paths()).filter((path) => !taken.has(path));
    for (const pod of options.pods) {
      const hasRecord = records
        .all()
        .some(({ attachment }) => attachment.namespace === pod.namespace && attachment.name === pod.name);
      if (hasRecord) continue;
      const attachment = await findSandbox(pod, containerId, ifName, free, waiter, datapath);
      if (attachment === undefined) continue;
      await datapath.add(attachment, async (change) => {
        const attached = await change();
        await records.put({ phase: 'ready', ifName, network: 'terway', attachment, attached });
        return attached;
      });
      rebuilt.push({ key, pod: `${pod.namespace}/${pod.name}` });
      break;
    }
  }
  return rebuilt;
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
