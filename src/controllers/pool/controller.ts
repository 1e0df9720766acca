import { isExclusive } from '../../allocation/node-mode.ts';
import type { Capacity } from '../../allocation/plan.ts';
import { adopted } from '../../allocation/pool/audit.ts';
import type { PoolNews } from '../../allocation/pool/eni-step.ts';
import { dropMoot, holdsRecord, type PoolEnd } from '../../allocation/pool/leaving.ts';
import { recordNews, type Subnets } from '../../allocation/pool/news.ts';
import { daemonSpec } from '../../allocation/pool/node-spec.ts';
import { type PoolPlan, type PoolStatus, planPool } from '../../allocation/pool/plan-pool.ts';
import { release } from '../../allocation/pool/release.ts';
import { poolRules } from '../../allocation/pool/rules.ts';
import { addressesOf } from '../../allocation/pool/view.ts';
import type { EniObserver } from '../../cloud/observer.ts';
import { clusterNetwork } from '../../cluster/cluster-network.ts';
import type { EniConfigs } from '../../cluster/eni-configs.ts';
import type { Informers } from '../../cluster/informers.ts';
import { hasLeft, isForeign, nodeView } from '../../cluster/node-view.ts';
import type { CoreNode, Pod } from '../../cluster/resources.ts';
import { ANNOTATION_REPORTS_RELEASE } from '../../crds/names.ts';
import type { TerwayNode } from '../../crds/node.ts';
import { saysDeleted, saysPresent } from '../../crds/node-runtime.ts';
import type { KubeClient } from '../../kube/client.ts';
import { findCondition } from '../../kube/conditions.ts';
import type { ReconcileResult } from '../../kube/controller.ts';
import { jsonEqual } from '../../kube/patch.ts';
import type { Log } from '../../telemetry/log.ts';
import type { Clock } from '../../util/clock.ts';
import type { EniDriver } from '../eni/driver.ts';
import type { EniSearch } from '../eni/eni-search.ts';
import type { NetworkCatalog } from '../network-catalog.ts';
import { type Watch, watch } from '../watch.ts';
import { giveBack, type Intents, intentsFor, type PoolCreation } from './intents.ts';
import { type PoolPodsContext, poolPods } from './pods.ts';
import { Refusals } from './refusals.ts';
import { type PoolSubject, PoolSubjects } from './subjects.ts';
import { PoolSurvey } from './survey.ts';
import { PoolWriter } from './writer.ts';

const STEPS_PER_VISIT = 10;
/** vSwitches rarely change; a full one shows when a call is refused. */
const VSWITCHES_MAX_AGE_MS = 5 * 60_000;
/** Others may release addresses, too. */
const RECHECK_MS = 15_000;
/** Kubelets tell the addresses of running pods within seconds; those that have not by then are not waited for. */
const TOLD_WITHIN_MS = 5 * 60_000;
/** An address rests this long before others get it; what was freed before that need not be remembered. */
const REMEMBERED_MS = 60_000;

