import type { AdminHandlers } from './admin-server.ts';
import type { CniRequest } from './cni/request.ts';
import type { CniAnswer } from './cni/server.ts';
import type { RecordFiles } from './record-files.ts';
import type { SandboxNetns } from './sandbox-netns.ts';

/** What the agent answers on its sockets. */
export interface AgentHandlers extends AdminHandlers {
  /** @throws CniError */
  cni(request: CniRequest, gone: AbortSignal): Promise<Record<string, unknown> | undefined>;
  onCniAnswer(answer: CniAnswer): void;
}

/** The agent's machine, but for the kernel's network, which is the data path's: files, namespaces and sockets. */
export interface AgentHost {
  records: RecordFiles;
  netns: SandboxNetns;
  /** Opens the sockets. Disposing closes them, once the requests that have arrived are answered. */
  serve(handlers: AgentHandlers): Promise<AsyncDisposable>;
  /**
   * Tells the runtime that the node has a network. Called after each look at the whole node that succeeded.
   *
   * @returns whether that was news
   */
  openForPods(): Promise<boolean>;
}
