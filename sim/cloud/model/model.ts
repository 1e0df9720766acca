import { Account, type Completion, type Latencies, type LatencyChanges, withLatencies } from './account.ts';
import { type Action, type ParamTree, type ParamValue, PRODUCT_VERSIONS } from './action.ts';
import { findAction } from './actions/registry.ts';
import * as admin from './admin.ts';
import type { Behaviour, BehaviourChanges } from './behaviour.ts';
import { ClientTokens } from './client-tokens.ts';
import { complete } from './eni-lifecycle.ts';
import type { InstanceStatus } from './entities.ts';
import { ApiError } from './errors.ts';
import { type InstanceType, type InstanceTypeOverride, instanceTypeTable } from './instance-types.ts';
import type { Counters, JournalEntry } from './journal.ts';
import { type EniSnapshot, eniSnapshot, type Snapshot, snapshot } from './snapshot.ts';

export interface CloudModelOptions {
  regionId?: string | undefined;
  zoneIds?: string[] | undefined;
  ownerId?: string | undefined;
  resourceGroupId?: string | undefined;
  latencies?: LatencyChanges | undefined;
  /** Default: all off. */
  behaviour?: BehaviourChanges | undefined;
  /** Replace types of the built-in table, or add to it, by id. */
  instanceTypes?: InstanceTypeOverride[] | undefined;
  seed?: number | undefined;
  /** How long a ClientToken is remembered. Default: 24 h (assumed). */
  clientTokenTtlMs?: number | undefined;
  journalCapacity?: number | undefined;
}

/** One call of the API, already authenticated. */
export interface Command {
  action: string;
  /** API version. Default: that of the product with this action, ECS first. */
  version?: string | undefined;
  params: ParamTree;
  accessKeyId?: string | undefined;
}

/** `delayMs`: how long the response is delayed. The state has already changed. */
export type Outcome =
  | { ok: true; body: { RequestId: string }; delayMs: number }
  | { ok: false; error: ApiError; requestId: string; delayMs: number };

const DEFAULT_LATENCIES: Latencies = {
  createMs: 300,
  attachMs: 1500,
  detachMs: 1500,
  deleteMs: 1500,
  answerMs: 0,
};

const LONGEST_JOURNAL_VALUE = 200;

/**
 * One Alibaba Cloud account in one region, as a state machine. Time is a parameter of every call, and only calls advance it. A
 * time in the past counts as the latest known time.
 */
export class CloudModel {
  readonly #account: Account;
  readonly #tokens: ClientTokens;
  #nowMs = 0;

