import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** One process behind the balancer: where it serves, and where it says whether it is ready. */
export interface Backend {
  port: number;
  readyUrl: string;
}

/**
 * What a Service does: each new connection goes to one of the backends that were ready at the last look. A backend that is
 * not ready keeps the connections that it has.
 */
export class Balancer {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #backends: Backend[] = [];
  #ready: Backend[] = [];
  #next = 0;
  readonly #timer: NodeJS.Timeout;

  private constructor(lookEveryMs: number) {
    this.#server = createServer((client) => this.#forward(client));
    this.#timer = setInterval(() => void this.#look(), lookEveryMs);
  }

  /** Begins to listen at this port of 127.0.0.1. */
  static async start(port: number, lookEveryMs = 200): Promise<Balancer> {
    const balancer = new Balancer(lookEveryMs);
    balancer.#server.listen(port, '127.0.0.1');
    await once(balancer.#server, 'listening');
    return balancer;
  }

  async use(...backends: Backend[]): Promise<void> {
    this.#backends = backends;
    await this.#look();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  async #look(): Promise<void> {
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
