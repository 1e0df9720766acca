import { ownershipTags } from '../../allocation/identity.ts';
import type { OperationFailure } from '../../allocation/operation.ts';
import type { Capacity } from '../../allocation/plan.ts';
import { withOutcome } from '../../allocation/pool/eni-conditions.ts';
import { nextPoolEniStep, type PoolEniStep } from '../../allocation/pool/eni-step.ts';
import { dropIntent, type PoolNews } from '../../allocation/pool/news.ts';
import type { PoolStatus } from '../../allocation/pool/pool-view.ts';
import { addressesOf, isBound, isReleasable } from '../../allocation/pool/view.ts';
import type { EniObserver } from '../../cloud/observer.ts';
import type { Informers } from '../../cluster/informers.ts';
import { hasLeft } from '../../cluster/node-view.ts';
import { TAG_SHARED } from '../../crds/names.ts';
import type { NodeEni, PoolIntent, TerwayNode } from '../../crds/node.ts';
import type { Log } from '../../telemetry/log.ts';
import { type Clock, latestMs } from '../../util/clock.ts';
import type { EniDecision, EniDriver, EniSubject, Outcome } from '../eni/driver.ts';
import { poolOwner } from '../owners.ts';
import { CallTimes } from './call-times.ts';
import { giveBack } from './intents.ts';
import type { PoolReporter } from './reporter.ts';
import type { PoolWriter } from './writer.ts';

/** While something stands in the way that only a person can change. */
const BLOCKED_RECHECK_MS = 15_000;

export interface PoolSubjectsContext {
  clock: Clock;
  clusterId: string;
  driver: EniDriver;
  log: Log;
  observer: EniObserver;
  capacity: Omit<Capacity, 'nowMs'>;
  informers: Pick<Informers, 'nodes' | 'coreNodes'>;
}

/** One ENI of a node's pool, or one that is to be made. */
export interface PoolSubject {
  /** Of the driver. */
  id: string;
  nodeName: string;
  eniId: string;
  eni: NodeEni | undefined;
  intent: PoolIntent | undefined;
  /** Since when it is to be released because its node is gone, epoch milliseconds. */
  leavingSinceMs: number | undefined;
}

/** Carries out what the record of a node says about each ENI of its pool. The driver makes the calls (eni/driver.ts). */
export class PoolSubjects {
  readonly #context: PoolSubjectsContext;
  readonly #writer: PoolWriter;
  readonly #reporter: PoolReporter;
  readonly #calls: CallTimes;
  /** Those that calls were wanted for, by node: by id of the driver, the ENI whose observation goes with them. */
  readonly #driven = new Map<string, Map<string, string>>();

  constructor(context: PoolSubjectsContext, { writer, reporter }: { writer: PoolWriter; reporter: PoolReporter }) {
    this.#context = context;
    this.#writer = writer;
    this.#reporter = reporter;
    this.#calls = new CallTimes(context);
  }

  /** ENIs that are remembered, and nodes for whose ENIs calls were wanted. */
  get size(): number {
    return this.#calls.size + this.#driven.size;
  }

  /**
   * ENIs of the pool, and those that are to be made. The trunk is the node controller's until it is attached, and while the node leaves.
   */
  of(node: TerwayNode): PoolSubject[] {
    const { networkInterfaces = {}, poolIntents = [] } = node.status ?? {};
    const leavingSinceMs = this.#leavingSinceMs(node);
    // No ENI is made for a record that goes, whatever becomes of those that it has.
    const unwantedSinceMs = leavingSinceMs ?? deletedMs(node);
    const subject = (eni: NodeEni | undefined, intent: PoolIntent | undefined): PoolSubject => {
      const eniId = eni?.id ?? '';
      const id = `pool/${eniId === '' ? intent?.clientToken : eniId}`;
      const sinceMs = eniId === '' ? unwantedSinceMs : leavingSinceMs;
      return { id, nodeName: node.metadata.name, eniId, eni, intent, leavingSinceMs: sinceMs };
    };
    const known = Object.values(networkInterfaces)
      .filter((eni) =>
        leavingSinceMs === undefined
          ? eni.networkInterfaceType !== 'Trunk' || eni.status === 'InUse'
          : isReleasable(eni),
      )
      .map((eni) =>
        subject(
          eni,
          poolIntents.find(({ eniID }) => eniID === eni.id),
        ),
      );
    const unborn = poolIntents.filter(({ eniID }) => eniID === '').map((intent) => subject(undefined, intent));
    return [...known, ...unborn];
  }

