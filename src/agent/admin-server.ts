import type { Server } from 'node:http';
import { listenOnSocket, socketServer } from '../util/unix-socket.ts';
import type { AgentReport, AgentState } from '../wire/agent-socket.ts';

export interface AdminHandlers {
  state(): Promise<AgentState>;
  /** Compares the node, and with `repair` mends it. */
  sync(repair: boolean): Promise<AgentReport>;
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
