import type { Server } from 'node:http';
import { isOursInPool } from '../../allocation/identity.ts';
import type { QuotaScheduler } from '../../cloud/quota.ts';
import { closeServer } from '../../telemetry/http-server.ts';
import type { Log } from '../../telemetry/log.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import { type Clock, rfc3339 } from '../../util/clock.ts';
import { errorMessage } from '../../util/errors.ts';
import { isAnswered, listenOnSocket, SocketRefusal, socketServer } from '../../util/unix-socket.ts';
import type { SentAdoption, SentEnis, SentQuota, SentStatus } from '../../wire/admin-channel.ts';
import { takeInventory } from '../collector/inventory.ts';
import type { Term } from '../term.ts';
import { reportAdoption } from './adoption.ts';
import { listedEni, orphansResponse } from './responses.ts';

export interface AdminChannelOptions {
  /** Path of the unix socket; `''` disables the channel. */
  socketPath: string;
  /** The holder name of this replica in the lease. */
  identity: string;
  version: string;
  cluster: { clusterID: string; regionID: string; vpcID: string };
  quota: QuotaScheduler;
  metrics: Metrics;
  clock: Clock;
  log: Log;
  /** Read on each request. */
  degradation: () => string;
  /** Whether pools may ask for addresses; read on each request. */
  poolGrowth: () => boolean;
  /** Why the configuration file is not in force; undefined when it is. */
  configurationProblem: () => string | undefined;
  /** The configuration in force, without secrets. */
  configuration: () => unknown;
  /** Why this replica is not ready; undefined when it is. */
  problem: () => string | undefined;
}

/** Pods that a response names for each thing they wait for. */
const NAMED_PODS = 1000;

/**
 * Serves `terway-controlplane admin …` on a unix socket: state that only this process has, and releases that a person
 * requests. Access is controlled by the permissions of the socket. Other replicas refuse what only the leader knows and
 * name the leader.
 */
export class AdminChannel {
  readonly #options: AdminChannelOptions;
  readonly #server: Server;
  readonly #startedAtMs: number;
  #isListening = false;
  #term: Term | undefined;
  #leader = '';

  constructor(options: AdminChannelOptions) {
    this.#options = options;
    this.#startedAtMs = options.clock.now();
    this.#server = socketServer({
      'GET /status': () => this.#status(),
      'GET /quota': async () => this.#quota(),
      'GET /orphans': async () => orphansResponse(await this.#leading().collector.plan(), false),
      'POST /orphans': async (query) => {
        const overrideBrake = query.get('overrideBrake') === 'true';
        const { plan, released } = await this.#leading().collector.release(overrideBrake);
        return orphansResponse(plan, overrideBrake, released);
      },
      'GET /adopt': () => reportAdoption(this.#leading().inventory),
      'POST /adopt': () => this.#adopt(),
      'GET /enis': () => this.#enis(),
      'GET /pool': async (query) => this.#leading().pools.stateOf(query.get('node') ?? ''),
      'GET /configuration': async () => options.configuration(),
      'GET /metrics': async () => ({ text: await options.metrics.registry.metrics() }),
    });
  }