  #leavingSinceMs(node: TerwayNode): number | undefined {
    return hasLeft(this.#context.informers.coreNodes.store.get(node.metadata.name), node) ? deletedMs(node) : undefined;
  }

  /** Until when addresses of an ENI that no record names may be taken away by a call that got no answer, epoch milliseconds. */
  heldUntilMs(eniId: string): number | undefined {
    return this.#calls.knownUntilMs(eniId);
  }

  /**
   * Ends intents where nothing is to be asked for, as far as the last call for them was refused. Changes the status in place.
   *
   * @returns those that were ended
   */
  dropRefused(node: TerwayNode, status: PoolStatus): PoolIntent[] {
    return this.of(node).flatMap(({ id, eniId, intent }) => {
      const operation = this.#context.driver.operation(id);
      if (intent === undefined || operation?.state !== 'failed' || operation.failure.kind === 'unavailable') return [];
      // An earlier request without an answer may have made the ENI.
      if (eniId === '' && (operation.kind !== 'create' || operation.unansweredMs !== undefined)) return [];
      // News of it may have ended it in this look.
      if (!status.poolIntents?.some(({ clientToken }) => clientToken === intent.clientToken)) return [];
      dropIntent(status, intent.clientToken);
      return [intent];
    });
  }

  /** Its intent has ended, although the write that said so seemed to fail: the result is not that of the next intent. */
  dropRecorded({ id, eni, intent }: PoolSubject): void {
    const { driver } = this.#context;
    const operation = driver.operation(id);
    const isAssignment = operation?.kind === 'assignIpv4' || operation?.kind === 'assignIpv6';
    if (eni !== undefined && intent === undefined && isAssignment && operation.state !== 'running') driver.forget(id);
  }

  /** The ENI may be gone. */
  look({ eniId, nodeName }: PoolSubject): void {
    this.#context.observer.expect(eniId, 'read', poolOwner(nodeName), 'repair');
  }

  /** Drops the calls for ENIs of the node that are not among these any more, whoever has removed them from its record. */
  keep(nodeName: string, subjects: readonly PoolSubject[]): void {
    const driven = this.#driven.get(nodeName);
    if (driven === undefined) return;
    const kept = new Set(subjects.map(({ id }) => id));
    for (const [id, eniId] of driven) {
      if (kept.has(id)) continue;
      this.#calls.noteDropped(eniId, this.#context.driver.operation(id));
      this.#context.driver.forget(id, { id: eniId, owner: poolOwner(nodeName) });
      driven.delete(id);
    }
    if (driven.size === 0) this.#driven.delete(nodeName);
  }

  /**
   * All but those whose attachment has to wait, as the cloud makes only so many of an instance at a time. What failed comes last, and of that
   * what was tried last.
   */
  inTurn(subjects: readonly PoolSubject[], attachments: number): readonly PoolSubject[] {
    const attaching = subjects.filter(({ eni }) => eni?.status === 'Attaching');
    const failedMs = ({ id }: PoolSubject) => {
      const operation = this.#context.driver.operation(id);
      return operation?.state === 'failed' ? operation.atMs : 0;
    };
    const inOrder = attaching.sort((one, other) => failedMs(one) - failedMs(other));
    const late = new Set(inOrder.slice(attachments));
    return subjects.filter((subject) => !late.has(subject));
  }

  /** What the record of the ENI does not show yet. */
  newsOf(subject: PoolSubject): PoolNews | undefined {
    const step = this.#stepOf(subject);
    return step !== undefined && isNews(step) ? step : undefined;
  }

  /** Of each of these intents, why its last call failed; undefined while none has. */
  failures(node: TerwayNode, intents: readonly PoolIntent[]): (OperationFailure | undefined)[] {
    const tokens = new Set(intents.map(({ clientToken }) => clientToken));
    return this.of(node)
      .filter(({ intent }) => intent !== undefined && tokens.has(intent.clientToken))
      .map(({ id }) => {
        const operation = this.#context.driver.operation(id);
        return operation?.state === 'failed' ? operation.failure : undefined;
      });
  }

