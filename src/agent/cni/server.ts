import { chmod, mkdir, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { errorMessage } from '../../util/errors.ts';
import { CNI_ERROR, CniError } from './errors.ts';
import { type CniRequest, parseRequest, versionOf } from './request.ts';
import { errorResult } from './result.ts';

/** A request of GC names every sandbox of the node. */
const REQUEST_LIMIT = 16 * 1024 * 1024;

export interface CniServerOptions {
  socketPath: string;
  handle: (request: CniRequest, signal: AbortSignal) => Promise<Record<string, unknown> | undefined>;
  /** Told of every answer, for metrics and the log. */
  onAnswer: (answer: { command: string; code: number; durationMs: number; message: string }) => void;
  monotonicMs: () => number;
}

/**
 * Serves the shim (native/cni) on a unix socket, one request per connection. A peer that goes away while its request waits
 * ends the wait; what the kernel is being told is finished.
 */
export async function startCniServer(options: CniServerOptions): Promise<Server> {
  const { socketPath } = options;
  await mkdir(dirname(socketPath), { recursive: true, mode: 0o700 });
  // Of an agent that was killed; a second agent cannot run beside this one, see the lock of the executable.
  await rm(socketPath, { force: true });
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    serve(socket, options).catch(() => socket.destroy());
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

async function serve(socket: Socket, options: CniServerOptions): Promise<void> {
  const startedMs = options.monotonicMs();
  const gone = new AbortController();
  socket.on('error', () => socket.destroy());
  socket.once('close', () => gone.abort(new CniError(CNI_ERROR.tryAgain, 'the runtime gave up')));
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    if (!Buffer.isBuffer(chunk)) continue;
    length += chunk.length;
    if (length > REQUEST_LIMIT) {
      socket.destroy();
      return;
    }
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks);
  let command = 'unknown';
  let text: string;
  let failure: CniError | undefined;
  try {
    const request = parseRequest(bytes);
    command = request.command;
    const result = await options.handle(request, gone.signal);
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
