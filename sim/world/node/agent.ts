import { pino } from 'pino';
import { Agent } from '../../../src/agent/agent.ts';
import { CNI_ERROR, CniError } from '../../../src/agent/cni/errors.ts';
import type { CniRequest } from '../../../src/agent/cni/request.ts';
import type { AgentHandlers } from '../../../src/agent/host.ts';
import { agentConfigSchema } from '../../../src/config/agent.ts';
import { KubeClient } from '../../../src/kube/client.ts';
import type { Clock } from '../../../src/util/clock.ts';
import type { Random } from '../../../src/util/random.ts';
import type { FaultPlan } from '../../kube/faults.ts';
import type { KubeModel } from '../../kube/model/model.ts';
import { SimulatedTransport } from '../../kube/transport.ts';
import type { DiskModel } from './disk.ts';
import { type KernelModel, SimulatedDatapath } from './kernel.ts';
import { type MachineCall, type MachineFault, ProcessLife } from './process.ts';
import { withRights } from './rights.ts';

export interface WorldAgentOptions {
  /** Of the process; names who writes in the API server's journal, and to the faults. */
  name: string;
  nodeName: string;
  disk: DiskModel;
  kernel: KernelModel;
  kube: KubeModel;
  clock: Clock;
  random: Random;
  kubeFaults?: FaultPlan | undefined;
  podIPsAnnotation?: boolean | undefined;
  onCall: (call: MachineCall) => MachineFault | undefined;
  /** Kills the process, because a fault wants it. */
  onKilled: () => void;
  /** It accepts requests of the runtime from now on. */
  onServing: () => void;
  /** A line of its log, of an error. */
  onError: (line: string) => void;
}

/** One process of the shipped node agent; only the bottoms of its connections to API server, disk and kernel are models. */
export class WorldAgent {
  readonly name: string;
  readonly transport: SimulatedTransport;
  /** Settled when it has ended; rejects when it failed by itself. */
  readonly ended: Promise<void>;
  readonly #options: WorldAgentOptions;
  readonly #life: ProcessLife;
  readonly #stop = new AbortController();
  readonly #requests = new Set<Promise<unknown>>();
  #handlers: AgentHandlers | undefined;
  #agent: Agent | undefined;

  constructor(options: WorldAgentOptions) {
    const { name, kube, clock, kubeFaults, onCall, onKilled, podIPsAnnotation } = options;
    this.#options = options;
    this.name = name;
    const faults = withRights(kubeFaults, podIPsAnnotation);
    this.transport = new SimulatedTransport({ model: kube, clock, replica: name, userAgent: 'terway-agent', faults });
    this.#life = new ProcessLife({ name, clock, onCall, onKilled });
    this.ended = this.#run();
    this.ended.catch(() => undefined);
  }

  get isServing(): boolean {
    return this.#handlers !== undefined;
  }

  /** Entries in its memory, by who holds them; empty before it has started. */
  get held(): Readonly<Record<string, number>> {
    return this.#agent?.held() ?? {};
  }

  /** It was told to end. */
  get isStopping(): boolean {
    return this.#stop.signal.aborted;
  }

  /** Answers the runtime. @throws CniError, also when the process ends first */
  async handle(request: CniRequest, gone: AbortSignal): Promise<void> {
    const handlers = this.#handlers;
    if (handlers === undefined) throw unreachable();
    const answer = this.#life.awake().then(() => handlers.cni(request, gone));
    const settled = answer.then(
      () => undefined,
      () => undefined,
    );
    this.#requests.add(settled);
    const died = this.#life.ended.then(() => Promise.reject(unreachable()));
    try {
      await Promise.race([answer, died, aborted(gone)]);
    } finally {
      void settled.then(() => this.#requests.delete(settled));
    }
  }

  stall(untilMs: number): void {
    this.#life.stall(untilMs);
  }

  /** Ends it as SIGTERM does. Time must advance until {@link ended}. */
  stop(): void {
    this.#stop.abort(new Error('stopped'));
  }

  /** Ends it as SIGKILL does: what was sent to the API server arrives, and nothing else happens. */
  kill(): void {
    this.#life.end();
    this.#handlers = undefined;
    this.transport.close();
    this.#stop.abort(new Error('killed'));
  }

  async #run(): Promise<void> {
    const { nodeName, disk, kernel, clock, random, onServing, onError, podIPsAnnotation } = this.#options;
    const life = this.#life;
    const agent = await Agent.create({
      nodeName,
      config: agentConfigSchema.parse({ podIPsAnnotation }),
      client: new KubeClient({ transport: this.transport, clock, random }),
      datapath: new SimulatedDatapath(kernel, life),
      host: {
        records: disk.filesOf(life),
        netns: {
          exists: (path) => life.perform('netns look', 0, () => kernel.netns.has(path)),
          paths: () => life.perform('netns list', 0, () => [...kernel.netns]),
        },
        serve: async (handlers) => {
          await life.awake();
          this.#handlers = handlers;
          onServing();
          return {
            [Symbol.asyncDispose]: async () => {
              this.#handlers = undefined;
              await Promise.all(this.#requests);
            },
          };
        },
        openForPods: async () => false,
      },
      recorder: { event: () => undefined },
      clock,
      random,
      log: pino({ level: 'error' }, { write: onError }),
    });
    this.#agent = agent;
    await agent.run(this.#stop.signal);
  }
}

/** As the plugin says it when nobody answers at the agent's socket. */
export function unreachable(): CniError {
  return new CniError(CNI_ERROR.tryAgain, 'the node agent terway-agent cannot be reached at its socket');
}

async function aborted(signal: AbortSignal): Promise<never> {
  signal.throwIfAborted();
  const { promise, reject } = Promise.withResolvers<never>();
  signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  return promise;
}