  /** Starts serving. Failure is only a warning, because nothing but commands needs the channel. */
  async listen(): Promise<void> {
    const { socketPath, log } = this.#options;
    if (socketPath === '') return;
    try {
      if (await isAnswered(socketPath)) throw new Error('another process listens on it');
      await listenOnSocket(this.#server, socketPath);
      this.#isListening = true;
    } catch (error) {
      log.warn(
        { adminSocket: socketPath, err: errorMessage(error) },
        'no admin channel: `terway-controlplane admin` and `kubectl terway` cannot ask this replica',
      );
    }
  }

  /** The lease holder; `''` when there is none. */
  noteLeader(identity: string): void {
    this.#leader = identity;
  }

  /** A term of this replica starts, or, with undefined, ends. */
  noteTerm(term: Term | undefined): void {
    this.#term = term;
  }

  async close(): Promise<void> {
    if (this.#isListening) await closeServer(this.#server);
  }

  #leading(): Term {
    if (this.#term !== undefined) return this.#term;
    const leader = this.#leader === '' ? 'there is no leader now' : `the leader is ${this.#leader}`;
    throw new SocketRefusal(409, `${this.#options.identity} does not lead; ${leader}`);
  }

  async #status(): Promise<SentStatus> {
    const { identity, version, cluster, clock, metrics } = this.#options;
    const term = this.#term;
    const configurationProblem = this.#options.configurationProblem();
    const problem = this.#options.problem();
    const certificateEndsAtS = (await metrics.webhookCertificateEnds.get()).values[0]?.value ?? 0;
    const round = term?.collector.latest;
    return {
      identity,
      version,
      ...cluster,
      startedAt: rfc3339(this.#startedAtMs),
      now: rfc3339(clock.now()),
      leading: term !== undefined,
      leader: term === undefined ? this.#leader : identity,
      degradation: this.#options.degradation(),
      poolGrowth: this.#options.poolGrowth(),
      ...(configurationProblem === undefined ? {} : { configurationProblem }),
      ...(problem === undefined ? {} : { problem }),
      ...(certificateEndsAtS === 0 ? {} : { certificateEndsAt: rfc3339(certificateEndsAtS * 1000) }),
      ...(term === undefined
        ? {}
        : {
            queues: Object.entries(term.queues).map(([name, queue]) => ({
              name,
              waiting: queue.depth,
              working: queue.processingCount,
              delayed: queue.delayedCount,
            })),
            inFlight: Object.values(term.observer.inFlight()).reduce((sum, count) => sum + count, 0),
            waiting: term.pendingPods.places().map(({ waitsFor, pods }) => ({
              waitsFor: waitsFor.kind,
              name:
                waitsFor.kind === 'vSwitch'
                  ? waitsFor.zone
                  : 'nodeName' in waitsFor
                    ? waitsFor.nodeName
                    : waitsFor.name,
              count: pods.length,
              pods: pods.slice(0, NAMED_PODS),
            })),
            ...(round === undefined
              ? {}
              : {
                  collector: {
                    orphans: round.orphans,
                    released: round.released,
                    braked: round.braked,
                    endedAt: rfc3339(round.endedAtMs),
                  },
                }),
          }),
    };
  }

  #quota(): SentQuota {
    this.#leading();
    return { apis: quotaOf(this.#options.quota) };
  }

  /** Adoption needs no step of its own: the records are reconciled now instead of later. */
  async #adopt(): Promise<SentAdoption> {
    const { inventory, wakePod, wakeNode } = this.#leading();
    const report = await reportAdoption(inventory);
    for (const { kind, name, state } of report.adoptees) {
      if (state === 'adopted') continue;
      if (kind === 'PodENI') wakePod(name);
      if (kind === 'Trunk') wakeNode(name);
    }
    return report;
  }

  async #enis(): Promise<SentEnis> {
    const { inventory } = this.#leading();
    const { listed, ownerOf } = await takeInventory(inventory);
    // Those that Terway made for its pools have its tag alone, but a record names them.
    const ours = [...listed.values()].filter(({ tags }) => isOursInPool(tags, inventory.clusterId));
    return {
      enis: ours.map((eni) => {
        const namedBy = ownerOf(eni.id);
        return { ...listedEni(eni), ...(namedBy === undefined ? {} : { namedBy }) };
      }),
    };
  }
}

function quotaOf(quota: QuotaScheduler): SentQuota['apis'] {
  return quota.apis().map((api) => {
    const { nextMinuteAtMs, waitingByClass: _, ...status } = quota.status(api);
    return { api, ...status, nextMinuteAt: rfc3339(nextMinuteAtMs) };
  });
}
