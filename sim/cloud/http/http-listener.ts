import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Server as TcpServer } from 'node:net';

/** Enough for MAX_URL_LENGTH and the headers, so that clients get our own error instead of Node's. */
const MAX_HEADER_SIZE = 96 * 1024;

export interface Listener {
  host: string;
  port: number;
  /** Ends every connection and stops listening. Idempotent. */
  close(): Promise<void>;
}

/** Starts an HTTP server. Port 0 means any free port. Rejects when the address cannot be used. */
export async function listen(
  address: ListenAddress,
  handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>,
): Promise<Listener> {
  const server = createHttpServer(handle);
  return bind(server, address, () => server.closeAllConnections());
}

/** An HTTP server that does not listen yet. */
export function createHttpServer(
  handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>,
): Server {
  const server = createServer({ maxHeaderSize: MAX_HEADER_SIZE, keepAliveTimeout: 60_000 }, (request, response) => {
    // `handle` never rejects. Errors of the socket itself are events of the server.
    void handle(request, response);
  });
  // A client that does not speak HTTP gets a 4xx and is disconnected. Others are not affected.
  server.on('clientError', (error, socket) => {
    const tooLarge = 'code' in error && error.code === 'HPE_HEADER_OVERFLOW';
    const status = tooLarge ? '431 Request Header Fields Too Large' : '400 Bad Request';
    if (socket.writable) socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
    else socket.destroy();
  });
  return server;
}

/** Lets a server listen. `endConnections` ends those that are open when it is closed. */
export async function bind(server: TcpServer, address: ListenAddress, endConnections: () => void): Promise<Listener> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(address.port, address.host, () => {
      server.off('error', reject);
      resolve();
    });
  });
  const bound = boundAddress(server);
  let closed: Promise<void> | undefined;
  return {
    host: address.host,
    port: bound.port,
    close: () => {
      closed ??= new Promise<void>((resolve) => {
        server.close(() => resolve());
        endConnections();
      });
      return closed;
    },
  };
}

export interface ListenAddress {
  host: string;
  port: number;
}

/** Parses `127.0.0.1:8080` or `[::1]:0`; undefined for anything else. */
export function parseListenAddress(text: string): ListenAddress | undefined {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([0-9a-zA-Z.-]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return host === undefined || !(port <= 65535) ? undefined : { host, port };
}

/** Such as `127.0.0.1:8080`, with brackets around an IPv6 host. */
export function hostPort(address: ListenAddress): string {
  return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}

function boundAddress(server: TcpServer): AddressInfo {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server listens on no TCP address');
  return address;
}
