import type { Reason } from '../crds/reasons/catalogue.ts';
import type { Eni } from '../ecs/eni.ts';
import type { FailureKind } from '../ecs/failure.ts';

export interface OperationFailure {
  kind: FailureKind;
  code: string;
  message: string;
  requestId?: string;
}

export type OperationKind =
  | 'create'
  | 'find'
  | 'attach'
  | 'detach'
  | 'delete'
  | 'modify'
  | 'assignIpv4'
  | 'assignIpv6'
  | 'unassignIpv4'
  | 'unassignIpv6';

/** The reason that a condition or event uses for the failure. */
export function reasonOfFailure({ kind }: { kind: FailureKind }): Extract<Reason, 'CloudError' | 'CloudDegraded'> {
  return kind === 'degraded' ? 'CloudDegraded' : 'CloudError';
}

/** By what the intent asks for, not by what the control plane may or can do at the moment. */
export function isRefusedForGood({ kind }: { kind: FailureKind }): boolean {
  return kind === 'limit' || kind === 'notFound' || kind === 'invalid';
}

/** The last cloud call for one interface in this process; lost on restart. */
export type Operation =
  | { kind: OperationKind; state: 'running'; sinceMs: number }
  | ({ kind: OperationKind; state: 'succeeded'; atMs: number; eni?: Eni; addresses?: readonly string[] } & Unanswered)
  | ({ kind: OperationKind; state: 'failed'; atMs: number; failure: OperationFailure; failures: number } & Unanswered);

/** Earlier calls that may still take effect. */
interface Unanswered {
  /** When a create of the same intent was last in progress without a response, in this process or a previous one. */
  unansweredMs?: number;
}

/** What the node agent reports about the sandbox that an interface was bound for. */
export interface SandboxReport {
  deleted: boolean;
  /** The node says that there is one. */
  exists: boolean;
  /** How long after the goal was persisted to wait for the report `deleted`. */
  timeoutMs: number;
}
