import { createServer, type Server, type Socket } from 'node:net';
import { errorMessage } from '../../util/errors.ts';
import { listenOnSocket } from '../../util/unix-socket.ts';
import { CNI_ERROR, CniError } from './errors.ts';
import { type CniRequest, parseRequest, versionOf } from './request.ts';
import { errorResult } from './result.ts';

/** A request of GC names every sandbox of the node. */
const REQUEST_LIMIT = 16 * 1024 * 1024;

/** How a request was answered; code 0 is success. */
export interface CniAnswer {
  command: string;
  code: number;
  durationMs: number;
  message: string;
}

export interface CniServerOptions {
  socketPath: string;
  handle: (request: CniRequest, signal: AbortSignal) => Promise<Record<string, unknown> | undefined>;
  /** Told of every answer, for metrics and the log. */
  onAnswer: (answer: CniAnswer) => void;
  monotonicMs: () => number;
}

/**
 * Serves the shim (native/cni) on a unix socket, one request per connection. A peer that goes away while its request waits
 * ends the wait; what the kernel is being told is finished.
 */
export async function startCniServer(options: CniServerOptions): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    receive(socket, (request, gone) => void answer(socket, request, gone, options));
  });
  await listenOnSocket(server, options.socketPath);
  return server;
}

/**
 * Collects one request: its length in four bytes, the highest first, and that many bytes. Then, and only then, `onRequest` is
 * called, with a signal that aborts when the peer goes away. What ends before it is complete is handed over as it is.
 */
function receive(socket: Socket, onRequest: (request: Buffer, gone: AbortSignal) => void): void {
  const gone = new AbortController();
  const leave = () => gone.abort(new CniError(CNI_ERROR.tryAgain, 'the runtime gave up'));
  let received = Buffer.alloc(0);
  let isComplete = false;
  socket.on('data', (chunk: Buffer) => {
    if (isComplete) return;
    received = Buffer.concat([received, chunk]);
    const length = received.length < 4 ? undefined : received.readUInt32BE(0);
    if (length === undefined || (length <= REQUEST_LIMIT && received.length < 4 + length)) return;
    isComplete = true;
    onRequest(length > REQUEST_LIMIT ? Buffer.alloc(0) : received.subarray(4, 4 + length), gone.signal);
  });
  socket.once('end', () => {
    if (isComplete) {
      leave();
      return;
    }
    isComplete = true;
    onRequest(received.subarray(4), gone.signal);
  });
  socket.once('close', leave);
}

async function answer(socket: Socket, bytes: Buffer, gone: AbortSignal, options: CniServerOptions): Promise<void> {
  const startedMs = options.monotonicMs();
  let command = 'unknown';
  let text: string;
  let failure: CniError | undefined;
  try {
    const request = parseRequest(bytes);
    command = request.command;
    const result = await options.handle(request, gone);
    text = `0${result === undefined ? '' : `${JSON.stringify(result)}\n`}`;
  } catch (error) {
    failure = error instanceof CniError ? error : new CniError(CNI_ERROR.tryAgain, errorMessage(error));
    text = `1${JSON.stringify(errorResult(versionOf(bytes), failure))}\n`;
  }
  options.onAnswer({
    command,
    code: failure?.code ?? 0,
    durationMs: options.monotonicMs() - startedMs,
    message: failure?.message ?? '',
  });
  if (!socket.destroyed) socket.end(text);
}
