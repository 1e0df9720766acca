import { isExclusive } from '../../allocation/node-mode.ts';
import type { Capacity } from '../../allocation/plan.ts';
import { adopted } from '../../allocation/pool/audit.ts';
import type { Statement } from '../../allocation/pool/conditions.ts';
import { dropMoot, holdsRecord, type PoolEnd } from '../../allocation/pool/leaving.ts';
import { recordNews, type Subnets } from '../../allocation/pool/news.ts';
import { noteChange, type PoolPlan, type PoolStatus, planPool } from '../../allocation/pool/plan-pool.ts';
import { release } from '../../allocation/pool/release.ts';
import { poolRules } from '../../allocation/pool/rules.ts';
import { addressesOf } from '../../allocation/pool/view.ts';
import { poolWaits } from '../../allocation/pool/waits.ts';
import type { EniObserver } from '../../cloud/observer.ts';
import { clusterNetwork } from '../../cluster/cluster-network.ts';
import type { EniConfigs } from '../../cluster/eni-configs.ts';
import type { Informers } from '../../cluster/informers.ts';
import { hasLeft, nodeView } from '../../cluster/node-view.ts';
import type { CoreNode, Pod } from '../../cluster/resources.ts';
import { ANNOTATION_MAX_AVAILABLE_IP, CONDITION_SUFFICIENT_IP } from '../../crds/names.ts';
import type { TerwayNode } from '../../crds/node.ts';
import { saysDeleted } from '../../crds/node-runtime.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { ReconcileResult } from '../../kube/controller.ts';
import type { HasMetadata } from '../../kube/types.ts';
import type { Log } from '../../telemetry/log.ts';
import type { PoolState } from '../../telemetry/state.ts';
import type { Clock } from '../../util/clock.ts';
import type { SentPool } from '../../wire/admin-channel.ts';
import type { EniDriver } from '../eni/driver.ts';
import type { EniSearch } from '../eni/eni-search.ts';
import type { NetworkCatalog } from '../network-catalog.ts';
import { type Watch, watch } from '../watch.ts';
import { PoolDescriber, whyNoPool } from './describer.ts';
import { PoolFigures } from './figures.ts';
import { findingsOf, hasAddresses } from './findings.ts';
import { giveBack, type Intents, intentsFor, type PoolCreation } from './intents.ts';
import { PoolMemory } from './memory.ts';
import { type PoolPodsContext, poolPods } from './pods.ts';
import { PoolReporter, type PoolReporterContext } from './reporter.ts';
import { PoolSubjects } from './subjects.ts';
import { PoolSurvey } from './survey.ts';
import { PoolWriter } from './writer.ts';

const STEPS_PER_VISIT = 10;
/** vSwitches rarely change; a full one shows when a call is refused. */
const VSWITCHES_MAX_AGE_MS = 5 * 60_000;
/** Others may release addresses, too. */
const RECHECK_MS = 15_000;

