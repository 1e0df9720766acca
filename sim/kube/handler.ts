import { isRecord } from '../../src/util/json.ts';
import { APPLY } from './model/apply.ts';
import { type DeletionOptions, PROPAGATION_POLICIES, type PropagationPolicy } from './model/deletion.ts';
import {
  badRequest,
  invalid,
  methodNotAllowed,
  noSuchPath,
  PageNotFoundError,
  qualifiedName,
  StatusError,
  unsupportedMediaType,
} from './model/errors.ts';
import type { Caller, KubeModel, ObjectTarget, Target } from './model/model.ts';
import { recordAt, stringAt } from './model/objects.ts';
import { PATCH_TYPES, STRATEGIC } from './model/patches.ts';
import type { OpenWatch, WatchLine, WatchQuery } from './model/watches.ts';
import { parsePath } from './route.ts';

/** A request as it came over the wire. */
export interface ServerRequest {
  method: string;
  /** With query. */
  path: string;
  body: string | undefined;
  contentType: string | undefined;
}

export interface ServerAnswer {
  status: number;
  /** In seconds. */
  retryAfter: string | undefined;
  body: string;
}

/** What a request is about, before it is carried out. */
export interface ParsedRequest {
  verb: ServerVerb;
  /** As `podenis.network.alibabacloud.com`, `pods`. */
  resource: string;
  namespace: string | undefined;
  /** Undefined for the collection. */
  name: string | undefined;
  subresource: string;
  query: URLSearchParams;
}

export type ServerVerb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete' | 'deletecollection';

/** @throws StatusError for a method or path that the server does not have */
export function parseRequest({ method, path }: Pick<ServerRequest, 'method' | 'path'>): ParsedRequest {
  const [pathname = '', search = ''] = path.split('?', 2);
  const query = new URLSearchParams(search);
  const { namespace, name, subresource, ...kind } = parsePath(pathname);
  const verb = verbOf(method, name, query);
  return { verb, resource: qualifiedName(kind), namespace, name, subresource, query };
}

function verbOf(method: string, name: string | undefined, query: URLSearchParams): ServerVerb {
  switch (method) {
    case 'GET':
      if (name !== undefined) return 'get';
      return isTrue(query.get('watch')) ? 'watch' : 'list';
    case 'POST':
      return 'create';
    case 'PUT':
      return 'update';
    case 'PATCH':
      return 'patch';
    case 'DELETE':
      return name === undefined ? 'deletecollection' : 'delete';
    default:
      throw methodNotAllowed();
  }
}

/** Carries out anything but a watch. Never throws for what the server refuses. */
export function answer(model: KubeModel, request: ServerRequest, caller: Caller): ServerAnswer {
  try {
    const parsed = parseRequest(request);
    const named = parsed.query.get('fieldManager') ?? '';
    const manager = named === '' ? caller.manager : named;
    return carryOut(model, request, parsed, { ...caller, manager });
  } catch (error) {
    if (error instanceof StatusError) return refusal(error);
    throw error;
  }
}

export function refusal(error: StatusError): ServerAnswer {
  if (error instanceof PageNotFoundError) return { status: 404, retryAfter: undefined, body: `${error.message}\n` };
  const seconds = error.details?.retryAfterSeconds;
  const retryAfter = seconds === undefined ? undefined : String(seconds);
  return { status: error.code, retryAfter, body: JSON.stringify(error.status) };
}

/**
 * Opens a watch.
 *
 * @throws StatusError when the server refuses it
 */
export function openServerWatch(
  model: KubeModel,
  parsed: ParsedRequest,
  deliver: (line: WatchLine) => void,
): OpenWatch {
  const { query } = parsed;
  const sendInitialEvents = query.get('sendInitialEvents');
  const watchQuery: Omit<WatchQuery, 'namespace'> = {
    ...selectionOf(query),
    resourceVersion: query.get('resourceVersion') ?? undefined,
    resourceVersionMatch: query.get('resourceVersionMatch') ?? undefined,
    sendInitialEvents: sendInitialEvents === null ? undefined : isTrue(sendInitialEvents),
    allowBookmarks: isTrue(query.get('allowWatchBookmarks')),
  };
  return model.watch(collectionTarget(model, parsed), watchQuery, deliver);
}

function carryOut(model: KubeModel, request: ServerRequest, parsed: ParsedRequest, caller: Caller): ServerAnswer {
  const { query, verb } = parsed;
  switch (verb) {
    case 'get':
      return ok(model.get(objectTarget(model, parsed), query.get('resourceVersion') ?? ''));
    case 'list':
      return ok(
        model.list(collectionTarget(model, parsed), {
          ...selectionOf(query),
          limit: limitOf(query.get('limit')),
          continueToken: query.get('continue') ?? undefined,
          resourceVersion: query.get('resourceVersion') ?? undefined,
          resourceVersionMatch: query.get('resourceVersionMatch') ?? undefined,
        }),
      );
    case 'watch':
      throw badRequest('a watch is a stream');
    case 'create':
      return created(model, request, parsed, caller);
    case 'update':
      return ok(JSON.stringify(model.update(objectTarget(model, parsed), bodyOf(request), caller)));
    case 'patch': {
      if (parsed.name === undefined) throw methodNotAllowed();
      const target = objectTarget(model, parsed);
      const { contentType = '' } = request;
      const { isBuiltIn } = model.resource(target.resource);
      if (contentType.startsWith(APPLY) && !isBuiltIn) {
        // Nobody applies by the name of a client.
        const manager = query.get('fieldManager') ?? '';
        const applied = model.apply(target, bodyOf(request), isTrue(query.get('force')), { ...caller, manager });
        return { ...ok(JSON.stringify(applied.object)), status: applied.isCreated ? 201 : 200 };
      }
      // The patch type is checked before the patch itself.
      const types = isBuiltIn ? [...PATCH_TYPES, STRATEGIC] : PATCH_TYPES;
      if (!types.some((type) => contentType.startsWith(type))) throw unsupportedMediaType();
      return ok(JSON.stringify(model.patch(target, contentType, bodyOf(request), caller)));
    }
    case 'delete':
      return deleted(model, request, parsed, caller);
    case 'deletecollection':
      return ok(
        model.deleteCollection(
          collectionTarget(model, parsed),
          selectionOf(query),
          deletionOptions(request, query),
          caller,
        ),
      );
  }
}

