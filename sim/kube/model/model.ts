import { application, requireManager } from './apply.ts';
import { type Backup, ClusterState, type WriteContext } from './cluster.ts';
import type { Collection } from './collection.ts';
import { decodeBody } from './decode.ts';
import { type Deletion, type DeletionOptions, deleteObject } from './deletion.ts';
import { methodNotAllowed, noSuchPath, notFound, PageNotFoundError } from './errors.ts';
import type { WriteRecord, WriteVerb } from './journal.ts';
import { type KubeObject, keyOf, recordAt, type StoredObject, textOf } from './objects.ts';
import { applyPatch } from './patches.ts';
import { bindPod, evictPod } from './pods.ts';
import { type ListQuery, listObjects, listText, matcherOf, parseVersion, type Selection, tooLarge } from './reads.ts';
import type { ApiResource } from './resources.ts';
import { type OpenWatch, openWatch, type WatchLine, type WatchQuery } from './watches.ts';
import { createObject, existing, type ObjectPlace, updateObject } from './writes.ts';

export interface KubeModelOptions {
  /** Custom kinds, of {@link resourceOfCrd}. */
  resources?: readonly ApiResource[] | undefined;
  /** Of uids and generated names. Default 1. */
  seed?: number | undefined;
  /** There from the beginning, beside `default` and `kube-system`. */
  namespaces?: readonly string[] | undefined;
  /** Changes that are remembered of each resource, at least. Default 10,000. */
  historyLimit?: number | undefined;
  /** Writes that the journal keeps. Default 20,000. */
  journalCapacity?: number | undefined;
  /** When the cluster was made. Default 2026-01-01. */
  startMs?: number | undefined;
}

/** Who asks, and when. */
export interface Caller {
  /** The replica, or who is played. */
  actor: string;
  /** Whose fields `managedFields` says that these are; default: those of `actor`. */
  manager?: string | undefined;
  /** Since the epoch. */
  nowMs: number;
}

/** A resource, and an object of it or a part of that. */
export interface Target {
  /** As `podenis.network.alibabacloud.com`, `pods`. */
  resource: string;
  namespace: string | undefined;
}
export interface ObjectTarget extends Target {
  name: string;
  /** `''` for the object itself. */
  subresource: string;
}

const BASE_NAMESPACES = ['default', 'kube-system'];

/**
 * A Kubernetes API server as a state machine. Time is a parameter of every call, and nothing else advances it. Every method
 * throws {@link StatusError} for what the server would refuse.
 */
export class KubeModel {
  readonly #cluster: ClusterState;