  constructor(options: CloudModelOptions = {}) {
    const regionId = options.regionId ?? 'cn-hangzhou';
    this.#account = new Account({
      regionId,
      zoneIds: options.zoneIds ?? ['i', 'j', 'k'].map((letter) => `${regionId}-${letter}`),
      ownerId: options.ownerId ?? '1234567890123456',
      resourceGroupId: options.resourceGroupId ?? 'rg-acfmdefault0000',
      latencies: withLatencies(DEFAULT_LATENCIES, options.latencies ?? {}),
      behaviour: options.behaviour ?? {},
      instanceTypes: instanceTypeTable(options.instanceTypes ?? []),
      seed: options.seed ?? 1,
      journalCapacity: options.journalCapacity ?? 20_000,
    });
    this.#tokens = new ClientTokens(options.clientTokenTtlMs ?? 24 * 3600 * 1000);
  }

  /** The latest time that the model has seen. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** Time at which the next asynchronous change completes; undefined when none is pending. */
  nextDueMs(): number | undefined {
    return this.#account.completions.nextDueMs();
  }

  /** Generation of the snapshot. Grows with every change of an object. */
  get generation(): number {
    return this.#account.journal.lastChange;
  }

  /** Applies every change that is due by `nowMs`, each at its own time. */
  advance(nowMs: number): void {
    const account = this.#account;
    for (let event = account.completions.takeDue(nowMs); event !== undefined; ) {
      this.#moveTo(event.dueMs);
      if (complete(account, event.payload)) this.#recordCompletion(event.payload.kind, event.payload.eniId);
      event = account.completions.takeDue(nowMs);
    }
    this.#moveTo(nowMs);
  }

  #moveTo(nowMs: number): void {
    this.#nowMs = Math.max(this.#nowMs, nowMs);
    this.#account.nowMs = this.#nowMs;
  }

  /** Makes one call. Does not throw for a refusal, which is in the outcome. */
  apply(command: Command, nowMs: number): Outcome {
    this.advance(nowMs);
    const requestId = this.nextRequestId();
    const action = this.#find(command);
    const touched: string[] = [];
    let clientToken = '';
    let replayed = false;
    try {
      if (action === undefined) throw unknownAction(command.action);
      this.#account.callMeter.take(action.name, this.#account.behaviour.rateWindows, this.#nowMs);
      const prepared = action.prepare(command.params);
      clientToken = prepared.clientToken;
      const execute = (): object => prepared.execute({ account: this.#account, nowMs: this.#nowMs, touched });
      let body: object;
      if (clientToken === '') {
        body = execute();
      } else {
        ClientTokens.check(clientToken);
        const fingerprint = prepared.fingerprint();
        const earlier = this.#tokens.recall(action.name, clientToken, fingerprint, this.#nowMs);
        replayed = earlier !== undefined;
        body = earlier ?? execute();
        if (!replayed) this.#tokens.remember(action.name, clientToken, fingerprint, body, this.#nowMs);
      }
      this.#recordCall(command, action, requestId, 'OK', touched, clientToken, replayed);
      return { ok: true, body: { ...body, RequestId: requestId }, delayMs: this.#delayOf(command.action) };
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#recordCall(command, action, requestId, error.code, touched, clientToken, replayed);
      return { ok: false, error, requestId, delayMs: this.#account.latencies.answerMs };
    }
  }

  /** Records a request that the gateway refused (signature, unknown key …) in the journal. */
  recordRefusal(action: string, code: string, requestId: string, accessKeyId: string, nowMs: number): void {
    this.advance(nowMs);
    const known = findAction(PRODUCT_VERSIONS.Ecs, action) ?? findAction(PRODUCT_VERSIONS.Vpc, action);
    this.#recordCall({ action, params: {}, accessKeyId }, known, requestId, code, [], '', false);
  }

  nextRequestId(): string {
    return this.#account.ids.nextRequestId();
  }

  snapshot(nowMs = this.#nowMs): Snapshot {
    this.advance(nowMs);
    return snapshot(this.#account, this.#nowMs);
  }

  /** Current state of one ENI; undefined when it does not exist. */
  eni(eniId: string): EniSnapshot | undefined {
    const eni = this.#account.enis.get(eniId);
    return eni === undefined ? undefined : eniSnapshot(eni);
  }

  /** Current state of every ENI, in order of creation. */
  enis(): EniSnapshot[] {
    return [...this.#account.enis.values()].map(eniSnapshot);
  }

  instanceTypes(): InstanceType[] {
    return [...this.#account.instanceTypes.values()].map((type) => ({ ...type }));
  }

  /** Journal entries after `sinceSeq`, oldest first. */
  journal(sinceSeq = 0, limit?: number): JournalEntry[] {
    return this.#account.journal.since(sinceSeq, limit);
  }

  counters(): Counters & { eniCount: number } {
    return { ...this.#account.journal.counters(), eniCount: this.#account.enis.size };
  }

  /** Calls `listener` with each new journal entry, until the returned function is called. */
  subscribe(listener: (entry: JournalEntry) => void): () => void {
    return this.#account.journal.subscribe(listener);
  }

  // Administrator actions, outside the API. Every method throws ApiError.

  /** Returns the id of the VPC. */
  createVpc(request: admin.CreateVpc, nowMs: number): string {
    return this.#byHand('createVpc', nowMs, (account) => {
      const { id } = admin.createVpc(account, request, this.#nowMs);
      return { result: id, objectIds: [id] };
    });
  }

  /** Returns the id of the vSwitch. */
  createVSwitch(request: admin.CreateVSwitch, nowMs: number): string {
    return this.#byHand('createVSwitch', nowMs, (account) => {
      const { id } = admin.createVSwitch(account, request, this.#nowMs);
      return { result: id, objectIds: [id] };
    });
  }

  /** Returns the id of the security group. */
  createSecurityGroup(request: admin.CreateSecurityGroup, nowMs: number): string {
    return this.#byHand('createSecurityGroup', nowMs, (account) => {
      const { id } = admin.createSecurityGroup(account, request, this.#nowMs);
      return { result: id, objectIds: [id] };
    });
  }

  /** Starts a Running instance with its primary ENI. */
  runInstance(request: admin.RunInstance, nowMs: number): RunInstanceResult {
    return this.#byHand('runInstance', nowMs, (account) => {
      const instance = admin.runInstance(account, request, this.#nowMs);
      const primary = account.eni(instance.primaryEniId);
      return {
        result: {
          instanceId: instance.id,
          primaryEniId: primary.id,
          primaryIpAddress: primary.ipv4[0] ?? '',
          macAddress: primary.macAddress,
        },
        objectIds: [instance.id, primary.id],
      };
    });
  }

  /** Ends an instance, and its ENIs according to DeleteOnRelease. Returns the ids of all objects that changed. */
  releaseInstance(instanceId: string, nowMs: number): string[] {
    return this.#change('releaseInstance', nowMs, (account) => admin.releaseInstance(account, instanceId));
  }

  /** For example `Stopped`, or `Starting` to make the API refuse. */
  setInstanceStatus(instanceId: string, status: InstanceStatus, nowMs: number): string[] {
    return this.#change('setInstanceStatus', nowMs, (account) => [
      admin.setInstanceStatus(account, instanceId, status).id,
    ]);
  }

  /** Deletes an ENI at once, whatever its status. */
  deleteEniByHand(eniId: string, nowMs: number): string[] {
    return this.#change('deleteEniByHand', nowMs, (account) => admin.deleteEniByHand(account, eniId));
  }

  /** Detaches an ENI at once; a trunk with all its members. */
  detachEniByHand(eniId: string, nowMs: number): string[] {
    return this.#change('detachEniByHand', nowMs, (account) => admin.detachEniByHand(account, eniId));
  }

  /** Throws DependencyViolation while it is in use. So do the next two. */
  deleteSecurityGroup(securityGroupId: string, nowMs: number): string[] {
    return this.#change('deleteSecurityGroup', nowMs, (account) => {
      admin.deleteSecurityGroup(account, securityGroupId);
      return [securityGroupId];
    });
  }

  deleteVSwitch(vSwitchId: string, nowMs: number): string[] {
    return this.#change('deleteVSwitch', nowMs, (account) => {
      admin.deleteVSwitch(account, vSwitchId);
      return [vSwitchId];
    });
  }

  deleteVpc(vpcId: string, nowMs: number): string[] {
    return this.#change('deleteVpc', nowMs, (account) => {
      admin.deleteVpc(account, vpcId);
      return [vpcId];
    });
  }

  /** Applies to changes that begin afterwards. Returns the new latencies. */
  setLatencies(changes: LatencyChanges, nowMs: number): Latencies {
    return this.#byHand('setLatencies', nowMs, (account) => ({
      result: admin.setLatencies(account, changes),
      objectIds: [],
    }));
  }

  /** Applies to calls and changes that begin afterwards. Returns the new behaviour. */
  setBehaviour(changes: BehaviourChanges, nowMs: number): Behaviour {
    return this.#byHand('setBehaviour', nowMs, (account) => ({
      result: account.changeBehaviour(changes),
      objectIds: [],
    }));
  }

  /** Completes every pending asynchronous change at once. */
  completeAll(nowMs: number): string[] {
    return this.#change('completeAll', nowMs, (account) => admin.completeAll(account));
  }

  #change(action: string, nowMs: number, work: (account: Account) => string[]): string[] {
    return this.#byHand(action, nowMs, (account) => {
      const objectIds = work(account);
      return { result: objectIds, objectIds };
    });
  }

  #byHand<R>(action: string, nowMs: number, work: (account: Account) => { result: R; objectIds: string[] }): R {
    this.advance(nowMs);
    const { result, objectIds } = work(this.#account);
    this.#record({ kind: 'admin', action, outcome: 'OK', objectIds });
    return result;
  }

  #find(command: Command): Action | undefined {
    if (command.version !== undefined) return findAction(command.version, command.action);
    return findAction(PRODUCT_VERSIONS.Ecs, command.action) ?? findAction(PRODUCT_VERSIONS.Vpc, command.action);
  }

  #delayOf(action: string): number {
    const latencies = this.#account.latencies;
    return action === 'CreateNetworkInterface' ? latencies.createMs : latencies.answerMs;
  }

  #recordCompletion(kind: Completion['kind'], eniId: string): void {
    const action = { attach: 'Attached', 'attach-fails': 'AttachFailed', detach: 'Detached', delete: 'Deleted' }[kind];
    this.#record({ kind: 'completion', action, outcome: 'OK', objectIds: [eniId] });
  }

  #recordCall(
    command: Command,
    action: Action | undefined,
    requestId: string,
    outcome: string,
    objectIds: string[],
    clientToken: string,
    replayed: boolean,
  ): void {
    this.#record({
      kind: 'call',
      // Unknown names are not kept. Otherwise a client could grow the counters without bound.
      action: action?.name ?? 'Unknown',
      outcome,
      objectIds,
      requestId,
      accessKeyId: command.accessKeyId ?? '',
      params: summary(command.params),
      clientToken,
      replayed,
    });
  }

  #record(entry: Partial<JournalEntry> & Pick<JournalEntry, 'kind' | 'action' | 'outcome' | 'objectIds'>): void {
    this.#account.journal.record({
      timeMs: this.#nowMs,
      requestId: '',
      accessKeyId: '',
      params: {},
      clientToken: '',
      replayed: false,
      ...entry,
    });
  }
}

export interface RunInstanceResult {
  instanceId: string;
  primaryEniId: string;
  primaryIpAddress: string;
  macAddress: string;
}

function unknownAction(name: string): ApiError {
  return new ApiError(
    'InvalidAction.NotFound',
    404,
    `Specified api "${name.slice(0, 64)}" is not found, please check your url and method.`,
  );
}

/** Top-level parameters as text, so that the journal stays small and readable. */
function summary(params: ParamTree): Record<string, string> {
  const result: Record<string, string> = {};
  for (const [name, value] of Object.entries(params).slice(0, 40)) {
    if (value !== undefined) result[name.slice(0, 64)] = summaryOf(value);
  }
  return result;
}

function summaryOf(value: ParamValue): string {
  const text = typeof value === 'object' ? JSON.stringify(value) : String(value);
  return text.length <= LONGEST_JOURNAL_VALUE ? text : `${text.slice(0, LONGEST_JOURNAL_VALUE)}…`;
}
