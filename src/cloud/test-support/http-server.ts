import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

export interface TestHttpServer extends AsyncDisposable {
  url: string;
  /** `host:port` */
  address: string;
  /** Closes the connections on which no request is in progress, as servers do after some seconds. */
  closeIdle(): void;
}

/** A server on a free local port, for responses that the simulator does not produce. */
export async function startHttpServer(
  answer: (request: IncomingMessage, response: ServerResponse, body: string) => void,
): Promise<TestHttpServer> {
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (chunk: string) => {
      body += chunk;
    });
    request.on('end', () => answer(request, response, body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  const host = `127.0.0.1:${address.port}`;
  return {
    url: `http://${host}`,
    address: host,
    closeIdle: () => server.closeIdleConnections(),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
    },
  };
}