export type PoolContext = PoolPodsContext &
  PoolReporterContext & {
    catalog: NetworkCatalog;
    client: KubeClient;
    clock: Clock;
    clusterId: string;
    driver: EniDriver;
    eniConfigs: EniConfigs;
    log: Log;
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
  readonly #survey: PoolSurvey;
  readonly #describer: PoolDescriber;
  readonly #figures = new PoolFigures();
  readonly #memory = new Map<string, PoolMemory>();

  constructor(context: PoolContext) {
    this.#context = context;
    this.#writer = new PoolWriter(context);
    this.#reporter = new PoolReporter(context);
    this.#subjects = new PoolSubjects(context, { writer: this.#writer, reporter: this.#reporter });
    this.#survey = new PoolSurvey(context);
    this.#describer = new PoolDescriber(context, this.#writer);
  }

  /** Nodes that are remembered. */
  get size(): number {
    return this.#memory.size + this.#survey.size + this.#reporter.size + this.#figures.size;
  }

  /** What only the leader knows of a node. */
  stateOf(name: string): SentPool {
    const resting = this.#memory.get(name)?.resting(this.#context.clock.now()) ?? [];
    return { resting, waiting: this.#reporter.waitsOf(name) };
  }

  /** For metrics. */
  figures(): PoolState {
    const { byReason: waiting, oldestMs: oldestWaitMs } = this.#reporter.waits();
    return { addresses: this.#figures.addresses(), wanted: this.#figures.wanted(), waiting, oldestWaitMs };
  }

  /** Pods, Node CRs, what nodes report, and changes of `eni-config`, which concern all nodes. */
  watches(): Watch[] {
    const { pods, nodes, nodeRuntimes, coreNodes, configMaps } = this.#context.informers;
    const nodeOf = ({ spec: { nodeName } }: Pod) => (nodeName === '' ? [] : [nodeName]);
    const itself = ({ metadata: { name } }: HasMetadata) => [name];
    const allNodes = () => nodes.store.keys();
    return [
      watch(pods, { added: nodeOf, changed: (_, pod) => nodeOf(pod), removed: nodeOf }),
      watch(nodes, {
        added: itself,
        // Our own write comes from a reconcile that continues anyway.
        changed: (_, node, origin) => (origin === 'write' ? [] : itself(node)),
        removed: itself,
      }),
      watch(nodeRuntimes, { added: itself, changed: (_, runtime) => itself(runtime), removed: itself }),
      watch(coreNodes, {
        added: itself,
        // Somebody else has changed what we say there.
        changed: (before, core, origin) => (origin === 'write' || saidOn(before) === saidOn(core) ? [] : itself(core)),
      }),
      watch(configMaps, { added: allNodes, changed: allNodes, removed: allNodes }),
    ];
  }

  async reconcile(name: string, signal: AbortSignal): Promise<ReconcileResult> {
    for (let count = 0; count < STEPS_PER_VISIT; count += 1) {
      const outcome = await this.#visit(name, signal);
      if (outcome !== 'again') return outcome;
    }
    return { requeueAfterMs: 1 };
  }

  async #visit(name: string, signal: AbortSignal): Promise<'again' | ReconcileResult> {
    const { informers, clock, capacity, eniConfigs } = this.#context;
    const node = informers.nodes.store.get(name);
    const core = informers.coreNodes.store.get(name);
    if (node?.metadata.deletionTimestamp !== undefined && !isExclusive(node.metadata.labels) && eniConfigs.isCentral) {
      return this.#leave(node, hasLeft(core, node) ? 'release' : 'keep', signal);
    }
    const view = nodeView(core, node);
    if (node === undefined || view === undefined || isExclusive(node.metadata.labels) || !eniConfigs.isCentral) {
      this.#forget(name);
      return { isGone: node === undefined };
    }
    const described = await this.#describer.describe(node, view.trunkEniId !== undefined, signal);
    if (described.isWritten) return 'again';
    const rules = poolRules(node.spec, Object.values(node.status?.networkInterfaces ?? {}));
    const creation = this.#creation(node);
    if ('reason' in rules || 'message' in creation) {
      return this.#withoutPool(node, whyNoPool(node, rules, creation, described), signal);
    }
    const memory = this.#memoryOf(name);
    const { status: known, consumed } = this.#withNews(node, memory);
    if (known.lastSyncOpenAPITime === undefined && !this.#adopt(node, view.instanceId, known)) return {};
    const nowMs = clock.now();
    const runtime = informers.nodeRuntimes.store.get(name);
    const plan = planPool({
      ...rules,
      status: known,
      pods: poolPods(this.#context, name, holdersIn(known)),
      isGone: (uid) => saysDeleted(runtime?.status?.pods?.[uid]),
      mayGrow: (eni) => hasAddresses(capacity)(eni) && !memory.refusals.has(eni.id),
      freedMs: (ip) => memory.freedMs.get(ip),
      surplusSinceMs: memory.surplusSinceMs,
      random: capacity.random,
      nowMs,
    });
    const asked = intentsFor(plan.growth, node, creation, { ...capacity, nowMs }, this.#context.catalog);
    const { refusals } = memory;
    const failures = this.#subjects.failures(node, plan.status.poolIntents ?? []);
    const look = { node, plan, asked, rules, creation, refusals, failures, config: described, nowMs };
    const findings = findingsOf(this.#context, look);
    const verdict = this.#reporter.judge(name, findings);
    this.#reporter.addConditions(node, plan.status, findings, verdict);
    const written = await this.#write(node, plan, asked, signal);
    this.#survey.forget(name);
    memory.remember(plan, nowMs);
    this.#reporter.served(name, plan.handOuts.served, nowMs);
    this.#figures.note(name, Object.values(written.status?.networkInterfaces ?? {}), plan.missing);
    for (const { id, eniId } of consumed) this.#context.driver.forget(id, eniId);
    if (asked.unknown !== undefined) this.#lookUp(name, asked.unknown);
    const outcome = await this.#perform(written, plan, asked, signal);
    if (outcome === 'again') return 'again';
    const toldAgainMs = this.#reporter.waiting(name, poolWaits(plan.handOuts, verdict.shortage));
    await this.#reporter.onNode(core, findings, verdict, signal);
    const dues = [toldAgainMs, verdict.againMs, ...[...refusals.values()].map(({ untilMs }) => untilMs)];
    return sooner(outcome, dues, clock.now());
  }

  /** Says why the node has no pool, also to the pods that wait for it. */
  async #withoutPool(node: TerwayNode, why: Statement, signal: AbortSignal): Promise<ReconcileResult> {
    const { name } = node.metadata;
    const status = structuredClone(node.status ?? {});
    const holders = holdersIn(status);
    this.#reporter.addProblem(node, status, why);
    await this.#writer.status(node, status, signal);
    const unserved = poolPods(this.#context, name, holders).filter(({ uid }) => !holders.has(uid));
    this.#figures.note(name, Object.values(status.networkInterfaces ?? {}), unserved.length);
    const waits = poolWaits({ served: [], unserved, succeeding: [], stale: [] }, why);
    return sooner({}, [this.#reporter.waiting(name, waits)], this.#context.clock.now());
  }

  #forget(name: string): void {
    this.#memory.delete(name);
    this.#survey.forget(name);
    this.#reporter.forget(name);
    this.#figures.forget(name);
  }

  /** The record goes. It stays until what was asked for is recorded or given up, and the ENIs of a node that is gone are released. */
  async #leave(node: TerwayNode, end: PoolEnd, signal: AbortSignal): Promise<'again' | ReconcileResult> {
    const { name } = node.metadata;
    this.#forget(name);
    const { status: known, consumed } = this.#withNews(node, new PoolMemory());
    if (end === 'release') {
      dropMoot(known);
      const draft = { enis: known.networkInterfaces ?? {}, intents: known.poolIntents ?? [] };
      // A node that is gone tells of no sandbox any more.
      release(draft, poolPods(this.#context, name, holdersIn(known)), () => true);
    }
    const written = await this.#writer.status(node, known, signal);
    for (const { id, eniId } of consumed) this.#context.driver.forget(id, eniId);
    if (!holdsRecord(written.status ?? {}, end)) {
      this.#context.wakeNode(name);
      return {};
    }
    const delays: number[] = [];
    for (const subject of this.#subjects.of(written)) {
      if (end === 'keep' && subject.intent === undefined) continue;
      const outcome = await this.#subjects.perform(subject, false, signal);
      if (outcome === 'again') return 'again';
      if (outcome.requeueAfterMs !== undefined) delays.push(outcome.requeueAfterMs);
    }
    return delays.length === 0 ? {} : { requeueAfterMs: Math.min(...delays) };
  }

  /** A record that was never compared with the cloud takes in what its instance has. @returns false while the answer is awaited */
  #adopt(node: TerwayNode, instanceId: string, status: PoolStatus): boolean {
    const { podEnis, networkInterfaces } = this.#context.informers;
    const enis = this.#survey.of(node.metadata.name, instanceId);
    if (enis === undefined) return false;
    const isNamed = (id: string) =>
      podEnis.store.byIndex('eni', id).length > 0 || networkInterfaces.store.get(id) !== undefined;
    const found = adopted(enis, node.spec, isNamed, (id) => this.#subnetsOf(id));
    status.networkInterfaces = { ...found, ...status.networkInterfaces };
    status.lastSyncOpenAPITime = new Date(this.#context.clock.now()).toISOString();
    return true;
  }

  #subnetsOf(vSwitchId: string): Subnets {
    const facts = this.#context.capacity.vSwitches.get(vSwitchId);
    return { ipv4: facts?.cidrBlock ?? '', ipv6: facts?.ipv6CidrBlock ?? '' };
  }

  /** What calls have brought since the record was written. */
  #withNews(node: TerwayNode, memory: PoolMemory): { status: PoolStatus; consumed: { id: string; eniId: string }[] } {
    const status = structuredClone(node.status ?? {});
    const consumed: { id: string; eniId: string }[] = [];
    const nowMs = this.#context.clock.now();
    memory.dropPastRefusals(nowMs);
    for (const subject of this.#subjects.of(node)) {
      this.#subjects.noteOutcome(status, subject);
      const news = this.#subjects.newsOf(subject);
      if (news === undefined) continue;
      recordNews(status, news, (vSwitchId) => this.#subnetsOf(vSwitchId));
      if (news.do === 'attached') this.#reporter.attached(node, news.eni);
      if (news.do === 'refused') {
        memory.refuse(news.eniId, news.failure, nowMs);
        if (news.failure.kind === 'exhausted') {
          this.#context.capacity.vSwitches.block(subject.intent?.vSwitchID ?? '', nowMs);
        }
      }
      consumed.push(subject);
    }
    return { status, consumed };
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

  async #perform(
    node: TerwayNode,
    plan: PoolPlan,
    asked: Intents,
    signal: AbortSignal,
  ): Promise<'again' | ReconcileResult> {
    const isAwaited = plan.handOuts.unserved.length > 0;
    const delays: number[] = [];
    for (const subject of this.#subjects.of(node)) {
      const outcome = await this.#subjects.perform(subject, isAwaited, signal);
      if (outcome === 'again') return 'again';
      if (outcome.requeueAfterMs !== undefined) delays.push(outcome.requeueAfterMs);
    }
    const nowMs = this.#context.clock.now();
    if (plan.againMs !== undefined) delays.push(Math.max(1, plan.againMs - nowMs));
    if (asked.full !== undefined || asked.noneInZone !== undefined) delays.push(RECHECK_MS);
    return delays.length === 0 ? {} : { requeueAfterMs: Math.min(...delays) };
  }

  /** A daemon's or our own choice in the Node CR takes precedence over the node's eni-config. */
  #creation({ metadata: { name }, spec }: TerwayNode): PoolCreation | { message: string } {
    const { eni } = spec;
    const zone = spec.nodeMetadata?.zoneID ?? '';
    const { resourceGroupID: resourceGroupId = '', vSwitchSelectPolicy = 'random' as const } = eni ?? {};
    if (eni !== undefined && eni.vSwitchOptions.length > 0) {
      const { vSwitchOptions: vSwitchIds, securityGroupIDs: securityGroupIds, tag: tags = {} } = eni;
      return { zone, vSwitchIds, securityGroupIds, tags, resourceGroupId, vSwitchSelectPolicy };
    }
    const network = clusterNetwork(this.#context.eniConfigs, { nodeName: name, zone });
    return 'message' in network ? network : { zone, ...network, resourceGroupId, vSwitchSelectPolicy };
  }

  /** Outside the worker: what is idle is handed out meanwhile. */
  #lookUp(name: string, vSwitchIds: string[]): void {
    const { catalog, signal, wakePool } = this.#context;
    void catalog.lookUp({ vSwitchIds, securityGroupIds: [] }, VSWITCHES_MAX_AGE_MS, signal).then(
      () => wakePool(name),
      // The catalog reports why; the pods of the node are looked at again with the next change.
      () => undefined,
    );
  }

  #memoryOf(name: string): PoolMemory {
    const known = this.#memory.get(name) ?? new PoolMemory();
    this.#memory.set(name, known);
    return known;
  }
}

/** What the pool has written on a Kubernetes node. */
function saidOn({ metadata: { annotations }, status: { conditions } }: CoreNode): string {
  const ours = conditions.filter(({ type }) => type === CONDITION_SUFFICIENT_IP);
  return JSON.stringify([annotations?.[ANNOTATION_MAX_AVAILABLE_IP], ours]);
}

/** @param dues epoch milliseconds */
function sooner({ requeueAfterMs }: ReconcileResult, dues: readonly (number | undefined)[], nowMs: number) {
  const delays = dues.flatMap((ms) => (ms === undefined ? [] : [Math.max(1, ms - nowMs)]));
  if (requeueAfterMs !== undefined) delays.push(requeueAfterMs);
  return delays.length === 0 ? {} : { requeueAfterMs: Math.min(...delays) };
}

/** Uids of pods that have an address. */
function holdersIn({ networkInterfaces = {} }: PoolStatus): Set<string> {
  const addresses = Object.values(networkInterfaces).flatMap((eni) => addressesOf(eni));
  return new Set(addresses.flatMap(({ podUID = '' }) => (podUID === '' ? [] : [podUID])));
}
