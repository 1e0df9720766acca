import { DatapathError } from './errors.ts';
import { HelperProcess } from './kernel/helper-process.ts';
import { LinuxDatapath, type LinuxDatapathOptions } from './linux-datapath.ts';
import type { Datapath } from './types.ts';

/** What the data path needs. */
export interface DatapathOptions extends LinuxDatapathOptions {
  /** The executable `terway-kernel`. */
  helperPath: string;
  /** Path of the namespace that is the node; absent: the one of this process. */
  nodeNetns?: string;
}

/**
 * Opens the data path of this node. Nothing is changed before the first call; the helper starts with it.
 *
 * @throws DatapathError when the settings contradict each other
 */
export async function openDatapath(options: DatapathOptions): Promise<Datapath> {
  const { settings } = options;
  if (settings.tagProgram === 'tc' && settings.layout === 'marks') {
    throw new DatapathError(
      'settings',
      'marks are set by eBPF programs: with the classic tag filters, use layout perPod',
    );
  }
  if (settings.nodeAddress.ipv4 === undefined && settings.nodeAddress.ipv6 === undefined) {
    throw new DatapathError('settings', 'the node has no address');
  }
  return new LinuxDatapath(new HelperProcess(options.helperPath, options.nodeNetns), options);
}
