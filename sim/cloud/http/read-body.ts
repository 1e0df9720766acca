import type { IncomingMessage } from 'node:http';

/** The whole body, or undefined when it is longer than `maxBytes`. Rejects when the client disconnects. */
export async function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    if (!Buffer.isBuffer(chunk)) continue;
    size += chunk.length;
    // Keep draining, so that the client sees the response instead of a broken connection.
    if (size <= maxBytes) chunks.push(chunk);
  }
  return size <= maxBytes ? Buffer.concat(chunks) : undefined;
}