  /** Records how the last call for the ENI has ended. Changes the status in place. */
  noteOutcome(status: PoolStatus, { id, eniId }: PoolSubject): void {
    const eni = status.networkInterfaces?.[eniId];
    if (eni === undefined) return;
    status.networkInterfaces = {
      ...status.networkInterfaces,
      [eniId]: withOutcome(eni, this.#context.driver.operation(id)),
    };
  }

  /** One step. @param isAwaited pods wait for addresses. @throws KubeApiError, TransportError */
  async perform(subject: PoolSubject, isAwaited: boolean, signal: AbortSignal): Promise<Outcome> {
    const { driver, clock } = this.#context;
    const isReleased = subject.eni?.status === 'Deleting' || subject.leavingSinceMs !== undefined;
    // The last of its pods to go wakes the node.
    if (isReleased && subject.eni !== undefined && addressesOf(subject.eni).some(isBound)) return {};
    const step = this.#stepOf(subject);
    if (step?.do === 'held') return { requeueAfterMs: Math.max(1, step.untilMs - clock.now()) };
    const decision = this.#decide(subject, isAwaited);
    // News is recorded by the next look, together with what follows from it.
    if (decision === undefined) return 'again';
    const owner = poolOwner(subject.nodeName);
    const { id, eniId } = subject;
    const known = this.#driven.get(subject.nodeName) ?? new Map<string, string>();
    this.#driven.set(subject.nodeName, known.set(id, observedBy(subject)));
    const driven: EniSubject = {
      ...{ id, owner, eniId },
      decide: () => this.#decideAgain(subject, isAwaited),
      ended: (call) => {
        // Its result is forgotten as soon as it is recorded.
        this.#calls.note(call);
        if (call.isForgotten !== true)
          this.#reporter.ended(this.#context.informers.nodes.store.get(subject.nodeName), call);
      },
    };
    return driver.perform(driven, decision, {
      record: ({ eni }) =>
        this.#change(subject, signal, (status) => {
          const intent = status.poolIntents?.find(({ clientToken }) => clientToken === subject.intent?.clientToken);
          if (intent !== undefined) intent.eniID = eni.id;
          const { id: newId, vSwitchId: vSwitchID, type: networkInterfaceType } = eni;
          const made: NodeEni = { id: newId, status: 'Attaching', vSwitchID, networkInterfaceType };
          status.networkInterfaces = { ...status.networkInterfaces, [newId]: made };
        }),
      newAttempt: async ({ avoidVSwitch }) => {
        const { intent } = subject;
        const outcome = await this.#change(subject, signal, (status) => {
          dropIntent(status, intent?.clientToken);
          if (eniId !== '') delete status.networkInterfaces?.[eniId];
        });
        driver.forget(id, { id: eniId, owner });
        if (intent === undefined) return outcome;
        const { capacity } = this.#context;
        giveBack([intent], capacity);
        if (avoidVSwitch) capacity.vSwitches.block(intent.vSwitchID, clock.now());
        return outcome;
      },
      inProgress: () => ({}),
      pause: ({ untilMs }) => Promise.resolve({ requeueAfterMs: Math.max(1, untilMs - clock.now()) }),
      blocked: ({ message }) => {
        this.#context.log.warn({ node: subject.nodeName, eni: eniId }, message);
        return Promise.resolve({ requeueAfterMs: BLOCKED_RECHECK_MS });
      },
      done: async () => {
        const { eni, intent, leavingSinceMs } = subject;
        if (eni?.status !== 'Deleting' && leavingSinceMs === undefined) return {};
        const outcome = await this.#change(subject, signal, (status) => {
          delete status.networkInterfaces?.[eniId];
          dropIntent(status, intent?.clientToken);
        });
        driver.forget(id, { id: eniId, owner });
        const had = Object.keys(eni?.ipv4 ?? {}).length || (intent?.ipv4 ?? 1);
        this.#context.capacity.vSwitches.released(eni?.vSwitchID ?? intent?.vSwitchID ?? '', had);
        return outcome;
      },
    });
  }

  /** Changes the record as it is now. */
  async #change(
    { nodeName }: PoolSubject,
    signal: AbortSignal,
    mutate: (status: NonNullable<TerwayNode['status']>) => void,
  ): Promise<Outcome> {
    const node = this.#context.informers.nodes.store.get(nodeName);
    if (node === undefined) return {};
    const status = structuredClone(node.status ?? {});
    mutate(status);
    await this.#writer.status(node, status, signal);
    return 'again';
  }

  #stepOf({ eni, intent, nodeName, eniId, id, leavingSinceMs }: PoolSubject): PoolEniStep | undefined {
    const { informers, observer, driver, clusterId, clock } = this.#context;
    const spec = informers.nodes.store.get(nodeName)?.spec;
    const instanceId = spec?.nodeMetadata?.instanceID;
    if (spec === undefined || instanceId === undefined) return undefined;
    const operation = driver.operation(id);
    return nextPoolEniStep(
      {
        ...{ eni, intent, nodeName, instanceId, leavingSinceMs, spec },
        observation: observer.latest(eniId),
        operation,
        quietSinceMs: Math.max(
          this.#calls.quietSinceMs(eniId),
          operation === undefined || operation.state === 'running' ? 0 : operation.atMs,
        ),
        heldUntilMs: this.#calls.heldUntilMs(eniId),
      },
      clusterId,
      clock.now(),
    );
  }

  /** Undefined when there is news to be recorded first. */
  #decide(subject: PoolSubject, isAwaited: boolean): EniDecision | undefined {
    const { clusterId, informers } = this.#context;
    const step = this.#stepOf(subject);
    if (step === undefined || step.do === 'held' || isNews(step)) return undefined;
    const { intent, nodeName, eni } = subject;
    const node = informers.nodes.store.get(nodeName);
    const isRelease = subject.leavingSinceMs !== undefined || eni?.status === 'Deleting' || step.do === 'unassign';
    return {
      step,
      callClass: isRelease ? 'release' : isAwaited ? 'pod' : 'repair',
      target: { instanceID: node?.spec.nodeMetadata?.instanceID ?? '' },
      ...(intent === undefined
        ? {}
        : { creation: creationOf(intent, node, clusterId), plannedMs: Date.parse(intent.createdAt) }),
      securityGroupIds: intent?.securityGroupIDs ?? node?.spec.eni?.securityGroupIDs ?? [],
    };
  }

  /** Decides again from the current store; undefined when the subject is gone. */
  #decideAgain({ id, nodeName }: PoolSubject, isAwaited: boolean): EniDecision | undefined {
    const node = this.#context.informers.nodes.store.get(nodeName);
    const current = node === undefined ? undefined : this.of(node).find((subject) => subject.id === id);
    return current === undefined ? undefined : this.#decide(current, isAwaited);
  }
}

