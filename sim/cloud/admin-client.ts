import * as z from 'zod';
import { adminOperations } from './admin-api.ts';
import type { Latencies } from './model/account.ts';
import type { Behaviour } from './model/behaviour.ts';
import type { InstanceStatus } from './model/entities.ts';
import type { Counters, JournalEntry } from './model/journal.ts';
import type { RunInstanceResult } from './model/model.ts';
import type { Snapshot } from './model/snapshot.ts';

type RequestOf<O extends keyof typeof adminOperations> = z.input<(typeof adminOperations)[O]['request']>;

/** An operation of the control channel was refused or failed. `code` is an error code of the API where one fits. */
export class AdminError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.name = 'AdminError';
    this.status = status;
    this.code = code;
  }
}

const errorBody = z.object({ code: z.string(), message: z.string() });

// The server is of the same build, so only the outline of its responses is checked.
const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null;
const stateBody = z.custom<Snapshot>(isObject);
const countersBody = z.custom<Counters & { eniCount: number }>(isObject);
const journalBody = z.array(z.custom<JournalEntry>(isObject));

/** Controls a simulator in another process. Every method throws AdminError, or TypeError when nothing responds. */
export class AdminClient {
  readonly #adminUrl: string;

  /** @param adminUrl from `startCloudSimulator` or the executable's ready line */
  constructor(adminUrl: string) {
    this.#adminUrl = adminUrl.replace(/\/+$/, '');
  }

  /** Returns the id of the VPC. */
  createVpc(request: RequestOf<'createVpc'>): Promise<string> {
    return this.#post('createVpc', request, adminOperations.createVpc.result);
  }

  /** Returns the id of the vSwitch. */
  createVSwitch(request: RequestOf<'createVSwitch'>): Promise<string> {
    return this.#post('createVSwitch', request, adminOperations.createVSwitch.result);
  }

  /** Returns the id of the security group. */
  createSecurityGroup(request: RequestOf<'createSecurityGroup'>): Promise<string> {
    return this.#post('createSecurityGroup', request, adminOperations.createSecurityGroup.result);
  }

  runInstance(request: RequestOf<'runInstance'>): Promise<RunInstanceResult> {
    return this.#post('runInstance', request, adminOperations.runInstance.result);
  }

  /** Returns the ids of all objects that changed. So do the operations below. */
  releaseInstance(instanceId: string): Promise<string[]> {
    return this.#post('releaseInstance', { instanceId }, adminOperations.releaseInstance.result);
  }

  setInstanceStatus(instanceId: string, status: InstanceStatus): Promise<string[]> {
    return this.#post('setInstanceStatus', { instanceId, status }, adminOperations.setInstanceStatus.result);
  }

  stopInstance(instanceId: string): Promise<string[]> {
    return this.setInstanceStatus(instanceId, 'Stopped');
  }

  startInstance(instanceId: string): Promise<string[]> {
    return this.setInstanceStatus(instanceId, 'Running');
  }

  deleteEniByHand(eniId: string): Promise<string[]> {
    return this.#post('deleteEniByHand', { eniId }, adminOperations.deleteEniByHand.result);
  }

  detachEniByHand(eniId: string): Promise<string[]> {
    return this.#post('detachEniByHand', { eniId }, adminOperations.detachEniByHand.result);
  }

  deleteSecurityGroup(securityGroupId: string): Promise<string[]> {
    return this.#post('deleteSecurityGroup', { securityGroupId }, adminOperations.deleteSecurityGroup.result);
  }

  deleteVSwitch(vSwitchId: string): Promise<string[]> {
    return this.#post('deleteVSwitch', { vSwitchId }, adminOperations.deleteVSwitch.result);
  }

  deleteVpc(vpcId: string): Promise<string[]> {
    return this.#post('deleteVpc', { vpcId }, adminOperations.deleteVpc.result);
  }

  /** Returns the new settings. */
  setLatencies(changes: RequestOf<'setLatencies'>): Promise<Latencies> {
    return this.#post('setLatencies', changes, adminOperations.setLatencies.result);
  }

  /** Rate limits, lagging lists, failing attachments. Each given part replaces the previous one. Returns the new settings. */
  setBehaviour(changes: RequestOf<'setBehaviour'>): Promise<Behaviour> {
    return this.#post('setBehaviour', changes, adminOperations.setBehaviour.result);
  }

  completeAll(): Promise<string[]> {
    return this.#post('completeAll', {}, adminOperations.completeAll.result);
  }

  state(): Promise<Snapshot> {
    return this.#get('state', stateBody);
  }

  /**
   * Long poll: returns the state once its generation differs from `generation`, or the same state after a few seconds. Rejects
   * with the signal's reason.
   */
  stateAfter(generation: number, signal?: AbortSignal): Promise<Snapshot> {
    return this.#request(`state?after=${generation}`, { method: 'GET', ...(signal ? { signal } : {}) }, stateBody);
  }

  counters(): Promise<Counters & { eniCount: number }> {
    return this.#get('counters', countersBody);
  }

  /** Entries after `sinceSeq`, oldest first, at most `limit`. */
  journal(sinceSeq = 0, limit = 10_000): Promise<JournalEntry[]> {
    return this.#get(`journal?since=${sinceSeq}&limit=${limit}`, journalBody);
  }

  #get<T>(path: string, schema: z.ZodType<T>): Promise<T> {
    return this.#request(path, { method: 'GET' }, schema);
  }

  #post<T>(operation: string, request: object, schema: z.ZodType<T>): Promise<T> {
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(request) };
    return this.#request(operation, init, schema);
  }

  async #request<T>(path: string, init: RequestInit, schema: z.ZodType<T>): Promise<T> {
    const response = await fetch(`${this.#adminUrl}/${path}`, init);
    const body: unknown = await response.json();
    if (response.ok) return schema.parse(body);
    const refusal = errorBody.safeParse(body);
    throw new AdminError(
      response.status,
      refusal.success ? refusal.data.code : 'Unknown',
      refusal.success ? refusal.data.message : `HTTP ${response.status}`,
    );
  }
}
