import { isExclusive } from '../../allocation/node-mode.ts';
import { type OperationFailure, reasonOfFailure } from '../../allocation/operation.ts';
import type { Capacity } from '../../allocation/plan.ts';
import { type PoolPlan, planPool } from '../../allocation/pool/plan-pool.ts';
import { noteChange } from '../../allocation/pool/reclaim-time.ts';
import { poolRules } from '../../allocation/pool/rules.ts';
import { poolWaits } from '../../allocation/pool/waits.ts';
import { trunkOutlook } from '../../allocation/trunk.ts';
import type { EniObserver } from '../../cloud/observer.ts';
import type { EniConfigs } from '../../cluster/eni-configs.ts';
import type { Informers } from '../../cluster/informers.ts';
import { hasLeft, isForeign, nodeView } from '../../cluster/node-view.ts';
import type { Pod } from '../../cluster/resources.ts';
import type { TerwayNode } from '../../crds/node.ts';
import { type NodeRuntime, saysDeleted, saysPresent } from '../../crds/node-runtime.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { ReconcileResult } from '../../kube/controller.ts';
import type { Log } from '../../telemetry/log.ts';
import type { PoolState } from '../../telemetry/state.ts';
import { type Clock, rfc3339 } from '../../util/clock.ts';
import type { SentPool } from '../../wire/admin-channel.ts';
import type { EniDriver } from '../eni/driver.ts';
import type { EniSearch } from '../eni/eni-search.ts';
import type { NetworkCatalog } from '../network-catalog.ts';
import { hasReportedFor } from '../sandbox-reports.ts';
import type { Watch } from '../watch.ts';
import { type Comparison, PoolAdoption } from './adoption.ts';
import { PoolDescriber, whyNoPool } from './describer.ts';
import { holdersIn, PoolEnding } from './ending.ts';
import { PoolFigures } from './figures.ts';
import { findingsOf, hasAddresses, hasVSwitch } from './findings.ts';
import { asksFor, giveBack, type Intents, intentsFor, poolCreation } from './intents.ts';
import { PoolMemory } from './memory.ts';
import { performEach } from './perform.ts';
import { type PoolPodsContext, poolPods } from './pods.ts';
import { PoolRecorder, type Updated } from './recorder.ts';
import { PoolReporter, type PoolReporterContext } from './reporter.ts';
import { PoolSubjects } from './subjects.ts';
import { PoolTagCheck } from './tag-check.ts';
import { sooner } from './times.ts';
import { type PoolWatchesOptions, poolWatches } from './watches.ts';
import { PoolWriter } from './writer.ts';

const STEPS_PER_VISIT = 10;
/** vSwitches rarely change; a full one shows when a call is refused. */
const VSWITCHES_MAX_AGE_MS = 5 * 60_000;
/** Others may release addresses, too. */
const RECHECK_MS = 15_000;
/** Kubelets tell the addresses of running pods within seconds; those that have not by then are not waited for. */
const TOLD_WITHIN_MS = 5 * 60_000;
/** Until tags are read again that nobody has told. */
const TAGS_AGAIN_MS = 5000;

export type PoolContext = PoolPodsContext &
  PoolReporterContext &
  Pick<PoolWatchesOptions, 'onConfigVerdict'> & {
    catalog: NetworkCatalog;
    client: KubeClient;
    clock: Clock;
    clusterId: string;
    driver: EniDriver;
    eniConfigs: EniConfigs;
    log: Log;
    /** `ip_pool_sync_period` where the Node CR has none. */
    syncPeriodMs: number;
    /** Whether the configuration lets pools ask for addresses. */
    mayGrow: () => boolean;
    /** Whether the degradation level lets anything be released. */
    mayRelease: () => boolean;
    /** Labels of the nodes to manage; empty: every node. */
    nodeLabels: Readonly<Record<string, string>>;
    observer: EniObserver;
    /** Slots and addresses; each plan adds `nowMs`. */
    capacity: Omit<Capacity, 'nowMs'>;
    /** Finds ENIs whose id is unknown. */
    search: EniSearch;
    /** Ends with the term. */
    signal: AbortSignal;
    wakePool: (nodeName: string) => void;
    wakeNode: (name: string) => void;
    informers: Pick<
      Informers,
      | 'pods'
      | 'namespaces'
      | 'podNetworkings'
      | 'podEnis'
      | 'networkInterfaces'
      | 'nodes'
      | 'coreNodes'
      | 'nodeRuntimes'
      | 'configMaps'
    >;
  };

