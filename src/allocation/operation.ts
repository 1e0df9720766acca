import type { Reason } from '../crds/reasons/catalogue.ts';
import type { Eni } from '../ecs/eni.ts';
import type { FailureKind } from '../ecs/failure.ts';

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
  | ({ kind: OperationKind; state: 'succeeded'; atMs: number; eni?: Eni } & Unanswered)
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
