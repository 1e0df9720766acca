import { jsonEqual } from '../../../src/kube/patch.ts';
import { rfc3339 } from '../../../src/util/clock.ts';
import type { ClusterState, WriteContext } from './cluster.ts';
import type { Collection } from './collection.ts';
import { StatusError } from './errors.ts';
import { requireDeletable } from './namespaces.ts';
import { type KubeObject, type Metadata, recordAt, type StoredObject, stringAt } from './objects.ts';
import type { ApiResource } from './resources.ts';

export const PROPAGATION_POLICIES = ['Foreground', 'Background', 'Orphan'] as const;
export type PropagationPolicy = (typeof PROPAGATION_POLICIES)[number];

export interface DeletionOptions {
  uid?: string | undefined;
  resourceVersion?: string | undefined;
  gracePeriodSeconds?: number | undefined;
  /** `Foreground` and `Orphan` leave a finalizer for the garbage collector; who plays it takes it away. */
  propagationPolicy?: PropagationPolicy | undefined;
}

/** `gone`: with its last state. `held`: it stays until its finalizers are removed or its grace period ends. */
export type Deletion = { state: 'gone' | 'held'; object: KubeObject };

const DEFAULT_GRACE_SECONDS = 30;

/**
 * Deletes an object, or marks it.
 *
 * @throws StatusError 409 when a precondition does not hold, 403 for namespaces that the server needs
 */
export function deleteObject(
  cluster: ClusterState,
  collection: Collection,
  before: StoredObject,
  options: DeletionOptions,
  context: WriteContext,
): Deletion {
  checkPreconditions(collection.resource, before.object, options);
  if (isBuiltIn(collection, 'namespaces')) return deleteNamespace(cluster, collection, before, context);
  if (isBuiltIn(collection, 'pods')) return deletePod(cluster, collection, before, options, context);
  const { finalizers: present = [], deletionTimestamp } = before.object.metadata;
  const finalizers = withPropagation(present, options.propagationPolicy);
  if (finalizers.length === 0) return { state: 'gone', object: cluster.remove(collection, before, context) };
  const isMarked = deletionTimestamp !== undefined && jsonEqual(finalizers, present);
  if (isMarked) return { state: 'held', object: before.object };
  return { state: 'held', object: mark(cluster, collection, before, { graceSeconds: 0, finalizers }, context).object };
}

/** A later policy takes the place of an earlier one. */
function withPropagation(finalizers: readonly string[], policy: PropagationPolicy | undefined): readonly string[] {
  if (policy === undefined) return finalizers;
  const wanted = POLICY_FINALIZERS[policy];
  const others = finalizers.filter((one) => one === wanted || !Object.values(POLICY_FINALIZERS).includes(one));
  return wanted === undefined || others.includes(wanted) ? others : [...others, wanted];
}

const POLICY_FINALIZERS: Readonly<Partial<Record<PropagationPolicy, string>>> = {
  Foreground: 'foregroundDeletion',
  Orphan: 'orphan',
};

function checkPreconditions(resource: ApiResource, object: KubeObject, options: DeletionOptions): void {
  const { name, uid, resourceVersion } = object.metadata;
  const { group, kind } = resource;
  const refuse = (why: string) => {
    const message = `Operation cannot be fulfilled on ${group === '' ? kind : `${kind}.${group}`} "${name}": ${why}`;
    const details = { name, ...(group === '' ? {} : { group }), kind };
    return new StatusError(409, 'Conflict', message, details);
  };
  if (options.uid !== undefined && options.uid !== uid) {
    const hint = 'The object might have been deleted and then recreated';
    throw refuse(`the UID in the precondition (${options.uid}) does not match the UID in record (${uid}). ${hint}`);
  }
  if (options.resourceVersion !== undefined && options.resourceVersion !== resourceVersion) {
    const pair = `(${options.resourceVersion}) does not match the ResourceVersion in record (${resourceVersion})`;
    throw refuse(`the ResourceVersion in the precondition ${pair}. The object might have been modified`);
  }
}