function created(model: KubeModel, request: ServerRequest, parsed: ParsedRequest, caller: Caller): ServerAnswer {
  const { namespace, name, subresource } = parsed;
  if (name === undefined) {
    const object = model.create(collectionTarget(model, parsed, true), bodyOf(request), caller);
    return { status: 201, retryAfter: undefined, body: JSON.stringify(object) };
  }
  const body = bodyOf(request);
  if (parsed.resource === 'pods' && subresource === 'eviction') {
    model.evict({ namespace, name }, optionsOf(recordAt(body, 'deleteOptions')), caller);
  } else if (parsed.resource === 'pods' && subresource === 'binding') {
    model.bind({ namespace, name }, stringAt(recordAt(body, 'target'), 'name') ?? '', caller);
  } else {
    throw methodNotAllowed();
  }
  return { status: 201, retryAfter: undefined, body: JSON.stringify({ ...success(), code: 201 }) };
}

function deleted(model: KubeModel, request: ServerRequest, parsed: ParsedRequest, caller: Caller): ServerAnswer {
  const target = objectTarget(model, parsed);
  const { state, object } = model.delete(target, deletionOptions(request, parsed.query), caller);
  // The response is the last state for pods, and a Success status for everything else.
  if (state === 'held' || parsed.resource === 'pods') return ok(JSON.stringify(object));
  const { group, plural } = model.resource(parsed.resource);
  const { name, uid } = object.metadata;
  return ok(JSON.stringify({ ...success(), details: { name, ...(group === '' ? {} : { group }), kind: plural, uid } }));
}

function ok(body: string): ServerAnswer {
  return { status: 200, retryAfter: undefined, body };
}

function success(): Record<string, unknown> {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success' };
}

/** @throws StatusError when the model has no such kind, or the path leaves out the namespace that it needs */
function collectionTarget(model: KubeModel, parsed: ParsedRequest, isWrite = false): Target {
  const { namespaced } = model.resource(parsed.resource);
  if (namespaced && parsed.namespace === undefined && isWrite) throw methodNotAllowed();
  if (!namespaced && parsed.namespace !== undefined) throw noSuchPath();
  return { resource: parsed.resource, namespace: parsed.namespace };
}

function objectTarget(model: KubeModel, parsed: ParsedRequest): ObjectTarget {
  const { namespaced } = model.resource(parsed.resource);
  const { resource, namespace, name, subresource } = parsed;
  if (name === undefined) throw methodNotAllowed();
  if (namespaced !== (namespace !== undefined)) throw noSuchPath();
  return { resource, namespace, name, subresource };
}

function selectionOf(query: URLSearchParams): { labelSelector: string | undefined; fieldSelector: string | undefined } {
  return {
    labelSelector: query.get('labelSelector') ?? undefined,
    fieldSelector: query.get('fieldSelector') ?? undefined,
  };
}

function deletionOptions({ body }: ServerRequest, query: URLSearchParams): DeletionOptions {
  const options = body === undefined || body === '' ? {} : optionsOf(parseJson(body));
  const seconds = query.get('gracePeriodSeconds');
  return seconds === null ? options : { ...options, gracePeriodSeconds: Number(seconds) };
}

function optionsOf(body: unknown): DeletionOptions {
  const preconditions = recordAt(body, 'preconditions');
  const seconds = isRecord(body) ? body['gracePeriodSeconds'] : undefined;
  return {
    uid: stringAt(preconditions, 'uid'),
    resourceVersion: stringAt(preconditions, 'resourceVersion'),
    gracePeriodSeconds: typeof seconds === 'number' ? seconds : undefined,
    propagationPolicy: policyOf(stringAt(body, 'propagationPolicy')),
  };
}

/** @throws StatusError 422 */
function policyOf(text: string | undefined): PropagationPolicy | undefined {
  const policy = PROPAGATION_POLICIES.find((known) => known === text);
  if (text === undefined || policy !== undefined) return policy;
  const supported = PROPAGATION_POLICIES.map((known) => JSON.stringify(known)).join(', ');
  const message = `Unsupported value: ${JSON.stringify(text)}: supported values: ${supported}`;
  const cause = { reason: 'FieldValueNotSupported', message, field: 'propagationPolicy' };
  throw invalid({ group: 'meta.k8s.io', kind: 'DeleteOptions' }, '', [cause]);
}

function bodyOf({ body }: ServerRequest): unknown {
  return parseJson(body ?? '');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw badRequest(`the body is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function limitOf(text: string | null): number {
  if (text === null || text === '') return 0;
  if (!/^-?\d{1,15}$/.test(text)) throw badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
  return Number(text);
}

function isTrue(text: string | null): boolean {
  return text === 'true' || text === '1';
}