export type PoolContext = PoolPodsContext & {
  catalog: NetworkCatalog;
  client: KubeClient;
  clock: Clock;
  clusterId: string;
  driver: EniDriver;
  eniConfigs: EniConfigs;
  log: Log;
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

/** What is remembered of a node between two looks; a new leader starts without it. */
interface Memory {
  /** When addresses were freed, epoch milliseconds, by address. */
  freedMs: Map<string, number>;
  refusals: Refusals;
  surplusSinceMs: number | undefined;
}

/** What a call has brought, of which the record was written. */
interface Consumed {
  subject: PoolSubject;
  news: PoolNews;
}

/**
 * Gives the pods of each node addresses of ENIs that they share. One key is the name of a node. Everything that can be decided without
 * the cloud is written first (allocation/pool/plan-pool.ts); calls go on beside it (docs/design/pool.md).
 */
export class PoolController {
  readonly #context: PoolContext;
  readonly #writer: PoolWriter;
  readonly #subjects: PoolSubjects;
  readonly #survey: PoolSurvey;
  readonly #memory = new Map<string, Memory>();
  /** Nodes for which the cloud has an ENI that their record lacks. */
  readonly #toCompare = new Set<string>();

  constructor(context: PoolContext) {
    this.#context = context;
    this.#writer = new PoolWriter(context);
    this.#subjects = new PoolSubjects(context, this.#writer);
    this.#survey = new PoolSurvey(context);
  }

  /** Nodes that are remembered. */
  get size(): number {
    return this.#memory.size + this.#survey.size;
  }

  /** Pods, Node CRs, what nodes report, and what concerns all nodes: `eni-config`, and what decides which pods the pool serves. */
  watches(): Watch[] {
    const { pods, nodes, nodeRuntimes, coreNodes, podNetworkings, namespaces, configMaps } = this.#context.informers;
    const nodeOf = ({ spec: { nodeName } }: Pod) => (nodeName === '' ? [] : [nodeName]);
    const itself = ({ metadata: { name } }: { metadata: { name: string } }) => [name];
    const allNodes = () => nodes.store.keys();
    return [
      watch(pods, { added: nodeOf, changed: (_, pod) => nodeOf(pod), removed: nodeOf }),
      watch(nodes, {
        added: itself,
        // A write of the pool comes from a reconcile that continues anyway; one of the node controller may tell of the trunk.
        changed: (before: TerwayNode, node: TerwayNode, origin) =>
          origin === 'write' && trunkNews(before) === trunkNews(node) ? [] : itself(node),
        removed: itself,
      }),
      watch(nodeRuntimes, { added: itself, changed: (_, runtime) => itself(runtime), removed: itself }),
      watch(coreNodes, {
        added: itself,
        changed: (before: CoreNode, node: CoreNode) =>
          jsonEqual(before.metadata.labels, node.metadata.labels) ? [] : itself(node),
      }),
      // Which pods they pick.
      watch(podNetworkings, {
        added: allNodes,
        changed: (before, { spec }) => (jsonEqual(before.spec, spec) ? [] : allNodes()),
        removed: allNodes,
      }),
      watch(namespaces, {
        added: allNodes,
        changed: (before, { metadata }) => (jsonEqual(before.metadata.labels, metadata.labels) ? [] : allNodes()),
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
    const isServed = core !== undefined && !isForeign(core, this.#context.nodeLabels) && eniConfigs.isCentral;
    if (node === undefined || view === undefined || isExclusive(node.metadata.labels) || !isServed) {
      this.#memory.delete(name);
      this.#survey.forget(name);
      return { isGone: node === undefined };
    }
    if (await this.#describe(node, signal)) return 'again';
    const rules = poolRules(node.spec, Object.values(node.status?.networkInterfaces ?? {}));
    const creation = this.#creation(node);
    if ('reason' in rules || 'message' in creation) return {};
    const memory = this.#memoryOf(name);
    const { status: known, consumed, unknown } = this.#withNews(node);
    if (known.lastSyncOpenAPITime === undefined || this.#toCompare.has(name)) {
      const missing = this.#adopt(node, view.instanceId, known);
      if (known.lastSyncOpenAPITime === undefined) return missing === undefined ? {} : this.#lookUp(name, missing);
    }
    const nowMs = clock.now();
    const runtime = informers.nodeRuntimes.store.get(name);
    const plan = planPool({
      ...rules,
      status: known,
      pods: poolPods(this.#context, name, holdersIn(known)),
      isGone: (uid) => saysDeleted(runtime?.status?.pods?.[uid]),
      // A record that has just been made may lack what pods have, until the kubelet tells it.
      hasSandbox: (uid) =>
        nowMs < Date.parse(known.lastSyncOpenAPITime ?? '') + TOLD_WITHIN_MS &&
        saysPresent(runtime?.status?.pods?.[uid]),
      mayGrow: ({ id, vSwitchID = '' }) =>
        !capacity.vSwitches.isFull(vSwitchID, nowMs) && memory.refusals.mayTry(id, nowMs),
      freedMs: (ip) => memory.freedMs.get(ip),
      surplusSinceMs: memory.surplusSinceMs,
      random: capacity.random,
      nowMs,
    });
    const asked = intentsFor(plan.growth, node, creation, { ...capacity, nowMs }, this.#context.catalog);
    const written = await this.#write(node, plan, asked, signal);
    this.#remember(memory, plan, nowMs);
    for (const news of consumed) this.#account(memory, news, nowMs);
    const outcome = await this.#perform(written, plan, signal);
    if (outcome === 'again') return outcome;
    const { vSwitchIds } = creation;
    const missing = [...unknown, ...(asked.unknown ?? [])];
    if (missing.length > 0) return soonerOf(outcome, this.#lookUp(name, missing));
    // Others may have released addresses, too.
    if (plan.beyond > 0 || asked.full !== undefined || asked.noneInZone !== undefined) {
      return soonerOf(outcome, this.#lookUp(name, vSwitchIds, RECHECK_MS));
    }
    return outcome;
  }

  /** The record holds what the calls have brought. */
  #account(memory: Memory, { subject, news }: Consumed, nowMs: number): void {
    const { driver, capacity } = this.#context;
    const { id, eniId, eni, intent } = subject;
    driver.forget(id, eniId);
    const vSwitchId = eni?.vSwitchID ?? intent?.vSwitchID ?? '';
    if (news.do === 'returned') capacity.vSwitches.released(vSwitchId, news.ips.length);
    if (news.do === 'arrived') memory.refusals.forget(eniId);
    if (news.do !== 'refused') return;
    if (intent !== undefined) giveBack([intent], capacity);
    memory.refusals.note(eniId, nowMs);
    if (news.failure.kind === 'exhausted') capacity.vSwitches.block(vSwitchId, nowMs);
  }

  /** The record goes. It stays until what was asked for is recorded or given up, and the ENIs of a node that is gone are released. */
  async #leave(node: TerwayNode, end: PoolEnd, signal: AbortSignal): Promise<'again' | ReconcileResult> {
    const { name } = node.metadata;
    this.#memory.delete(name);
    this.#survey.forget(name);
    const { status: known, consumed, unknown } = this.#withNews(node);
    if (end === 'release') {
      dropMoot(known);
      const draft = { enis: known.networkInterfaces ?? {}, intents: known.poolIntents ?? [] };
      // A node that is gone tells of no sandbox any more.
      release(draft, poolPods(this.#context, name, holdersIn(known)), () => true);
    }
    const written = await this.#writer.status(node, known, signal);
    for (const { subject } of consumed) this.#context.driver.forget(subject.id, subject.eniId);
    if (!holdsRecord(written.status ?? {}, end)) {
      this.#context.wakeNode(name);
      return {};
    }
    let result: ReconcileResult = unknown.length === 0 ? {} : this.#lookUp(name, unknown);
    for (const subject of this.#subjects.of(written)) {
      if (end === 'keep' && subject.intent === undefined) continue;
      if (this.#lacksSubnet(this.#subjects.newsOf(subject))) continue;
      const outcome = await this.#subjects.perform(subject, false, signal);
      if (outcome === 'again') return 'again';
      result = soonerOf(result, outcome);
    }
    return result;
  }

  /**
   * Writes what the node may have, where our agent runs. Fields that somebody else owns, such as Terway's daemon, stay as they are.
   *
   * @returns whether anything was written
   */
  async #describe(node: TerwayNode, signal: AbortSignal): Promise<boolean> {
    const { informers, eniConfigs } = this.#context;
    const { name } = node.metadata;
    const { nodeCap: cap, nodeMetadata } = node.spec;
    const { parsed } = eniConfigs.ofNode(name);
    const hasOurAgent =
      informers.nodeRuntimes.store.get(name)?.metadata.annotations?.[ANNOTATION_REPORTS_RELEASE] === 'true';
    if (!hasOurAgent || cap === undefined || nodeMetadata === undefined || 'error' in parsed) return false;
    const { pool } = parsed.config;
    const network = clusterNetwork(eniConfigs, { nodeName: name, zone: nodeMetadata.zoneID });
    if ('error' in pool || 'message' in network) return false;
    const trunk = findCondition(node.status?.conditions, 'TrunkReady');
    // Whether it gets one is not decided yet.
    if (trunk === undefined) return false;
    const { instanceType, zoneID: zone } = nodeMetadata;
    const hasTrunk = trunk.reason !== 'TrunkNotSupported';
    const traits = { cap, instanceType, zone, isExclusive: false, hasTrunk };
    const described = daemonSpec({ ...network, ...pool.config }, traits);
    if ('error' in described) return false;
    const written = await this.#writer.spec(node, described.spec, signal);
    return written !== node;
  }

  /**
   * A record that was never compared with the cloud, or that lacks an ENI of its instance, takes in what that has.
   *
   * @returns vSwitches that must be known first; undefined when it is done, or while the cloud is asked
   */
  #adopt(node: TerwayNode, instanceId: string, status: PoolStatus): string[] | undefined {
    const { name } = node.metadata;
    const { informers, capacity, clock } = this.#context;
    const { podEnis, networkInterfaces } = informers;
    const enis = this.#survey.of(name, instanceId);
    if (enis === undefined) return undefined;
    const missing = enis.map(({ vSwitchId }) => vSwitchId).filter((id) => capacity.vSwitches.get(id) === undefined);
    if (missing.length > 0) return [...new Set(missing)];
    const isNamed = (id: string) =>
      podEnis.store.byIndex('eni', id).length > 0 || networkInterfaces.store.get(id) !== undefined;
    const found = adopted(enis, node.spec, isNamed, (id) => this.#subnetsOf(id));
    status.networkInterfaces = { ...found, ...status.networkInterfaces };
    status.lastSyncOpenAPITime = new Date(clock.now()).toISOString();
    this.#survey.forget(name);
    this.#toCompare.delete(name);
    return undefined;
  }

  /** The cloud has an ENI for the node that its record lacks. */
  compare(name: string): void {
    this.#toCompare.add(name);
    this.#context.wakePool(name);
  }

  #subnetsOf(vSwitchId: string): Subnets {
    const facts = this.#context.capacity.vSwitches.get(vSwitchId);
    return { ipv4: facts?.cidrBlock ?? '', ipv6: facts?.ipv6CidrBlock ?? '' };
  }

  /** Pods get nothing of an ENI whose subnet is not known. */
  #lacksSubnet(news: PoolNews | undefined): news is Extract<PoolNews, { do: 'attached' }> {
    return news?.do === 'attached' && this.#context.capacity.vSwitches.get(news.eni.vSwitchId) === undefined;
  }

  /** What calls have brought since the record was written, and vSwitches that must be known before some of it can be recorded. */
  #withNews(node: TerwayNode): { status: PoolStatus; consumed: Consumed[]; unknown: string[] } {
    const status = structuredClone(node.status ?? {});
    const consumed: Consumed[] = [];
    const unknown: string[] = [];
    for (const subject of this.#subjects.of(node)) {
      const news = this.#subjects.newsOf(subject);
      if (news === undefined) continue;
      if (this.#lacksSubnet(news)) {
        unknown.push(news.eni.vSwitchId);
        continue;
      }
      recordNews(status, news, (vSwitchId) => this.#subnetsOf(vSwitchId));
      consumed.push({ subject, news });
    }
    return { status, consumed, unknown };
  }

  async #write(node: TerwayNode, plan: PoolPlan, asked: Intents, signal: AbortSignal): Promise<TerwayNode> {
    const { status } = plan;
    const poolIntents = [...(status.poolIntents ?? []), ...asked.intents];
    try {
      return await this.#writer.status(
        node,
        { ...status, ...(poolIntents.length === 0 ? {} : { poolIntents }) },
        signal,
      );
    } catch (error) {
      giveBack(asked.intents, this.#context.capacity);
      throw error;
    }
  }

  async #perform(node: TerwayNode, plan: PoolPlan, signal: AbortSignal): Promise<'again' | ReconcileResult> {
    const isAwaited = plan.handOuts.unserved.length > 0;
    let result: ReconcileResult = {};
    for (const subject of this.#subjects.of(node)) {
      if (this.#lacksSubnet(this.#subjects.newsOf(subject))) continue;
      const outcome = await this.#subjects.perform(subject, isAwaited, signal);
      if (outcome === 'again') return 'again';
      result = soonerOf(result, outcome);
    }
    if (plan.againMs === undefined) return result;
    return soonerOf(result, { requeueAfterMs: Math.max(1, plan.againMs - this.#context.clock.now()) });
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

  /**
   * Asks the cloud about vSwitches, outside the worker: what is idle is handed out meanwhile. The node is woken when one is known that was
   * not.
   *
   * @returns when to look again in any case
   */
  #lookUp(name: string, vSwitchIds: string[], maxAgeMs = VSWITCHES_MAX_AGE_MS): ReconcileResult {
    const { catalog, capacity, signal, wakePool } = this.#context;
    const unknown = vSwitchIds.filter((id) => capacity.vSwitches.get(id) === undefined);
    void catalog.lookUp({ vSwitchIds, securityGroupIds: [] }, maxAgeMs, signal).then(
      () => {
        if (unknown.some((id) => capacity.vSwitches.get(id) !== undefined)) wakePool(name);
      },
      // The catalog reports why.
      () => undefined,
    );
    return { requeueAfterMs: RECHECK_MS };
  }

  #memoryOf(name: string): Memory {
    const known = this.#memory.get(name) ?? {
      freedMs: new Map<string, number>(),
      refusals: new Refusals(),
      surplusSinceMs: undefined,
    };
    this.#memory.set(name, known);
    return known;
  }

  #remember(memory: Memory, plan: PoolPlan, nowMs: number): void {
    memory.surplusSinceMs = plan.surplusSinceMs;
    for (const { ip } of plan.releases.freed) memory.freedMs.set(ip, nowMs);
    for (const [ip, ms] of memory.freedMs) if (ms < nowMs - REMEMBERED_MS) memory.freedMs.delete(ip);
  }
}

/** Uids of pods that have an address. */
function holdersIn({ networkInterfaces = {} }: PoolStatus): Set<string> {
  const addresses = Object.values(networkInterfaces).flatMap((eni) => addressesOf(eni));
  return new Set(addresses.flatMap(({ podUID = '' }) => (podUID === '' ? [] : [podUID])));
}

function soonerOf(one: ReconcileResult, other: ReconcileResult): ReconcileResult {
  const due = [one.requeueAfterMs, other.requeueAfterMs].filter((ms) => ms !== undefined);
  return due.length === 0 ? one : { ...one, requeueAfterMs: Math.min(...due) };
}

/** What the node controller has decided about the trunk. */
function trunkNews({ status }: TerwayNode): string {
  const trunk = Object.values(status?.networkInterfaces ?? {}).find((eni) => eni.networkInterfaceType === 'Trunk');
  return JSON.stringify([findCondition(status?.conditions, 'TrunkReady')?.reason, trunk?.id, trunk?.status]);
}
