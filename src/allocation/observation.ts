import type { Reason } from '../crds/reasons/catalogue.ts';

/**
 * What the life cycle needs to know of an ENI and of the cloud calls under way. The cloud layer's own types fit these
 * structurally, so that this folder does not import it.
 */

/** An ENI as the cloud showed it. */
export interface ObservedEni {
  id: string;
  type: string;
  status: string;
  macAddress: string;
  vpcId: string;
  vSwitchId: string;
  zoneId: string;
  primaryIp: string;
  ipv6: string[];
  securityGroupIds: string[];
  resourceGroupId: string;
  tags: Record<string, string>;
  instanceId?: string;
  trunkEniId?: string;
  vlanId?: number;
}

/** The newest answer about one ENI. `eni` is absent when the cloud no longer knows the id. */
export interface Observation {
  /** When the request that brought the answer was sent, epoch milliseconds. */
  atMs: number;
  eni?: ObservedEni;
}

/** What a failed call means for the life cycle; the cloud layer derives it from code and HTTP status. */
export type FailureKind =
  /** The quota is used up; nothing happened. */
  | 'throttled'
  /** Connection, timeout or 5xx: whether it took effect is unknown. */
  | 'unavailable'
  /** The vSwitch has no free address. */
  | 'exhausted'
  /** The instance takes no more ENIs. */
  | 'limit'
  /** The object is not in a state that allows the call. */
  | 'state'
  | 'notFound'
  /** The ClientToken was used with other parameters or is unusable. */
  | 'token'
  /** Credentials or RAM policy. */
  | 'forbidden'
  /** The operator has told the control plane not to make such calls. */
  | 'degraded'
  /** Any other refusal; repeating it unchanged will not help soon. */
  | 'invalid';

export interface OperationFailure {
  kind: FailureKind;
  code: string;
  message: string;
  requestId?: string;
}

export type OperationKind = 'create' | 'find' | 'attach' | 'detach' | 'delete' | 'modify';

/** What a condition or event about the failure is called. */
export function reasonOfFailure({ kind }: { kind: FailureKind }): Extract<Reason, 'CloudError' | 'CloudDegraded'> {
  return kind === 'degraded' ? 'CloudDegraded' : 'CloudError';
}

/** The last cloud call for one interface in this process; nothing after a restart. */
export type Operation =
  | { kind: OperationKind; state: 'running'; sinceMs: number }
  | ({ kind: OperationKind; state: 'succeeded'; atMs: number; eni?: ObservedEni } & Unanswered)
  | ({ kind: OperationKind; state: 'failed'; atMs: number; failure: OperationFailure; failures: number } & Unanswered);

/** What earlier calls may still bring about. */
interface Unanswered {
  /** When a creation of the same intent was last under way without an answer, of this process or one before it. */
  unansweredMs?: number;
}

/** What a node whose agent reports about its sandboxes says of the one that an interface was bound for. */
export interface SandboxReport {
  deleted: boolean;
  /** How long after the goal was persisted the word `deleted` is waited for. */
  timeoutMs: number;
}
