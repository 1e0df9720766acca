import { createServer, type Server } from 'node:http';
import type { Registry } from 'prom-client';

/** Behind `/readyz`: undefined when ready, otherwise the reason. */
export type ReadinessCheck = () => string | undefined;

export interface TelemetryAddress {
  host: string;
  port: number;
}

/** Serves `/healthz`, `/readyz` and `/metrics`. Only GET and HEAD. */
export function telemetryServer(options: { ready: ReadinessCheck; registry: Registry }): Server {
  return createServer((request, response) => {
    const answer = (status: number, body: string, type = 'text/plain; charset=utf-8') => {
      response.writeHead(status, { 'content-type': type });
      response.end(request.method === 'HEAD' ? undefined : body);
    };
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      answer(405, 'only GET\n');
      return;
    }
    switch (request.url?.split('?')[0]) {
      case '/healthz':
        answer(200, 'ok\n');
        return;
      case '/readyz': {
        const problem = options.ready();
        answer(problem === undefined ? 200 : 503, `${problem ?? 'ok'}\n`);
        return;
      }
      case '/metrics':
        options.registry.metrics().then(
          (text) => answer(200, text, options.registry.contentType),
          () => answer(500, 'metrics are not available\n'),
        );
        return;
      default:
        answer(404, 'there are /healthz, /readyz and /metrics\n');
    }
  });
}

/** Starts listening; resolves with the port. Rejects when the address cannot be bound. */
export async function listen(server: Server, address: TelemetryAddress): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(address.port, address.host, () => {
      server.off('error', reject);
      resolve();
    });
  });
  const bound = server.address();
  return typeof bound === 'object' && bound !== null ? bound.port : address.port;
}

/** Closes the server and its open connections. */
export async function closeServer(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
}
