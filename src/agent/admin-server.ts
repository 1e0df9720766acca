import { createServer, type Server } from 'node:http';
import type { SyncReport } from '../datapath/types.ts';
import { errorMessage } from '../util/errors.ts';
import type { SandboxRecord } from './records.ts';
import { listenOnSocket } from './unix-socket.ts';

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
  const routes: Record<string, () => Promise<unknown>> = {
    'GET /state': () => handlers.state(),
    'POST /check': () => handlers.sync(false),
    'POST /repair': () => handlers.sync(true),
  };
  const server = createServer((request, response) => {
    const route = routes[`${request.method} ${request.url}`];
    const answer = (status: number, body: unknown) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(`${JSON.stringify(body)}\n`);
    };
    request.resume();
    if (route === undefined) {
      answer(404, { error: `there are ${Object.keys(routes).join(', ')}` });
      return;
    }
    route().then(
      (body) => answer(200, body),
      (error: unknown) => answer(500, { error: errorMessage(error) }),
    );
  });
  await listenOnSocket(server, socketPath);
  return server;
}
