import { chmod, mkdir, rm } from 'node:fs/promises';
import { createServer, type Server as HttpServer, request as httpRequest } from 'node:http';
import { connect, type Server } from 'node:net';
import { dirname } from 'node:path';
import { errorMessage } from './errors.ts';

/**
 * Listens on a unix socket that only the owner of the process may use. Removes the leftover socket of a killed process: the
 * caller must know that no other process listens there, by a lock or by {@link isAnswered}.
 */
export async function listenOnSocket(server: Server, socketPath: string): Promise<void> {
  await mkdir(dirname(socketPath), { recursive: true, mode: 0o700 });
  await rm(socketPath, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, () => {
      server.off('error', reject);
      resolve();
    });
  });
  await chmod(socketPath, 0o600);
}

/** Whether a process listens on the socket. */
export async function isAnswered(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** Thrown by a route for a status other than 200. */
export class SocketRefusal extends Error {
  override name = 'SocketRefusal';
  /** HTTP status. */
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** By `METHOD /path`; the result is sent as JSON. */
export type SocketRoutes = Readonly<Record<string, (query: URLSearchParams) => Promise<unknown>>>;

/**
 * A JSON server for the commands of a running program; it does not listen yet. When a route throws, the response is
 * `{"error": message}` with the status of the {@link SocketRefusal}, or 500.
 */
export function socketServer(routes: SocketRoutes): HttpServer {
  return createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://socket');
    const route = routes[`${request.method} ${pathname}`];
    const answer = (status: number, body: unknown) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(`${JSON.stringify(body)}\n`);
    };
    request.resume();
    if (route === undefined) {
      answer(404, { error: `there are ${Object.keys(routes).join(', ')}` });
      return;
    }
    route(searchParams).then(
      (body) => answer(200, body),
      (error: unknown) => answer(error instanceof SocketRefusal ? error.status : 500, { error: errorMessage(error) }),
    );
  });
}

/** No process responds on the socket. */
export class SocketUnreachableError extends Error {
  override name = 'SocketUnreachableError';
}

/**
 * Sends a request without a body to a {@link socketServer}.
 *
 * @throws SocketUnreachableError when nothing listens or the response breaks off
 */
export async function askSocket(
  socketPath: string,
  method: 'GET' | 'POST',
  path: string,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const fail = (error: unknown) =>
      reject(new SocketUnreachableError(`nobody answers at ${socketPath}: ${errorMessage(error)}`, { cause: error }));
    const call = httpRequest({ socketPath, method, path }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      response.once('end', () => resolve({ status: response.statusCode ?? 0, body: text }));
      response.once('error', fail);
    });
    call.once('error', fail);
    call.end();
  });
}
