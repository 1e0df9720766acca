import type { Server } from 'node:http';
import type { SyncReport } from '../datapath/types.ts';
import { listenOnSocket, socketServer } from '../util/unix-socket.ts';
import type { SandboxRecord } from './records.ts';

/** What `terway-agent show` prints. */
export interface AgentState {
  node: string;
  /** Why the node cannot serve pods; absent when it can. */
  problem?: string;
  sandboxes: SandboxRecord[];
  waiting: number;
  verdicts: Record<string, number>;
}

export interface AdminHandlers {
  state(): Promise<AgentState>;
  /** Compares the node, and with `repair` mends it. */
  sync(repair: boolean): Promise<SyncReport>;
}

/** Serves the agent's own commands (`show`, `check`, `repair`) on a unix socket that only root may use. */
export async function startAdminServer(socketPath: string, handlers: AdminHandlers): Promise<Server> {
  const server = socketServer({
    'GET /state': () => handlers.state(),
    'POST /check': () => handlers.sync(false),
    'POST /repair': () => handlers.sync(true),
  });
  await listenOnSocket(server, socketPath);
  return server;
}
