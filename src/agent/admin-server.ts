import { chmod, mkdir, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { dirname } from 'node:path';
import type { SyncReport } from '../datapath/types.ts';
import { errorMessage } from '../util/errors.ts';
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
  await mkdir(dirname(socketPath), { recursive: true, mode: 0o700 });
  await rm(socketPath, { force: true });
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
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, () => {
      server.off('error', reject);
      resolve();
    });
  });
  await chmod(socketPath, 0o600);
  return server;
}
