import { rfc3339 } from '../../../src/util/clock.ts';
import type { ClusterState, WriteContext } from './cluster.ts';
import type { Collection } from './collection.ts';
import { type DeletionOptions, deleteObject } from './deletion.ts';
import { badRequest, StatusError } from './errors.ts';
import { type KubeObject, recordAt, type StoredObject, stringAt } from './objects.ts';

/**
 * Gives a pod to a node, as the scheduler does.
 *
 * @throws StatusError 409 when a node has it already
 */
export function bindPod(
  cluster: ClusterState,
  pods: Collection,
  before: StoredObject,
  nodeName: string,
  context: WriteContext,
): void {
  const pod = before.object;
  const { name } = pod.metadata;
  if (nodeName === '') throw badRequest('Binding: target.name is required');
  const taken = stringAt(recordAt(pod, 'spec'), 'nodeName') ?? '';
  if (taken !== '') {
    const message = `Operation cannot be fulfilled on pods/binding "${name}": pod ${name} is already assigned to node "${taken}"`;
    throw new StatusError(409, 'Conflict', message, { name, kind: 'pods/binding' });
  }
  const condition = { type: 'PodScheduled', status: 'True', lastTransitionTime: rfc3339(context.nowMs) };
  const bound = withCondition({ ...pod, spec: { ...recordAt(pod, 'spec'), nodeName } }, condition);
  cluster.put(pods, before.key, bound, context);
}

/**
 * Asks a pod to end. Budgets are not modelled: a test that wants a refusal injects it.
 *
 * @throws StatusError 409 when a precondition does not hold
 */
export function evictPod(
  cluster: ClusterState,
  pods: Collection,
  before: StoredObject,
  options: DeletionOptions,
  context: WriteContext,
): void {
  const pod = before.object;
  const { uid, deletionTimestamp } = pod.metadata;
  const isForAnother = options.uid !== undefined && options.uid !== uid;
  if (isForAnother || deletionTimestamp !== undefined || isOver(pod) || !isPlaced(pod)) {
    deleteObject(cluster, pods, before, options, context);
    return;
  }
  const condition = {
    type: 'DisruptionTarget',
    status: 'True',
    lastTransitionTime: rfc3339(context.nowMs),
    reason: 'EvictionByEvictionAPI',
    message: 'Eviction API: evicting',
  };
  const marked = cluster.put(pods, before.key, withCondition(pod, condition), context);
  deleteObject(cluster, pods, marked, { ...options, resourceVersion: undefined }, context);
}

function isOver(pod: KubeObject): boolean {
  const phase = stringAt(recordAt(pod, 'status'), 'phase');
  return phase === 'Succeeded' || phase === 'Failed';
}

function isPlaced(pod: KubeObject): boolean {
  return (stringAt(recordAt(pod, 'spec'), 'nodeName') ?? '') !== '';
}

function withCondition(pod: KubeObject, condition: Readonly<Record<string, unknown>>): KubeObject {
  const status = recordAt(pod, 'status');
  const conditions: unknown[] = Array.isArray(status['conditions']) ? status['conditions'] : [];
  return { ...pod, status: { ...status, conditions: [...conditions, condition] } };
}
