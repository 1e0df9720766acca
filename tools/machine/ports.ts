import { createServer } from 'node:net';
import { ToolError } from '../errors.ts';

// Below the kernel's default ephemeral range (32768–60999), so that no outgoing connection can take one of our ports
// between the choice and the bind, or while the API server restarts.
const FIRST_PORT = 20_000;
const PORT_COUNT = 10_000;

/** Chooses `count` different TCP ports of 127.0.0.1 on which nothing listens. @throws ToolError when too few are free. */
export async function chooseFreePorts(count: number): Promise<number[]> {
  const chosen = new Set<number>();
  for (let attempt = 0; chosen.size < count && attempt < 200; attempt++) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORT_COUNT);
    if (!chosen.has(port) && (await isPortFree(port))) chosen.add(port);
  }
  if (chosen.size < count) throw new ToolError('no free TCP ports on 127.0.0.1 between 20000 and 29999');
  return [...chosen];
}

/** True when this process could listen on 127.0.0.1:`port` right now. */
export function isPortFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
