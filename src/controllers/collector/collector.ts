import { suspicionOf } from '../../allocation/audit.ts';
import { attachedTrunk } from '../../allocation/node-mode.ts';
import { holdOf, isBraked, judgeOrphans, type OrphanHold } from '../../allocation/orphans.ts';
import { isOfNode, isSuspect } from '../../allocation/pool/audit.ts';
import { parseTrunkIntent } from '../../allocation/trunk.ts';
import type { EniObserver } from '../../cloud/observer.ts';
import type { EniConfigs } from '../../cluster/eni-configs.ts';
import type { Informers } from '../../cluster/informers.ts';
import { nodeIdentity } from '../../cluster/node-view.ts';
import { ANNOTATION_TRUNK_INTENT } from '../../crds/names.ts';
import type { TerwayNode } from '../../crds/node.ts';
import type { Eni } from '../../ecs/eni.ts';
import type { Log } from '../../telemetry/log.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { Clock } from '../../util/clock.ts';
import { errorMessage } from '../../util/errors.ts';
import { jitter, type Random } from '../../util/random.ts';
import { nodeOwner, poolOwner } from '../owners.ts';
import { type InventoryContext, takeInventory } from './inventory.ts';
import { type OrphanRelease, OrphanReleaser, type OrphanReleaserContext } from './orphan-releaser.ts';

/** The most ENIs that are being released at a time. */
const RELEASED_AT_ONCE = 50;
/** The most security group repairs that one round starts. */
const DRIFTED_PER_ROUND = 100;
const FIRST_ROUND_MS = 15_000;
const JITTER = 0.1;

/** The result of one round. */
export interface CollectorRound {
  orphans: number;
  /** Those of them that were released since. */
  released: number;
  suspected: number;
  braked: boolean;
  endedAtMs: number;
}

export interface OrphanPlan {
  /** Number of ENIs with our tags. */
  listed: number;
  braked: boolean;
  /** `moving`: its status is neither InUse nor Available. */
  orphans: { eni: Eni; hold: OrphanHold | 'moving' | undefined }[];
}

export type CollectorContext = InventoryContext &
  OrphanReleaserContext & {
    clock: Clock;
    eniConfigs: Pick<EniConfigs, 'isCentral'>;
    /** The record of a node lacks an ENI of its pool. */
    onUnrecorded: (nodeName: string) => void;
    log: Log;
    observer: EniObserver;
    random: Random;
    metrics: Pick<Metrics, 'collected'>;
    /** Ends with the term. */
    signal: AbortSignal;
    informers: Pick<Informers, 'podEnis' | 'nodes' | 'coreNodes'>;
  };

/**
 * Compares the cloud with the cluster in both directions. ENIs that no object names are released once the evidence
 * suffices, and records whose ENI is gone or detached are observed again. Handles changes made by others; our own
 * crashes are covered by persisted intents (docs/design/allocation.md).
 */
export class Collector {
  readonly #context: CollectorContext;
  readonly #releaser: OrphanReleaser;
  readonly #options: { intervalMs: number; minimumAgeMs: number };
  #latest: CollectorRound | undefined;
  #orphansBefore: ReadonlySet<string> = new Set();
  /** Releases that wait for quota or are in progress, by ENI id. */
  readonly #releasing = new Map<string, Promise<OrphanRelease>>();

  constructor(context: CollectorContext, options: { intervalMs: number; minimumAgeMs: number }) {
    this.#context = context;
    this.#releaser = new OrphanReleaser(context);
    this.#options = options;
  }

  /** Orphans of the last round. */
  get size(): number {
    return this.#orphansBefore.size;
  }