  constructor(options: KubeModelOptions = {}) {
    this.#cluster = new ClusterState({
      resources: options.resources ?? [],
      seed: options.seed ?? 1,
      historyLimit: options.historyLimit ?? 10_000,
      journalCapacity: options.journalCapacity ?? 20_000,
    });
    const caller = { actor: 'kube-apiserver', nowMs: options.startMs ?? Date.UTC(2026, 0, 1) };
    for (const name of [...BASE_NAMESPACES, ...(options.namespaces ?? [])]) {
      this.create({ resource: 'namespaces', namespace: undefined }, { metadata: { name } }, caller);
    }
  }

  /** Of the latest write, whatever it wrote. */
  get version(): number {
    return this.#cluster.version;
  }

  /** Grows with every change, even when a restored backup takes {@link version} back. */
  get generation(): number {
    return this.#cluster.generation;
  }

  /** @throws StatusError 404 when there is no such resource */
  resource(name: string): ApiResource {
    return this.#collection(name).resource;
  }

  /** Adds a custom resource, or replaces its definition as an upgrade does; its objects stay as they are. */
  define(resource: ApiResource): void {
    this.#cluster.define(resource);
  }

  /** @returns JSON */
  get(target: ObjectTarget, resourceVersion = ''): string {
    const asked = parseVersion(resourceVersion);
    if (asked > this.version) throw tooLarge(asked, this.version);
    return textOf(this.#existing(target));
  }

  /** @returns JSON */
  list(target: Target, query: Omit<ListQuery, 'namespace'>): string {
    return listObjects(this.#collection(target.resource), { ...query, namespace: target.namespace }, this.version);
  }

  /** @param deliver is called with each event, from within the write that makes it; it must not call the model */
  watch(target: Target, query: Omit<WatchQuery, 'namespace'>, deliver: (line: WatchLine) => void): OpenWatch {
    const collection = this.#collection(target.resource);
    return openWatch(collection, { ...query, namespace: target.namespace }, () => this.version, deliver);
  }

  create({ resource, namespace }: Target, body: unknown, caller: Caller): KubeObject {
    const context = contextOf(caller, 'create', '');
    return createObject(this.#cluster, this.#collection(resource), namespace, body, context);
  }

  /** Replaces the object or its status (a PUT). */
  update(target: ObjectTarget, body: unknown, caller: Caller): KubeObject {
    if (target.resource === 'namespaces' && target.subresource === 'finalize')
      return this.#finalize(target, body, caller);
    const collection = this.#writable(target);
    const context = contextOf(caller, 'update', target.subresource);
    // Malformed input is refused before the object is looked up.
    decodeBody(collection.resource, target.namespace, body);
    const before = existing(collection, target);
    return updateObject(this.#cluster, collection, before, { object: body, isReplacement: true }, context);
  }

  /** @param contentType as the header has it */
  patch(target: ObjectTarget, contentType: string, body: unknown, caller: Caller): KubeObject {
    const collection = this.#writable(target);
    const context = contextOf(caller, 'patch', target.subresource);
    const before = existing(collection, target);
    const object = applyPatch(before.object, contentType, body);
    return updateObject(this.#cluster, collection, before, { object, isReplacement: false }, context);
  }

  /**
   * Server-side apply, of custom kinds.
   *
   * @param isForced fields that others have set otherwise are taken from them
   */
  apply(
    target: ObjectTarget,
    body: unknown,
    isForced: boolean,
    caller: Caller & { manager: string },
  ): { object: KubeObject; isCreated: boolean } {
    const collection = this.#writable(target);
    requireManager(caller.manager);
    const context = contextOf(caller, 'patch', target.subresource);
    const { namespace, name, subresource } = target;
    const before = collection.get(keyOf(namespace, name));
    if (before === undefined && subresource !== '') throw notFound(collection.resource, name);
    const author = { ...context, isForced };
    const { object, applied } = application(collection.resource, { before: before?.object, name, body }, author);
    if (before === undefined)
      return { object: createObject(this.#cluster, collection, namespace, object, context, applied), isCreated: true };
    const update = { object, isReplacement: false, applied };
    return { object: updateObject(this.#cluster, collection, before, update, context), isCreated: false };
  }

  delete(target: ObjectTarget, options: DeletionOptions, caller: Caller): Deletion {
    if (target.subresource !== '') throw methodNotAllowed();
    const collection = this.#collection(target.resource);
    const context = contextOf(caller, 'delete', '');
    return deleteObject(this.#cluster, collection, existing(collection, target), options, context);
  }

  /** @returns JSON: the list of what was there */
  deleteCollection(
    target: Target,
    selection: Omit<Selection, 'namespace'>,
    options: DeletionOptions,
    caller: Caller,
  ): string {
    const collection = this.#collection(target.resource);
    const matches = matcherOf(collection.resource, { ...selection, namespace: target.namespace });
    const found = collection.list().filter(({ object }) => matches(object));
    const version = this.version;
    const context = contextOf(caller, 'deletecollection', '');
    for (const stored of found) deleteObject(this.#cluster, collection, stored, options, context);
    return listText(collection.resource, { resourceVersion: String(version) }, found);
  }

  evict(target: ObjectPlace, options: DeletionOptions, caller: Caller): void {
    const pods = this.#collection('pods');
    evictPod(this.#cluster, pods, existing(pods, target), options, contextOf(caller, 'create', 'eviction'));
  }

  bind(target: ObjectPlace, nodeName: string, caller: Caller): void {
    const pods = this.#collection('pods');
    bindPod(this.#cluster, pods, existing(pods, target), nodeName, contextOf(caller, 'create', 'binding'));
  }

  // For tests and workloads, which see more than a client does.

  /** The object as it is; undefined when there is none. It is shared: nobody may change it. */
  peek(resource: string, place: ObjectPlace): KubeObject | undefined {
    return this.#collection(resource).get(keyOf(place.namespace, place.name))?.object;
  }

  /** Every object of a resource, in the order of their keys. They are shared: nobody may change them. */
  objects(resource: string): KubeObject[] {
    return this.#collection(resource)
      .list()
      .map(({ object }) => object);
  }

  /**
   * Plays the namespace controller: deletes the content of a namespace, and the namespace itself once it is empty. Call it until
   * it returns true.
   *
   * @returns whether the namespace is gone
   */
  sweepNamespace(name: string, caller: Caller): boolean {
    const context = contextOf(caller, 'delete', '');
    let isEmpty = true;
    for (const collection of this.#cluster.collections) {
      for (const stored of collection.list().filter(({ object }) => object.metadata.namespace === name)) {
        if (deleteObject(this.#cluster, collection, stored, {}, context).state === 'held') isEmpty = false;
      }
    }
    if (!isEmpty) return false;
    const target = { resource: 'namespaces', namespace: undefined, name, subresource: 'finalize' };
    this.#finalize(target, { metadata: { name }, spec: { finalizers: [] } }, caller);
    return this.peek('namespaces', target) === undefined;
  }

  /** Forgets the history up to `version`, the present by default: watches and pages from before get 410. */
  compact(version = this.version): void {
    for (const { history } of this.#cluster.collections) history.compact(version);
  }

  /** Everything that is stored now. Costs nothing: what is stored never changes. */
  backup(): Backup {
    return this.#cluster.backup();
  }

  /**
   * Back to a backup, as when etcd is restored: objects keep the versions that they had, versions are given out again, and open
   * watches bring nothing more. Break the connections of all transports afterwards, as the restart of the server does.
   *
   * @param bumpRevision as `etcdutl snapshot restore --bump-revision N --mark-compacted`: versions continue after that of the
   *   backup and N more, so watches and pages from before get 410
   */
  restore(backup: Backup, { bumpRevision = 0 }: { bumpRevision?: number } = {}): void {
    this.#cluster.restore(backup, backup.version + bumpRevision);
  }

  /** Writes with a `seq` above this one, oldest first, as far as they are kept. */
  journal(sinceSeq = 0): WriteRecord[] {
    return this.#cluster.journal.since(sinceSeq);
  }

  /** Calls `listener` right after each change until the returned function is called. It must not write. */
  subscribe(listener: (record: WriteRecord) => void): () => void {
    return this.#cluster.journal.subscribe(listener);
  }

  #finalize(target: ObjectTarget, body: unknown, caller: Caller): KubeObject {
    const collection = this.#collection('namespaces');
    const before = existing(collection, target);
    const context = contextOf(caller, 'update', 'finalize');
    const finalizers = recordAt(body, 'spec')['finalizers'];
    const spec = { ...recordAt(before.object, 'spec'), finalizers };
    const isReleased = !Array.isArray(finalizers) || finalizers.length === 0;
    if (isReleased && before.object.metadata.deletionTimestamp !== undefined) {
      this.#cluster.remove(collection, before, context);
      return { ...before.object, spec: {} };
    }
    return this.#cluster.put(collection, before.key, { ...before.object, spec }, context).object;
  }

  #existing(target: ObjectTarget): StoredObject {
    return existing(this.#writable(target), target);
  }

  /** @throws StatusError 404 when the kind has no such part */
  #writable({ resource: name, subresource, ...place }: ObjectTarget): Collection {
    const collection = this.#collection(name);
    const isThere = subresource === '' || (subresource === 'status' && collection.resource.hasStatus);
    if (!isThere) throw notFound(collection.resource, place.name);
    return collection;
  }

  /** @param name of a resource that does not exist */
  #isOwnGroup(name: string): boolean {
    const group = name.split('.').slice(1).join('.');
    return [...this.#cluster.collections].some(({ resource }) => resource.isBuiltIn && resource.group === group);
  }

  #collection(name: string): Collection {
    const found = this.#cluster.find(name);
    if (found !== undefined) return found;
    throw this.#isOwnGroup(name) ? noSuchPath() : new PageNotFoundError();
  }
}

function contextOf({ actor, manager = actor, nowMs }: Caller, verb: WriteVerb, subresource: string): WriteContext {
  return { actor, manager, nowMs, verb, subresource };
}
