import { jsonEqual } from '../../../src/kube/patch.ts';
import { rfc3339 } from '../../../src/util/clock.ts';
import type { ClusterState, WriteContext } from './cluster.ts';
import type { Collection } from './collection.ts';
import { clientMetadata, decodeBody, normalized, type SentObject, withoutStatus } from './decode.ts';
import type { StatusCause } from './errors.ts';
import { alreadyExists, badRequest, conflict, invalid, modified, notFound, StatusError } from './errors.ts';
import { completed, keepsStatusOnCreate, kindProblems } from './kinds.ts';
import { type Applied, withOwners } from './managed-fields.ts';
import { metadataChangeProblems, metadataProblems } from './metadata.ts';
import { requireNamespace } from './namespaces.ts';
import { type KubeObject, keyOf, type Metadata, recordAt, type StoredObject, stringAt } from './objects.ts';
import type { ApiResource } from './resources.ts';
import { validate } from './validation.ts';

/** Where an object is to be found. `namespace` is undefined for cluster-scoped kinds. */
export interface ObjectPlace {
  namespace: string | undefined;
  name: string;
}

/** @throws StatusError 404 */
export function existing(collection: Collection, { namespace, name }: ObjectPlace): StoredObject {
  const found = collection.get(keyOf(namespace, name));
  if (found === undefined) throw notFound(collection.resource, name);
  return found;
}

/**
 * Creates an object from what a client sent.
 *
 * @throws StatusError
 */
export function createObject(
  cluster: ClusterState,
  collection: Collection,
  namespace: string | undefined,
  body: unknown,
  context: WriteContext,
  applied?: Applied,
): KubeObject {
  const { resource } = collection;
  const sent = normalized(resource, decodeBody(resource, namespace, body));
  const sentMetadata = recordAt(sent, 'metadata');
  if ((stringAt(sentMetadata, 'resourceVersion') ?? '') !== '') {
    throw new StatusError(500, '', 'resourceVersion should not be set on objects to be created');
  }
  const name = nameOf(cluster, resource, sentMetadata);
  if (namespace !== undefined) requireNamespace(cluster, resource, namespace, name);
  const metadata: Metadata = {
    name,
    ...(namespace === undefined ? {} : { namespace }),
    uid: cluster.nextUid(),
    resourceVersion: '',
    ...firstGeneration(resource, sentMetadata['generation']),
    creationTimestamp: rfc3339(context.nowMs),
    ...clientMetadata(sentMetadata),
  };
  const content = resource.hasStatus && !keepsStatusOnCreate(resource) ? withoutStatus(sent) : sent;
  const object = completed(resource, { ...content, ...typeOf(sent), metadata });
  check(resource, object, undefined);
  const key = keyOf(namespace, name);
  if (collection.get(key) !== undefined) throw alreadyExists(resource, name);
  const owned = withOwners(resource, { before: undefined, next: object, applied }, context);
  return cluster.put(collection, key, owned, context).object;
}

/** How an object is to be changed: `object` is what the client wants it to be. */
export interface ObjectUpdate {
  object: unknown;
  /** A PUT: the whole object comes from the client, and must say which version it replaces. */
  isReplacement: boolean;
  /** By server-side apply. */
  applied?: Applied | undefined;
}

/**
 * Changes an object, or its status when the context's subresource says so. An object that waited for its last finalizer
 * is gone afterwards; the answer still shows it.
 *
 * @throws StatusError
 */
export function updateObject(
  cluster: ClusterState,
  collection: Collection,
  before: StoredObject,
  update: ObjectUpdate,
  context: WriteContext,
): KubeObject {
  const { resource } = collection;
  const current = before.object;
  const { name, namespace } = current.metadata;
  const sent = normalized(resource, decodeBody(resource, namespace, update.object, !update.isReplacement));
  const sentMetadata = recordAt(sent, 'metadata');
  const sentName = stringAt(sentMetadata, 'name') ?? '';
  if (sentName !== name) {
    throw badRequest(`the name of the object (${sentName}) does not match the name on the URL (${name})`);
  }
  checkVersion(resource, current, sentMetadata, update);
  const isStatus = context.subresource === 'status';
  const written = isStatus ? withStatus(resource, current, sent) : withContent(resource, current, sent);
  check(resource, written, current);
  const next = withOwners(resource, { before: current, next: written, applied: update.applied }, context);
  if (jsonEqual(next, current)) return current;
  if (isReleased(next.metadata, current.metadata)) {
    cluster.remove(collection, before, context);
    return next;
  }
  return cluster.put(collection, before.key, next, context).object;
}

function checkVersion(resource: ApiResource, current: KubeObject, sent: SentObject, update: ObjectUpdate): void {
  const { name, uid, resourceVersion } = current.metadata;
  const sentVersion = stringAt(sent, 'resourceVersion') ?? '';
  const sentUid = stringAt(sent, 'uid') ?? '';
  if (update.isReplacement && sentUid !== '' && sentUid !== uid) {
    const why = `Precondition failed: UID in precondition: ${sentUid}, UID in object meta: ${uid}`;
    throw conflict(resource, name, why);
  }
  if (sentVersion === '') {
    if (!update.isReplacement || resource.unconditionalUpdate) return;
    const message = 'Invalid value: 0: must be specified for an update';
    const cause = { reason: 'FieldValueInvalid', message, field: 'metadata.resourceVersion' };
    // Here, and only here, the server names the resource in place of the kind.
    throw invalid({ group: resource.group, kind: resource.plural }, name, [cause]);
  }
  if (sentVersion !== resourceVersion) throw modified(resource, name);
}