/**
 * Gives the pods of each node addresses of ENIs that they share. One key is the name of a node. Everything that can be decided without
 * the cloud is written first (allocation/pool/plan-pool.ts); calls go on beside it (docs/design/pool.md).
 */
export class PoolController {
  readonly #context: PoolContext;
  readonly #writer: PoolWriter;
  readonly #reporter: PoolReporter;
  readonly #subjects: PoolSubjects;
  readonly #recorder: PoolRecorder;
  readonly #adoption: PoolAdoption;
  readonly #describer: PoolDescriber;
  readonly #ending: PoolEnding;
  readonly #tags: PoolTagCheck;
  readonly #figures = new PoolFigures();
  readonly #memory = new Map<string, PoolMemory>();

  constructor(context: PoolContext) {
    this.#context = context;
    const { capacity, driver } = context;
    const writer = new PoolWriter(context);
    const reporter = new PoolReporter(context);
    const subjects = new PoolSubjects(context, { writer, reporter });
    this.#writer = writer;
    this.#reporter = reporter;
    this.#subjects = subjects;
    this.#recorder = new PoolRecorder({ clusterId: context.clusterId, capacity, driver, reporter, subjects });
    this.#adoption = new PoolAdoption({ ...context, heldUntilMs: (eniId) => subjects.heldUntilMs(eniId) });
    this.#describer = new PoolDescriber(context, writer);
    this.#tags = new PoolTagCheck(context);
    this.#ending = new PoolEnding({
      ...context,
      ...{ writer, reporter, subjects, recorder: this.#recorder, figures: this.#figures },
      forget: (name) => this.#forget(name),
      lookUp: (name, vSwitchIds) => this.#lookUp(name, vSwitchIds),
    });
  }

  /** Nodes that are remembered. */
  get size(): number {
    const parts = [this.#memory, this.#adoption, this.#reporter, this.#figures, this.#subjects, this.#tags];
    return parts.reduce((sum, { size }) => sum + size, 0);
  }

  /** What only the leader knows of a node. */
  stateOf(name: string): SentPool {
    const memory = this.#memory.get(name);
    const resting = memory?.resting(this.#context.clock.now()) ?? [];
    const since = memory?.surplusSinceMs;
    const surplus = since === undefined ? {} : { surplusSince: rfc3339(since) };
    const { syncPeriodMs } = this.#context;
    return {
      ...surplus,
      syncPeriodMs,
      resting,
      waiting: this.#reporter.waitsOf(name),
      unconfirmed: this.#reporter.unconfirmedOf(name),
    };
  }

  /** For metrics. */
  figures(): PoolState {
    const { byReason: waiting, oldestMs: oldestWaitMs } = this.#reporter.waits();
    const unconfirmed = this.#reporter.unconfirmed();
    return { addresses: this.#figures.addresses(), wanted: this.#figures.wanted(), waiting, oldestWaitMs, unconfirmed };
  }

  watches(): Watch[] {
    return poolWatches(this.#context);
  }

  /** The cloud has an ENI for the node that its record lacks. */
  compare(name: string): void {
    this.#adoption.compare(name);
  }

  async reconcile(name: string, signal: AbortSignal): Promise<ReconcileResult> {
    for (let count = 0; count < STEPS_PER_VISIT; count += 1) {
      const outcome = await this.#visit(name, signal);
      if (outcome !== 'again') return outcome;
    }
    return { requeueAfterMs: 1 };
  }

  async #visit(name: string, signal: AbortSignal): Promise<'again' | ReconcileResult> {
    const { informers, clock, capacity, catalog, eniConfigs, nodeLabels, observer } = this.#context;
    const node = informers.nodes.store.get(name);
    const core = informers.coreNodes.store.get(name);
    if (node?.metadata.deletionTimestamp !== undefined && !isExclusive(node.metadata.labels) && eniConfigs.isCentral) {
      return this.#ending.leave(node, hasLeft(core, node) ? 'release' : 'keep', signal);
    }
    const view = nodeView(core, node);
    const isServed = core !== undefined && !isForeign(core, nodeLabels);
    if (node === undefined || view === undefined || isExclusive(node.metadata.labels) || !isServed) {
      this.#forget(name);
      this.#subjects.keep(name, []);
      return { isGone: node === undefined };
    }
    const { whyNotCentral } = eniConfigs;
    if (whyNotCentral !== undefined) return this.#ending.turnedOff(node, core, whyNotCentral, signal);
    const described = await this.#describer.describe(node, signal);
    if (described.isWritten) return 'again';
    const trunk = trunkOutlook(node, (eniId) => observer.latest(eniId));
    const enis = Object.values(node.status?.networkInterfaces ?? {});
    const rules = poolRules(node.spec, enis, trunk, this.#context.syncPeriodMs);
    const creation = poolCreation(node, eniConfigs);
    if ('reason' in rules || 'message' in creation) {
      return this.#ending.withoutPool(node, whyNoPool(node, rules, creation, described), signal);
    }
    const nowMs = clock.now();
    const memory = this.#memoryOf(name);
    const updated = this.#recorder.update(node, memory, nowMs);
    const { status: known, unknown } = updated;
    const compared = this.#adoption.into(known, node, view.instanceId);
    if (compared.is === 'failed' && known.lastSyncOpenAPITime === undefined) {
      const { failure } = compared;
      return this.#ending.withoutPool(node, { reason: reasonOfFailure(failure), message: failure.message }, signal);
    }
    if (known.lastSyncOpenAPITime === undefined) {
      return sooner({}, [this.#comparedAgainMs(name, compared)], nowMs);
    }
    const mayGrow = this.#context.mayGrow();
    if (!mayGrow) updated.astray.push(...this.#subjects.dropRefused(node, known));
    const refusals = memory.refusalsAt(nowMs);
    const creationRefusal = memory.creationRefusal((intent) => asksFor(creation, rules.families, intent), nowMs);
    const runtime = informers.nodeRuntimes.store.get(name);
    const holders = holdersIn(known);
    const newUntilMs = Date.parse(known.lastSyncOpenAPITime) + TOLD_WITHIN_MS;
    const unread = this.#tags.into(known, node);
    const plan = planPool({
      ...rules,
      status: known,
      pods: poolPods(this.#context, name, holders),
      isGone: (uid) => saysDeleted(runtime?.status?.pods?.[uid]),
      hasSandbox: (uid) => saysPresent(runtime?.status?.pods?.[uid]),
      hasStrangers:
        !hasReportedFor(runtime, node) || hasStrangers(runtime, informers.pods.store.byIndex('node', name), holders),
      // A record that has just been made may lack what pods have, until the kubelet tells it.
      isNew: nowMs < newUntilMs,
      unread,
      mayGrow: (eni) => mayGrow && hasAddresses(capacity, nowMs)(eni) && !refusals.has(eni.id),
      mayMake: mayGrow && creationRefusal === undefined,
      hasVSwitch: hasVSwitch(this.#context, creation, nowMs),
      mayRelease: this.#context.mayRelease(),
      freedMs: (ip) => memory.freedMs.get(ip),
      surplusSinceMs: memory.surplusSinceMs,
      wanted: memory.wanted,
      random: capacity.random,
      nowMs,
    });
    const asked = intentsFor(plan.growth, node, creation, { ...capacity, nowMs }, catalog);
    const failures = this.#subjects.failures(node, plan.status.poolIntents ?? []);
    const isStopped = !mayGrow;
    const look = {
      node,
      trunk,
      plan,
      asked,
      rules,
      creation,
      refusals,
      creationRefusal,
      failures,
      isStopped,
      unread,
      nowMs,
    };
    const findings = findingsOf(this.#context, { ...look, config: described });
    const verdict = this.#reporter.judge(name, findings);
    this.#reporter.addConditions(node, plan.status, findings, verdict);
    const { unconfirmed } = plan.releases;
    const lateMs = this.#reporter.addReleases(node, plan.status, unconfirmed, runtime !== undefined);
    memory.noteFreed(plan.releases, nowMs);
    const written = await this.#write(node, plan, asked, signal);
    if (compared.is === 'done') this.#adoption.forget(name);
    // Where there should be room, the record and the cloud disagree.
    const limits = [...failures, ...refusedAddresses(updated.brought)].filter((failure) => failure?.kind === 'limit');
    if (limits.some((failure) => failure !== undefined && memory.isNews(failure))) this.#adoption.compare(name);
    memory.remember(plan, asked.intents.length > 0);
    this.#recorder.account(node, updated, memory);
    this.#reporter.served(name, plan.handOuts.served, nowMs);
    this.#figures.note(name, Object.values(written.status?.networkInterfaces ?? {}), plan.missing);
    const subjects = this.#subjects.of(written);
    this.#subjects.keep(name, subjects);
    const due = this.#subjects.inTurn(subjects, rules.limits.attachments);
    const outcome = await performEach(
      { recorder: this.#recorder, subjects: this.#subjects },
      due,
      plan.handOuts.unserved.length > 0,
      signal,
    );
    if (outcome === 'again') return outcome;
    const toldAgainMs = this.#reporter.waiting(name, poolWaits(plan.handOuts, verdict.shortage));
    await this.#reporter.onNode(core, findings, verdict, signal);
    // While it is put together, too, what is to be asked for.
    const notKnown = plan.wanted === undefined || catalog.knows(creation.vSwitchIds) ? [] : creation.vSwitchIds;
    const missing = [...unknown, ...notKnown];
    // Others may have released addresses, too.
    const isShort = findings.supply === 'vSwitchFull' || asked.full !== undefined || asked.noneInZone !== undefined;
    const dues = [
      plan.againMs,
      plan.handOuts.isUncertain ? newUntilMs : undefined,
      toldAgainMs,
      lateMs,
      verdict.againMs,
      this.#comparedAgainMs(name, compared),
      ...[...refusals.values()].map(({ untilMs }) => untilMs),
      creationRefusal?.untilMs,
      // Somebody else who looks at an ENI may take the place of this read.
      unread.size > 0 ? nowMs + TAGS_AGAIN_MS : undefined,
      missing.length > 0 ? this.#lookUp(name, missing) : undefined,
      isShort ? this.#lookUp(name, creation.vSwitchIds, RECHECK_MS) : undefined,
    ];
    return sooner(outcome, dues, clock.now());
  }

  #forget(name: string): void {
    this.#memory.delete(name);
    this.#adoption.forget(name);
    this.#reporter.forget(name);
    this.#figures.forget(name);
    this.#tags.forget(name);
  }

  async #write(node: TerwayNode, plan: PoolPlan, asked: Intents, signal: AbortSignal): Promise<TerwayNode> {
    const { status } = plan;
    if (asked.intents.length > 0) {
      // Not before: a growth that no vSwitch has addresses for is planned again at each look.
      noteChange(status, this.#context.clock.now());
      status.poolIntents = [...(status.poolIntents ?? []), ...asked.intents];
    }
    try {
      return await this.#writer.status(node, status, signal);
    } catch (error) {
      giveBack(asked.intents, this.#context.capacity);
      throw error;
    }
  }

  /**
   * Asks the cloud about vSwitches, outside the worker: what is idle is handed out meanwhile. The node is woken when one is known that was
   * not.
   *
   * @returns when to look again in any case, epoch milliseconds
   */
  #lookUp(name: string, vSwitchIds: string[], maxAgeMs = VSWITCHES_MAX_AGE_MS): number {
    const { catalog, capacity, clock, signal, wakePool } = this.#context;
    const unknown = vSwitchIds.filter((id) => capacity.vSwitches.get(id) === undefined);
    void catalog.lookUp({ vSwitchIds, securityGroupIds: [] }, maxAgeMs, signal).then(
      () => {
        if (unknown.some((id) => capacity.vSwitches.get(id) !== undefined)) wakePool(name);
      },
      // The catalog reports why.
      () => undefined,
    );
    return clock.now() + RECHECK_MS;
  }

  /** When a comparison with the cloud is tried again, unless an answer wakes the node before. */
  #comparedAgainMs(name: string, compared: Comparison): number | undefined {
    if (compared.is === 'heldUp') return this.#lookUp(name, compared.vSwitchIds);
    return compared.is === 'waiting' ? compared.untilMs : undefined;
  }

  #memoryOf(name: string): PoolMemory {
    const known = this.#memory.get(name) ?? new PoolMemory();
    this.#memory.set(name, known);
    return known;
  }
}

/** Why the cloud has given ENIs no more addresses. */
function refusedAddresses(brought: Updated['brought']): OperationFailure[] {
  return brought.flatMap(({ news }) => (news.do === 'refused' && news.eniId !== '' ? [news.failure] : []));
}

/** Whether a node has reported sandboxes of pods that are not known, or not yet, and that hold no address. */
function hasStrangers(runtime: NodeRuntime | undefined, pods: readonly Pod[], holders: ReadonlySet<string>): boolean {
  const known = new Set(pods.map(({ metadata }) => metadata.uid ?? ''));
  return Object.entries(runtime?.status?.pods ?? {}).some(
    ([uid, entry]) => saysPresent(entry) && !known.has(uid) && !holders.has(uid),
  );
}
