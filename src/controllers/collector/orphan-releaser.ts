import { isOurs } from '../../allocation/identity.ts';
import { nextInterfaceStep } from '../../allocation/interface-step.ts';
import { parseTrunkIntent } from '../../allocation/trunk.ts';
import type { EniObserver } from '../../cloud/observer.ts';
import type { Informers } from '../../cluster/informers.ts';
import { ANNOTATION_TRUNK_INTENT, TAG_ATTEMPT, TAG_OWNER } from '../../crds/names.ts';
import { podEniResource } from '../../crds/pod-eni.ts';
import type { Eni } from '../../ecs/eni.ts';
import type { KubeClient } from '../../kube/client.ts';
import { isNotFound } from '../../kube/errors.ts';
import { splitKey } from '../../kube/types.ts';
import type { Log } from '../../telemetry/log.ts';
import { onAbort } from '../../util/abort.ts';
import type { Clock } from '../../util/clock.ts';
import { errorMessage } from '../../util/errors.ts';
import type { EniDecision, EniDriver } from '../eni/driver.ts';
import type { EndedCall } from '../eni/pending-calls.ts';
import { orphanOwner } from '../owners.ts';

/** One call to release an orphan, made or failed. */
export interface OrphanRelease {
  eniId: string;
  call: 'detach' | 'delete';
  error?: string;
}

/** The longest that one release may take, including the wait for quota in the last class. */
const LONGEST_MS = 120_000;

export interface OrphanReleaserContext {
  client: KubeClient;
  clock: Clock;
  clusterId: string;
  driver: EniDriver;
  log: Log;
  observer: EniObserver;
  /** Ends with the term. */
  signal: AbortSignal;
  informers: Pick<Informers, 'podEnis' | 'nodes' | 'networkInterfaces'>;
  /** Callbacks for news of an orphan, by ENI id. */
  orphanNews: Map<string, () => void>;
}

/** Releases ENIs that no object names, one call at a time; later rounds continue. */
export class OrphanReleaser {
  readonly #context: OrphanReleaserContext;

  constructor(context: OrphanReleaserContext) {
    this.#context = context;
  }

  /** Makes the next call for an ENI that was listed as an orphan. Rejects only with the signal's reason. */
  async release(eni: Eni): Promise<OrphanRelease> {
    const { driver, clock, log, signal } = this.#context;
    const owner = orphanOwner(eni.id);
    const call = eni.status === 'InUse' ? 'detach' : 'delete';
    let ended: EndedCall | undefined;
    let problem: string | undefined;
    const subject = {
      id: owner,
      owner,
      eniId: eni.id,
      decide: () => this.#decide(eni),
      ended: (how: EndedCall) => {
        ended = how;
      },
    };
    const give = (message: string) => {
      problem = message;
      return {};
    };
    const handler = {
      record: async () => ({}),
      newAttempt: async () => ({}),
      inProgress: () => ({}),
      pause: async () => give('the previous call failed a moment ago'),
      blocked: async ({ message }: { message: string }) => give(message),
      done: () => give('the ENI is already gone'),
    };
    const deadlineMs = clock.monotonicMs() + LONGEST_MS;
    try {
      while (ended === undefined && problem === undefined) {
        const named = await this.#ownerNow(eni);
        const decision = named === undefined ? this.#decide(eni) : undefined;
        if (decision === undefined) return { eniId: eni.id, call, error: `${named ?? 'a record'} now names it` };
        const news = this.#news(eni.id, deadlineMs - clock.monotonicMs());
        try {
          await driver.perform(subject, decision, handler);
          if (ended === undefined && problem === undefined && !(await news.promise))
            problem = 'still waiting for quota';
        } finally {
          news.end();
        }
      }
    } catch (error) {
      if (signal.aborted) throw error;
      problem = errorMessage(error);
    } finally {
      driver.forget(owner, { id: eni.id, owner });
    }
    const error = problem ?? ended?.failure?.message;
    if (error === undefined) log.warn({ eni: eni.id, status: eni.status, tags: eni.tags }, 'orphan released');
    else log.warn({ eni: eni.id, err: error }, 'orphan could not be released');
    return { eniId: eni.id, call, ...(error === undefined ? {} : { error }) };
  }

  /** @returns a promise of true at the next news, or false when none comes in time; `end` must be called. */
  #news(eniId: string, withinMs: number): { promise: Promise<boolean>; end: () => void } {
    const { clock, signal } = this.#context;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const timer = clock.schedule(Math.max(1, withinMs), () => resolve(false));
    this.#context.orphanNews.set(eniId, () => resolve(true));
    const aborting = onAbort(signal, () => resolve(false));
    return {
      promise,
      end: () => {
        timer.cancel();
        this.#context.orphanNews.delete(eniId);
        aborting.cancel();
      },
    };
  }

  /** Decides from the stores; undefined when an object names the ENI. */
  #decide(eni: Eni): EniDecision | undefined {
    const { observer, driver, clusterId, clock } = this.#context;
    if (this.#isNamed(eni)) return undefined;
    const observation = observer.latest(eni.id);
    const operation = driver.operation(orphanOwner(eni.id));
    const view = {
      allocation: { eni: { id: eni.id } },
      fixed: false,
      bound: false,
      ...(observation === undefined ? {} : { observation }),
      ...(operation === undefined ? {} : { operation }),
    };
    return { step: nextInterfaceStep('release', view, clusterId, clock.now()), callClass: 'audit' };
  }

  #isNamed({ id, tags }: Eni): boolean {
    const { podEnis, nodes, networkInterfaces } = this.#context.informers;
    if (podEnis.store.byIndex('eni', id).length > 0 || networkInterfaces.store.get(id) !== undefined) return true;
    const token = tags[TAG_ATTEMPT];
    const [kind, name = ''] = (tags[TAG_OWNER] ?? '').split('/');
    const record = podEnis.store.get(tags[TAG_OWNER] ?? '');
    if (record?.spec.allocations?.some(({ intent }) => intent !== undefined && intent.clientToken === token) === true) {
      return true;
    }
    const node = kind === 'node' ? nodes.store.get(name) : undefined;
    const intent = parseTrunkIntent(node?.metadata.annotations?.[ANNOTATION_TRUNK_INTENT]);
    return intent !== undefined && (intent.eniID === id || intent.clientToken === token);
  }

  /** Whether the object that the ENI was made for names it by now; the store may lag. @throws KubeApiError */
  async #ownerNow({ id, tags }: Eni): Promise<string | undefined> {
    const { client, clusterId, signal } = this.#context;
    const key = tags[TAG_OWNER] ?? '';
    const { namespace, name } = splitKey(key);
    if (!isOurs(tags, clusterId) || namespace === undefined || namespace === 'node' || name === '') return undefined;
    try {
      const podEni = await client.get(podEniResource, { namespace, name }, { signal, priority: 'background' });
      const isNamed = podEni.spec.allocations?.some(
        ({ eni, intent }) => eni.id === id || (intent !== undefined && intent.clientToken === tags[TAG_ATTEMPT]),
      );
      return isNamed === true ? `PodENI ${key}` : undefined;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }
}
