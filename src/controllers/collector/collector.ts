import { judgeOrphans } from '../../allocation/orphans.ts';
import { sameSecurityGroups } from '../../allocation/security-groups.ts';
import { parseTrunkIntent } from '../../allocation/trunk.ts';
import type { Eni } from '../../cloud/port.ts';
import { ANNOTATION_TRUNK_INTENT, TAG_ATTEMPT, TAG_CLUSTER, TAG_CREATOR, TAG_CREATOR_VALUE } from '../../crds/names.ts';
import type { TerwayNode } from '../../crds/node.ts';
import type { PodEni } from '../../crds/pod-eni.ts';
import { errorMessage } from '../../util/errors.ts';
import { jitter } from '../../util/random.ts';
import type { ControllerContext } from '../context.ts';
import { nodeOwner } from '../owners.ts';
import { podEniResource, terwayNodeResource } from '../resources.ts';

const PAGE = 500;
/** What one round releases at most. */
const RELEASED_PER_ROUND = 50;
/** Repairs of security groups that one round starts at most. */
const DRIFTED_PER_ROUND = 100;
const FIRST_ROUND_MS = 15_000;
const JITTER = 0.1;

/**
 * Compares the cloud with the cluster in both directions: ENIs that nothing names are released with evidence, and records
 * whose ENI is gone or detached are looked at again. Needed for what other hands do; our own crashes are made good by
 * replays (docs/design/allocation.md).
 */
export class Collector {
  readonly #context: ControllerContext;
  readonly #options: { intervalMs: number; minimumAgeMs: number };
  readonly #report: (report: { orphans: number; released: number; suspected: number; braked: boolean }) => void;
  #orphansBefore: ReadonlySet<string> = new Set();

  constructor(
    context: ControllerContext,
    options: {
      intervalMs: number;
      minimumAgeMs: number;
      /** Told of every round; for metrics. */
      report: (report: { orphans: number; released: number; suspected: number; braked: boolean }) => void;
    },
  ) {
    this.#context = context;
    this.#options = options;
    this.#report = options.report;
  }

  /** Rounds until the signal aborts. */
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
    const { cloud, clusterId, clock, log, signal } = this.#context;
    const tags = { [TAG_CLUSTER]: clusterId, [TAG_CREATOR]: TAG_CREATOR_VALUE };
    const { enis } = await cloud.describeEnis({ tags }, signal);
    const byId = new Map(enis.map((eni) => [eni.id, eni]));
    // Read after the ENIs were listed: an ENI of that list has had its intent before (I2), so its owner is in this read.
    const owners = await this.#ownersNow();
    const verdict = judgeOrphans(
      enis,
      (eni) => owners.ids.has(eni.id) || owners.tokens.has(byId.get(eni.id)?.tags[TAG_ATTEMPT] ?? ''),
      this.#orphansBefore,
      { minimumAgeMs: this.#options.minimumAgeMs, nowMs: clock.now() },
    );
    this.#orphansBefore = new Set(verdict.orphans);
    if (verdict.braked) {
      log.error(
        { orphans: verdict.orphans.length, enis: enis.length },
        'so many ENIs look orphaned that the cluster may have lost its memory (etcd restored?); nothing is released',
      );
    }
    let released = 0;
    for (const id of verdict.release.slice(0, RELEASED_PER_ROUND)) {
      const eni = byId.get(id);
      if (eni !== undefined && (await this.#releaseOrphan(eni))) released += 1;
    }
    const suspected = this.#suspectRecords(byId);
    this.#report({ orphans: verdict.orphans.length, released, suspected, braked: verdict.braked });
  }

  /** Every ENI id and ClientToken that anything in the cluster names, read from the API server, not from the stores. */
  async #ownersNow(): Promise<{ ids: Set<string>; tokens: Set<string> }> {
    const ids = new Set<string>();
    const tokens = new Set<string>();
    for (const podEni of await this.#listAll<PodEni>(podEniResource)) {
      for (const { eni, intent } of podEni.spec.allocations ?? []) {
        if (eni.id !== '') ids.add(eni.id);
        if (intent !== undefined) tokens.add(intent.clientToken);
      }
    }
    for (const node of await this.#listAll<TerwayNode>(terwayNodeResource)) {
      for (const id of Object.keys(node.status?.networkInterfaces ?? {})) ids.add(id);
      const intent = parseTrunkIntent(node.metadata.annotations?.[ANNOTATION_TRUNK_INTENT]);
      if (intent === undefined) continue;
      tokens.add(intent.clientToken);
      if (intent.eniID !== '') ids.add(intent.eniID);
    }
    // A mirror without a PodENI releases its ENI itself.
    const mirrors = this.#context.informers.networkInterfaces.store;
    for (const name of [...mirrors.keys(), ...mirrors.unreadableKeys]) ids.add(name);
    return { ids, tokens };
  }

  async #listAll<T extends PodEni | TerwayNode>(
    resource: Parameters<ControllerContext['client']['list']>[0] & { parse?: (raw: unknown) => T },
  ) {
    const { client, signal } = this.#context;
    const all: T[] = [];
    let continueToken: string | undefined;
    do {
      const page = await client.list<T>(resource, { limit: PAGE, continueToken, signal, priority: 'background' });
      all.push(...page.items);
      continueToken = page.continueToken;
    } while (continueToken !== undefined);
    return all;
  }

