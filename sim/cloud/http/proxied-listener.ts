import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, isIPv4, type Socket } from 'node:net';
import { bind, createHttpServer, type ListenAddress, type Listener } from './http-listener.ts';

/** The longest first line of version 1 of the PROXY protocol, with its end. */
const LONGEST_LINE = 107;

/**
 * Starts an HTTP server behind a program that says, in the first line of each connection, from which IPv4 address a client has connected to
 * it (PROXY protocol, version 1). What begins otherwise is disconnected. Rejects when the address cannot be used.
 */
export async function listenProxied(
  address: ListenAddress,
  handle: (request: IncomingMessage, response: ServerResponse, client: string) => Promise<void>,
): Promise<Listener> {
  const clients = new WeakMap<Socket, string>();
  const sockets = new Set<Socket>();
  const http = createHttpServer((request, response) => handle(request, response, clients.get(request.socket) ?? ''));
  // Half-open as those of an HTTP server: a client may end its side with its request.
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    readIntroduction(socket, (client) => {
      clients.set(socket, client);
      http.emit('connection', socket);
    });
  });
  return bind(server, address, () => {
    for (const socket of sockets) socket.destroy();
  });
}

/** Reads the first line and leaves what follows it in the socket. */
function readIntroduction(socket: Socket, begin: (client: string) => void): void {
  let read = Buffer.alloc(0);
  const giveUp = (): void => {
    socket.destroy();
  };
  const receive = (chunk: Buffer): void => {
    read = Buffer.concat([read, chunk]);
    const end = read.subarray(0, LONGEST_LINE).indexOf('\r\n');
    if (end === -1 && read.length < LONGEST_LINE) return;
    const client = /^PROXY TCP4 (\S+) /.exec(read.toString('latin1', 0, Math.max(0, end)))?.[1];
    if (client === undefined || !isIPv4(client)) {
      giveUp();
      return;
    }
    socket.off('data', receive).off('end', giveUp).pause();
    if (read.length > end + 2) socket.unshift(read.subarray(end + 2));
    begin(client);
    socket.resume();
  };
  socket.on('error', giveUp).on('end', giveUp).on('data', receive);
}
