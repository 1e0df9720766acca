import type { NodeRuntime } from '../crds/node-runtime.ts';

type PodEntry = NonNullable<NonNullable<NodeRuntime['status']>['pods']>[string];

/**
 * Whether a node's word on a pod is that its sandbox is gone: the newest of its states counts, and of two of one second
 * `deleted` does (reference 1.7). No entry says nothing.
 */
export function saysDeleted(entry: PodEntry | undefined): boolean {
  const states = Object.entries(entry?.status ?? {}).map(([state, { lastUpdateTime = '' } = {}]) => ({
    state,
    atMs: Date.parse(lastUpdateTime) || 0,
  }));
  const newestMs = Math.max(...states.map(({ atMs }) => atMs));
  return states.some(({ state, atMs }) => state === 'deleted' && atMs === newestMs);
}

/** What a node that reports about its sandboxes says of the one that an interface was bound for. */
export interface SandboxReport {
  deleted: boolean;
  /** How long after the goal was persisted the word `deleted` is waited for. */
  timeoutMs: number;
}
