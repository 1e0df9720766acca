import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** One process behind the balancer: its port, and the URL that tells whether it is ready. */
export interface Backend {
  port: number;
  readyUrl: string;
}

/**
 * Does what a Service does: each new connection goes to a backend that was ready at the last check. A backend that stops being
 * ready keeps its open connections.
 */
export class Balancer {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #backends: Backend[] = [];
  #ready: Backend[] = [];
  #next = 0;
  readonly #timer: NodeJS.Timeout;

  private constructor(checkEveryMs: number) {
    this.#server = createServer((client) => this.#forward(client));
    this.#timer = setInterval(() => void this.#check(), checkEveryMs);
  }

  /** Listens on this port of 127.0.0.1. */
  static async start(port: number, checkEveryMs = 200): Promise<Balancer> {
    const balancer = new Balancer(checkEveryMs);
    balancer.#server.listen(port, '127.0.0.1');
    await once(balancer.#server, 'listening');
    return balancer;
  }

  async use(...backends: Backend[]): Promise<void> {
    this.#backends = backends;
    await this.#check();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  async #check(): Promise<void> {
    const states = await Promise.all(
      this.#backends.map(async (backend) => {
        const response = await fetch(backend.readyUrl).catch(() => undefined);
        return response?.ok === true ? [backend] : [];
      }),
    );
    this.#ready = states.flat();
  }

  #forward(client: Socket): void {
    this.#next += 1;
    const backend = this.#ready[this.#next % this.#ready.length];
    if (backend === undefined) {
      client.destroy();
      return;
    }
    const upstream = connect(backend.port, '127.0.0.1');
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      this.#sockets.add(from);
      from.on('error', () => undefined);
      from.on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
  }
}