/** A pod that a node has runs on until its grace period is over: its kubelet deletes it again, with a grace of 0. */
function deletePod(
  cluster: ClusterState,
  collection: Collection,
  before: StoredObject,
  options: DeletionOptions,
  context: WriteContext,
): Deletion {
  const { metadata } = before.object;
  const graceSeconds = graceOf(before.object, options);
  const finalizers = withPropagation(metadata.finalizers ?? [], options.propagationPolicy);
  const marks = { graceSeconds, finalizers };
  const pendingSeconds = metadata.deletionTimestamp === undefined ? undefined : metadata.deletionGracePeriodSeconds;
  let marked = before;
  if (pendingSeconds === undefined) {
    marked = mark(cluster, collection, before, marks, context);
  } else if (options.gracePeriodSeconds !== undefined && graceSeconds < pendingSeconds) {
    marked = mark(cluster, collection, before, marks, context);
  } else if (pendingSeconds > 0 || (metadata.finalizers ?? []).length > 0) {
    return { state: 'held', object: before.object };
  }
  const isHeld = (marked.object.metadata.deletionGracePeriodSeconds ?? 0) > 0;
  if (isHeld || finalizers.length > 0) return { state: 'held', object: marked.object };
  return { state: 'gone', object: cluster.remove(collection, marked, context) };
}

function graceOf(pod: KubeObject, { gracePeriodSeconds }: DeletionOptions): number {
  const { nodeName, terminationGracePeriodSeconds: own } = recordAt(pod, 'spec');
  const phase = stringAt(recordAt(pod, 'status'), 'phase');
  const isRunning = typeof nodeName === 'string' && nodeName !== '' && phase !== 'Succeeded' && phase !== 'Failed';
  if (!isRunning) return 0;
  const asked = gracePeriodSeconds ?? (typeof own === 'number' ? own : DEFAULT_GRACE_SECONDS);
  return asked < 0 ? 1 : asked;
}

/** Its content goes first; `finalize` ends it. */
function deleteNamespace(
  cluster: ClusterState,
  collection: Collection,
  before: StoredObject,
  context: WriteContext,
): Deletion {
  const { metadata } = before.object;
  requireDeletable(metadata.name);
  if (metadata.deletionTimestamp !== undefined) return { state: 'held', object: before.object };
  const marked = { ...metadata, deletionTimestamp: rfc3339(context.nowMs) };
  const object = { ...before.object, metadata: marked, status: { phase: 'Terminating' } };
  return { state: 'held', object: cluster.put(collection, before.key, object, context).object };
}

function mark(
  cluster: ClusterState,
  collection: Collection,
  before: StoredObject,
  { graceSeconds, finalizers }: { graceSeconds: number; finalizers: readonly string[] },
  context: WriteContext,
): StoredObject {
  const { finalizers: _finalizers, ...metadata } = before.object.metadata;
  const requestedMs = requestedAt(metadata) ?? context.nowMs;
  const { generation } = metadata;
  const isFirst = metadata.deletionTimestamp === undefined;
  const marked: Metadata = {
    ...metadata,
    ...(generation !== undefined && isFirst ? { generation: generation + 1 } : {}),
    deletionTimestamp: rfc3339(requestedMs + graceSeconds * 1000),
    deletionGracePeriodSeconds: graceSeconds,
    ...(finalizers.length === 0 ? {} : { finalizers }),
  };
  return cluster.put(collection, before.key, { ...before.object, metadata: marked }, context);
}

/** When the deletion was asked for; undefined when it was not. */
function requestedAt({ deletionTimestamp, deletionGracePeriodSeconds }: Metadata): number | undefined {
  if (deletionTimestamp === undefined) return undefined;
  return Date.parse(deletionTimestamp) - (deletionGracePeriodSeconds ?? 0) * 1000;
}

function isBuiltIn({ resource }: Collection, plural: string): boolean {
  return resource.isBuiltIn && resource.plural === plural;
}