  /** The ENI was listed a moment ago with our tags; the next round goes on from the state that this call leads to. */
  async #releaseOrphan(eni: Eni): Promise<boolean> {
    const { cloud, log, signal } = this.#context;
    try {
      if (eni.status === 'InUse') {
        const trunk = eni.trunkEniId === undefined ? {} : { trunkEniId: eni.trunkEniId };
        await cloud.detachEni({ eniId: eni.id, instanceId: eni.instanceId ?? '', ...trunk }, signal);
      } else if (eni.status === 'Available') {
        await cloud.deleteEni(eni.id, signal);
      } else {
        return false;
      }
      log.warn({ eni: eni.id, status: eni.status, tags: eni.tags }, 'orphan released');
      return true;
    } catch (error) {
      if (signal.aborted) throw error;
      log.warn({ eni: eni.id, err: errorMessage(error) }, 'orphan could not be released');
      return false;
    }
  }

  /**
   * Bound records whose ENI the listing does not show attached, or with other security groups than theirs, are asked about;
   * their own controllers decide.
   */
  #suspectRecords(listed: Map<string, Eni>): number {
    const { informers, observer } = this.#context;
    let suspected = 0;
    let drifted = 0;
    for (const podEni of informers.podEnis.store.values()) {
      if (podEni.status?.phase !== 'Bind' || podEni.metadata.deletionTimestamp !== undefined) continue;
      for (const { eni } of podEni.spec.allocations ?? []) {
        if (eni.id === '') continue;
        const shown = listed.get(eni.id);
        if (shown?.status === 'InUse') {
          if (!hasDrifted(eni.securityGroupIDs, shown) || drifted >= DRIFTED_PER_ROUND) continue;
          drifted += 1;
        }
        observer.expect(eni.id, 'read', `${podEni.metadata.namespace}/${podEni.metadata.name}`);
        suspected += 1;
      }
    }
    for (const node of informers.nodes.store.values()) {
      const intent = parseTrunkIntent(node.metadata.annotations?.[ANNOTATION_TRUNK_INTENT]);
      if (intent === undefined || intent.eniID === '' || node.metadata.deletionTimestamp !== undefined) continue;
      if (listed.get(intent.eniID)?.status === 'InUse') continue;
      observer.expect(intent.eniID, 'read', nodeOwner(node.metadata.name));
      suspected += 1;
    }
    return suspected;
  }
}

/** Records of upstream may name no groups: then any will do. */
function hasDrifted(recorded: string[] | undefined, shown: Eni): boolean {
  return recorded !== undefined && recorded.length > 0 && !sameSecurityGroups(recorded, shown.securityGroupIds);
}