/** What a write of the status leaves: of custom kinds nothing but the status changes, of built-in ones labels may too. */
function withStatus(resource: ApiResource, current: KubeObject, sent: SentObject): KubeObject {
  const kept = withoutStatus(current);
  const metadata = resource.isBuiltIn ? mergedMetadata(current.metadata, recordAt(sent, 'metadata')) : current.metadata;
  const status = sent['status'];
  return { ...kept, metadata, ...(status === undefined ? {} : { status }) };
}

/** What a write of the object leaves: the status is as it was. */
function withContent(resource: ApiResource, current: KubeObject, sent: SentObject): KubeObject {
  const metadata = mergedMetadata(current.metadata, recordAt(sent, 'metadata'));
  const status = current['status'];
  const content = resource.hasStatus
    ? { ...withoutStatus(sent), ...(status === undefined ? {} : { status }) }
    : { ...sent };
  const next: KubeObject = { ...content, ...typeOf(sent), metadata };
  if (!resource.hasGeneration || jsonEqual(counted(resource, next), counted(resource, current))) return next;
  return { ...next, metadata: { ...metadata, generation: (current.metadata.generation ?? 0) + 1 } };
}

/** The client's metadata with what only the server sets, in the order in which a new object has it. */
function mergedMetadata(kept: Metadata, sent: SentObject): Metadata {
  const { uid, deletionTimestamp, deletionGracePeriodSeconds } = sent;
  const { name, namespace, resourceVersion, generation, creationTimestamp, managedFields } = kept;
  // These are compared afterwards: what is left out stays, and a change is refused.
  const deletedAt = typeof deletionTimestamp === 'string' ? deletionTimestamp : kept.deletionTimestamp;
  const graceSeconds =
    typeof deletionGracePeriodSeconds === 'number' ? deletionGracePeriodSeconds : kept.deletionGracePeriodSeconds;
  return {
    name,
    ...(namespace === undefined ? {} : { namespace }),
    uid: typeof uid === 'string' && uid !== '' ? uid : kept.uid,
    resourceVersion,
    ...(generation === undefined ? {} : { generation }),
    creationTimestamp,
    ...(deletedAt === undefined ? {} : { deletionTimestamp: deletedAt }),
    ...(graceSeconds === undefined ? {} : { deletionGracePeriodSeconds: graceSeconds }),
    ...clientMetadata(sent),
    ...(managedFields === undefined ? {} : { managedFields }),
  };
}

/** Kinds that do not count changes leave to the client what it wrote there. */
function firstGeneration(resource: ApiResource, sent: unknown): { generation?: number } {
  if (resource.hasGeneration) return { generation: 1 };
  return typeof sent === 'number' ? { generation: sent } : {};
}

/** What `metadata.generation` counts the changes of. */
function counted(resource: ApiResource, object: KubeObject): unknown {
  const { metadata: _metadata, ...content } = resource.hasStatus ? withoutStatus(object) : object;
  return content;
}

/** The last finalizer of an object that is being deleted went away. */
function isReleased(next: Metadata, current: Metadata): boolean {
  if ((next.finalizers ?? []).length > 0 || current.deletionTimestamp === undefined) return false;
  // A namespace is held by the finalizer in its spec.
  return current.deletionGracePeriodSeconds === 0;
}

function nameOf(cluster: ClusterState, resource: ApiResource, metadata: SentObject): string {
  const name = stringAt(metadata, 'name') ?? '';
  const prefix = stringAt(metadata, 'generateName') ?? '';
  if (name !== '') return name;
  if (prefix !== '') return prefix + cluster.nextNameSuffix();
  const message = 'Required value: name or generateName is required';
  throw invalid(resource, '', [{ reason: 'FieldValueRequired', message, field: 'metadata.name' }]);
}

function typeOf(sent: SentObject): { apiVersion: string; kind: string } {
  return { apiVersion: stringAt(sent, 'apiVersion') ?? '', kind: stringAt(sent, 'kind') ?? '' };
}

/** @throws StatusError 422 with everything that is wrong */
function check(resource: ApiResource, next: KubeObject, before: KubeObject | undefined): void {
  const { metadata } = next;
  const causes: StatusCause[] = metadataProblems(resource, metadata);
  if (before !== undefined) causes.push(...metadataChangeProblems(metadata, before.metadata));
  causes.push(...kindProblems(resource, next, before));
  for (const [name, schema] of Object.entries(resource.schema?.properties ?? {})) {
    if (['apiVersion', 'kind', 'metadata'].includes(name) || next[name] === undefined) continue;
    causes.push(...validate(schema, next[name], name, before?.[name]));
  }
  for (const name of resource.schema?.required ?? []) {
    if (next[name] !== undefined) continue;
    causes.push({ reason: 'FieldValueRequired', message: 'Required value', field: name });
  }
  if (causes.length > 0) throw invalid(resource, metadata.name, causes);
}
