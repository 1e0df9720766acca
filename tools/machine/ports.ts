import { createServer, type ListenOptions, type Server } from 'node:net';
import { ToolError } from '../errors.ts';

// Below the kernel's default ephemeral range (32768–60999), so that no outgoing connection can take one of our ports
// between the choice and the bind, or while the API server restarts.
const FIRST_PORT = 20_000;
const PORT_COUNT = 10_000;

/**
 * Chooses `count` different TCP ports of 127.0.0.1 on which nothing listens. They stay reserved while this process lives: test
 * files run in processes of their own, and seconds may pass until a program listens on the port that was chosen for it.
 *
 * @throws ToolError when too few are free.
 */
export async function chooseFreePorts(count: number): Promise<number[]> {
  const chosen: number[] = [];
  for (let attempt = 0; chosen.length < count && attempt < 200; attempt++) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORT_COUNT);
    if ((await reserve(port)) && (await isPortFree(port))) chosen.push(port);
  }
  if (chosen.length < count) throw new ToolError('no free TCP ports on 127.0.0.1 between 20000 and 29999');
  return chosen;
}

/** True when this process could listen on 127.0.0.1:`port` right now. */
export async function isPortFree(port: number): Promise<boolean> {
  const server = await listening({ host: '127.0.0.1', port, exclusive: true });
  if (server === undefined) return false;
  await new Promise((resolve) => server.close(resolve));
  return true;
}

/** Keeps other processes from choosing the port. The kernel ends a reservation, an abstract socket, with its process. */
async function reserve(port: number): Promise<boolean> {
  const server = await listening({ path: `\0terway-test-port-${port}`, exclusive: true });
  server?.unref();
  return server !== undefined;
}

/** Undefined when the address is in use. */
function listening(address: ListenOptions): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen(address, () => resolve(server));
  });
}