/** The ENI whose observation the pool may drop; that of the trunk is the node controller's, too, which may wait for it. */
export function observedBy({ eni, eniId }: Pick<PoolSubject, 'eni' | 'eniId'>): string {
  return eni?.networkInterfaceType === 'Trunk' ? '' : eniId;
}

function deletedMs({ metadata: { deletionTimestamp } }: TerwayNode): number | undefined {
  return deletionTimestamp === undefined ? undefined : latestMs(deletionTimestamp);
}

const NEWS: ReadonlySet<string> = new Set<PoolNews['do']>([
  'attached',
  'arrived',
  'returned',
  'shown',
  'foreign',
  'regrouped',
  'refused',
]);

function isNews(step: PoolEniStep): step is PoolNews {
  return NEWS.has(step.do);
}

function creationOf(intent: PoolIntent, node: TerwayNode | undefined, clusterId: string) {
  const { ipv4, ipv6, resourceGroupID = '' } = intent;
  return {
    kind: 'Secondary' as const,
    vSwitchId: intent.vSwitchID,
    securityGroupIds: intent.securityGroupIDs,
    // It is deleted with its instance.
    deleteOnRelease: true,
    description: 'interface create by terway',
    clientToken: intent.clientToken,
    ...(ipv4 > 1 ? { secondaryIpv4Count: ipv4 - 1 } : {}),
    ...(ipv6 > 0 ? { ipv6Count: ipv6 } : {}),
    ...(resourceGroupID === '' ? {} : { resourceGroupId: resourceGroupID }),
    tags: {
      ...intent.tags,
      [TAG_SHARED]: 'true',
      // Our tags come last, so that they win: they identify the owner of the ENI.
      ...ownershipTags({
        clusterId,
        owner: `node/${node?.metadata.name ?? ''}`,
        ownerUid: node?.metadata.uid ?? '',
        clientToken: intent.clientToken,
      }),
    },
  };
}