  /** Runs rounds until the signal aborts. */
  async run(): Promise<void> {
    const { clock, random, log, signal } = this.#context;
    let waitMs = Math.min(FIRST_ROUND_MS, this.#options.intervalMs);
    while (!signal.aborted) {
      await clock.sleep(jitter(random, waitMs, JITTER), signal).catch(() => {});
      if (signal.aborted) return;
      waitMs = this.#options.intervalMs;
      try {
        await this.round();
      } catch (error) {
        if (!signal.aborted) log.warn({ err: errorMessage(error) }, 'collector round failed');
      }
    }
  }

  /** One comparison. @throws CloudError, KubeApiError */
  async round(): Promise<void> {
    const { clock, log, metrics } = this.#context;
    const { enis, listed, ownerOf } = await takeInventory(this.#context);
    const byId = new Map(enis.map((eni) => [eni.id, eni]));
    const instances = this.#instances();
    const verdict = judgeOrphans(
      enis,
      (eni) => ownerOf(eni.id) !== undefined || this.#isUnrecorded(eni, instances),
      this.#orphansBefore,
      {
        minimumAgeMs: this.#options.minimumAgeMs,
        nowMs: clock.now(),
      },
    );
    this.#orphansBefore = new Set(verdict.orphans);
    if (verdict.braked) {
      log.error(
        { orphans: verdict.orphans.length, enis: enis.length },
        'implausibly many ENIs look orphaned (was etcd restored from a backup?); nothing is released',
      );
    }
    const suspected = this.#suspectRecords(listed);
    const { orphans, braked } = verdict;
    this.#latest = { orphans: orphans.length, released: 0, suspected, braked, endedAtMs: clock.now() };
    metrics.collected.inc({ kind: 'suspect' }, suspected);
    const chosen = verdict.release.flatMap((id) => byId.get(id) ?? []).filter(isSettled);
    const room = Math.max(0, RELEASED_AT_ONCE - this.#releasing.size);
    // The next round does not wait: what others have detached must be seen in time, however long these wait for quota.
    for (const eni of chosen.filter(({ id }) => !this.#releasing.has(id)).slice(0, room)) {
      this.#release(eni).then(
        ({ error }) => {
          if (error === undefined) this.#noteReleased();
        },
        // The term has ended.
        () => {},
      );
    }
  }

  #noteReleased(): void {
    if (this.#latest !== undefined) this.#latest.released += 1;
    this.#context.metrics.collected.inc({ kind: 'orphan' });
  }

  /** An ENI has one release at a time. Rejects only with the signal's reason. */
  #release(eni: Eni): Promise<OrphanRelease> {
    const running = this.#releasing.get(eni.id);
    if (running !== undefined) return running;
    const release = this.#releaser.release(eni).finally(() => this.#releasing.delete(eni.id));
    this.#releasing.set(eni.id, release);
    return release;
  }

  /** The latest round of this term. */
  get latest(): CollectorRound | undefined {
    return this.#latest;
  }

  /** What a round would release now, and why it keeps the rest. Changes nothing. @throws CloudError, KubeApiError */
  async plan(): Promise<OrphanPlan> {
    const { enis, ownerOf } = await takeInventory(this.#context);
    const orphans = enis.filter(({ id }) => ownerOf(id) === undefined);
    const options = { minimumAgeMs: this.#options.minimumAgeMs, nowMs: this.#context.clock.now() };
    return {
      listed: enis.length,
      braked: isBraked(orphans.length, enis.length),
      orphans: orphans.map((eni) => ({
        eni,
        hold: isSettled(eni) ? holdOf(eni, this.#orphansBefore, options) : 'moving',
      })),
    };
  }

  /**
   * Releases every ENI that {@link plan} does not hold. An attached ENI is detached now and deleted by a later round.
   *
   * @param overrideBrake release even if implausibly many ENIs are orphans.
   * @returns the plan and the result of each release. @throws CloudError, KubeApiError
   */
  async release(overrideBrake: boolean): Promise<{ plan: OrphanPlan; released: OrphanRelease[] }> {
    const plan = await this.plan();
    if (plan.braked && !overrideBrake) return { plan, released: [] };
    const chosen = plan.orphans.filter(({ hold }) => hold === undefined);
    return { plan, released: await Promise.all(chosen.map(({ eni }) => this.#release(eni))) };
  }

  /**
   * Triggers an observation of records with which the listing disagrees. Their own controllers decide.
   */
  #suspectRecords(listed: ReadonlyMap<string, Eni>): number {
    const { informers, observer } = this.#context;
    let suspected = 0;
    let drifted = 0;
    for (const podEni of informers.podEnis.store.values()) {
      for (const { eni } of podEni.spec.allocations ?? []) {
        const suspicion = suspicionOf(podEni, eni.id, listed.get(eni.id));
        if (suspicion === undefined || (suspicion === 'securityGroups' && drifted >= DRIFTED_PER_ROUND)) continue;
        if (suspicion === 'securityGroups') drifted += 1;
        observer.expect(eni.id, 'read', `${podEni.metadata.namespace}/${podEni.metadata.name}`, 'audit');
        suspected += 1;
      }
    }
    for (const node of informers.nodes.store.values()) {
      if (node.metadata.deletionTimestamp === undefined) suspected += this.#suspectPool(node, listed);
      const intent = parseTrunkIntent(node.metadata.annotations?.[ANNOTATION_TRUNK_INTENT]);
      // One that Terway made, and that nobody has detached yet, has no intent.
      const trunkId = intent === undefined ? (attachedTrunk(node)?.id ?? '') : intent.eniID;
      if (trunkId === '' || node.metadata.deletionTimestamp !== undefined) continue;
      if (listed.get(trunkId)?.status === 'InUse') continue;
      observer.expect(trunkId, 'read', nodeOwner(node.metadata.name), 'audit');
      suspected += 1;
    }
    return suspected;
  }

  /** Instances of Kubernetes nodes. */
  #instances(): ReadonlySet<string> {
    const identities = this.#context.informers.coreNodes.store.list().map(nodeIdentity);
    return new Set(identities.flatMap((found) => ('identity' in found ? [found.identity.instanceId] : [])));
  }

  /**
   * An ENI of a node's pool that its record lacks, as after a restored backup: pods may use it, so the pool takes it in. So it is while
   * the node has no record, which somebody may have deleted.
   */
  #isUnrecorded({ type, status, tags, instanceId = '' }: Eni, instances: ReadonlySet<string>): boolean {
    const { eniConfigs, informers, onUnrecorded } = this.#context;
    if (!eniConfigs.isCentral || type !== 'Secondary' || status !== 'InUse' || !isOfNode(tags)) return false;
    const [node] = informers.nodes.store.byIndex('instance', instanceId);
    if (node === undefined) return instances.has(instanceId);
    if (node.metadata.deletionTimestamp !== undefined) return false;
    onUnrecorded(node.metadata.name);
    return true;
  }

  /** @returns how many ENIs of the node's pool are looked at */
  #suspectPool({ metadata: { name }, spec, status }: TerwayNode, listed: ReadonlyMap<string, Eni>): number {
    const { eniConfigs, observer, clusterId } = this.#context;
    if (!eniConfigs.isCentral) return 0;
    const suspects = Object.values(status?.networkInterfaces ?? {}).filter((eni) =>
      isSuspect(eni, listed.get(eni.id), { spec, clusterId }),
    );
    for (const { id } of suspects) observer.expect(id, 'read', poolOwner(name), 'audit');
    return suspects.length;
  }
}

function isSettled({ status }: Eni): boolean {
  return status === 'InUse' || status === 'Available';
}
