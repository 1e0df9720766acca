import type { Clock } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';
import { isRecord } from '../util/json.ts';
import { jitter, type Random } from '../util/random.ts';
import type {
  CallOptions,
  DeleteOptions,
  DeleteResult,
  ListOptions,
  ObjectList,
  Patch,
  RequestObservation,
  Verb,
  WatchOptions,
  WriteOptions,
} from './client-types.ts';
import type { KubeConfig } from './config.ts';
import { errorOfStatus, isOutage, isTooManyRequests, KubeApiError, TransportError } from './errors.ts';
import { POD } from './kinds.ts';
import { type ApiTransport, Transport, type TransportOptions, type TransportResponse } from './transport.ts';
import { apiVersionOf, type HasMetadata, keyOf, type ObjectKey, type Resource } from './types.ts';
import { decodeWatch, type WatchEvent } from './watch-decoder.ts';

const PATCH_CONTENT_TYPES: Record<Patch['type'], string> = {
  merge: 'application/merge-patch+json',
  json: 'application/json-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  // JSON is YAML.
  apply: 'application/apply-patch+yaml',
};

export interface KubeClientOptions {
  transport: ApiTransport;
  clock: Clock;
  random: Random;
  onRequest?: (observation: RequestObservation) => void;
}

const DEFAULT_MAX_TRIES = 5;
const FIRST_RETRY_MS = 100;
/** Upper limit for Retry-After; callers have their own back-off. */
const LONGEST_RETRY_MS = 10_000;

/**
 * A typed client for the Kubernetes REST API on plain JSON: fields that the types do not name are kept. Every method throws
 * {@link KubeApiError} when the server refuses, {@link TransportError} when no response came, and the signal's reason
 * when it aborts. Reads are retried with jittered back-off after 429, 5xx and connection failures; writes only when the
 * server certainly did not act (429, connection refused, stream refused).
 */
export class KubeClient {
  readonly #transport: ApiTransport;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #onRequest: ((observation: RequestObservation) => void) | undefined;
  readonly #counts: Record<Verb, number> = { get: 0, list: 0, create: 0, patch: 0, delete: 0, watch: 0 };

  constructor(options: KubeClientOptions) {
    this.#transport = options.transport;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#onRequest = options.onRequest;
  }

  /** Requests sent so far by verb, retries included. */
  get counts(): Readonly<Record<Verb, number>> {
    return { ...this.#counts };
  }

  async get<T extends HasMetadata>(resource: Resource<T>, key: ObjectKey, options: CallOptions = {}): Promise<T> {
    const path = objectPath(resource, key);
    return decode(resource, await this.#call({ verb: 'get', method: 'GET', resource, path, options }));
  }

  /** One page; without `limit` everything at once. */
  async list<T extends HasMetadata>(resource: Resource<T>, options: ListOptions = {}): Promise<ObjectList<T>> {
    const query = queryOf({
      labelSelector: options.labelSelector,
      fieldSelector: options.fieldSelector,
      limit: options.limit,
      continue: options.continueToken,
      resourceVersion: options.resourceVersion,
      resourceVersionMatch: options.resourceVersionMatch,
    });
    const path = collectionPath(resource, options.namespace) + query;
    const answer = await this.#call({ verb: 'list', method: 'GET', resource, path, options });
    const metadata = isRecord(answer) && isRecord(answer['metadata']) ? answer['metadata'] : {};
    const items = isRecord(answer) && Array.isArray(answer['items']) ? answer['items'] : undefined;
    const { resourceVersion, continue: continueToken } = metadata;
    if (items === undefined || typeof resourceVersion !== 'string') {
      throw new TransportError('malformed', `the answer to GET ${path} is not a list`, { sent: true });
    }
    return {
      items: items.map((item) => decode(resource, withType(resource, item))),
      resourceVersion,
      continueToken: typeof continueToken === 'string' && continueToken !== '' ? continueToken : undefined,
    };
  }

  /**
   * Creates the object; namespace and name are taken from its metadata.
   *
   * @throws KubeApiError `isAlreadyExists` when the name is taken
   */
  async create<T extends HasMetadata>(
    resource: Resource<T>,
    object: NoInfer<Omit<T, 'apiVersion' | 'kind'>> & { metadata: ObjectKey },
    options: WriteOptions = {},
  ): Promise<T> {
    const path = collectionPath(resource, object.metadata.namespace) + queryOf({ fieldManager: options.fieldManager });
    const body = { apiVersion: apiVersionOf(resource), kind: resource.kind, ...object };
    return decode(resource, await this.#call({ verb: 'create', method: 'POST', resource, path, body, options }));
  }

  /** Patches the object, or with `subresource: 'status'` its status. Returns the object as it is afterwards. */
  async patch<T extends HasMetadata>(
    resource: Resource<T>,
    key: ObjectKey,
    patch: Patch,
    options: WriteOptions & { subresource?: 'status' | undefined } = {},
  ): Promise<T> {
    const apply = patch.type === 'apply' ? { fieldManager: patch.fieldManager, force: patch.force } : {};
    const subresource = options.subresource ?? '';
    const path =
      objectPath(resource, key) +
      (subresource === '' ? '' : `/${subresource}`) +
      queryOf({ fieldManager: options.fieldManager, ...apply });
    const answer = await this.#call({
      verb: 'patch',
      method: 'PATCH',
      resource,
      subresource,
      path,
      body: patch.body,
      contentType: PATCH_CONTENT_TYPES[patch.type],
      options,
    });
    return decode(resource, answer);
  }

  /** {@link patch} of the status subresource. */
  patchStatus<T extends HasMetadata>(
    resource: Resource<T>,
    key: ObjectKey,
    patch: Patch,
    options: WriteOptions = {},
  ): Promise<T> {
    return this.patch(resource, key, patch, { ...options, subresource: 'status' });
  }

  /**
   * Deletes the object.
   *
   * @throws KubeApiError `isNotFound` when it is gone already; `isConflict` when a precondition does not hold
   */
  async delete<T extends HasMetadata>(
    resource: Resource<T>,
    key: ObjectKey,
    options: DeleteOptions = {},
  ): Promise<DeleteResult<T>> {
    const { preconditions, propagationPolicy, gracePeriodSeconds } = options;
    const body = { kind: 'DeleteOptions', apiVersion: 'v1', preconditions, propagationPolicy, gracePeriodSeconds };
    const path = objectPath(resource, key);
    const answer = await this.#call({ verb: 'delete', method: 'DELETE', resource, path, body, options });
    // The server answers with the object while something holds it, and with a Status or the last state once it is gone.
    if (!isRecord(answer) || answer['kind'] === 'Status' || !isHeld(answer['metadata'])) return { state: 'gone' };
    return { state: 'deleting', object: decode(resource, answer) };
  }

  /**
   * Evicts a pod: the server deletes it, with its grace period, if disruption budgets allow.
   *
   * @throws KubeApiError `isTooManyRequests` when a budget forbids it now, `isNotFound` and `isConflict` when the pod of
   *   that uid is gone
   */
  async evict(pod: ObjectKey, uid: string, options: CallOptions = {}): Promise<void> {
    const body = {
      apiVersion: 'policy/v1',
      kind: 'Eviction',
      metadata: { name: pod.name, namespace: pod.namespace },
      deleteOptions: { preconditions: { uid } },
    };
    const path = `${objectPath(POD, pod)}/eviction`;
    // A budget may forbid it for hours, so do not wait here.
    const once = { maxTries: 1, ...options };
    await this.#call({
      verb: 'create',
      method: 'POST',
      resource: POD,
      subresource: 'eviction',
      path,
      body,
      options: once,
    });
  }

  /**
   * Opens a watch. The events come as an asynchronous iterable, parsed as they arrive; leaving the loop closes the stream.
   * The iteration ends when the server ends the watch, and throws KubeApiError for an ERROR event (`isExpired` when the
   * version is too old), TransportError when the connection breaks or a line is not JSON. Never retried: that is the
   * reflector's task.
   */
  async watch<T extends HasMetadata>(
    resource: Resource<T>,
    options: WatchOptions = {},
  ): Promise<AsyncIterable<WatchEvent<T>>> {
    const query = queryOf({
      watch: true,
      allowWatchBookmarks: true,
      labelSelector: options.labelSelector,
      fieldSelector: options.fieldSelector,
      resourceVersion: options.resourceVersion,
      timeoutSeconds: options.timeoutSeconds,
      ...(options.sendInitialEvents ? { sendInitialEvents: true, resourceVersionMatch: 'NotOlderThan' } : {}),
    });
    const path = collectionPath(resource, options.namespace) + query;
    const startedMs = this.#clock.monotonicMs();
    this.#counts.watch += 1;
    let code = 0;
    try {
      const answer = await this.#transport.openStream({ method: 'GET', path, signal: options.signal });
      code = answer.status;
      if (answer.state === 'refused') throw apiErrorOf(answer, `watch ${resource.plural}`);
      return decodeWatch(answer.chunks, (raw) => decode(resource, raw));
    } finally {
      this.#observe('watch', resource, '', code, startedMs);
    }
  }

  /**
   * A GET of any path, such as `/version`.
   *
   * @returns the parsed JSON
   */
  async getPath(path: string, options: CallOptions = {}): Promise<unknown> {
    const resource = { group: '', plural: path };
    return this.#call({ verb: 'get', method: 'GET', resource, path, options });
  }

  /** Closes the connections; running requests fail with `closed`. */
  close(): void {
    this.#transport.close();
  }

  async #call(call: Call): Promise<unknown> {
    const { signal, maxTries = DEFAULT_MAX_TRIES } = call.options;
    const body = call.body === undefined ? undefined : JSON.stringify(call.body);
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#try(call, body);
      } catch (error) {
        if (signal?.aborted || attempt >= maxTries || !isRepeatable(error, call.method)) throw error;
        const backOffMs = jitter(this.#random, FIRST_RETRY_MS * 2 ** (attempt - 1), 0.5);
        const askedMs = error instanceof KubeApiError ? (error.retryAfterMs ?? 0) : 0;
        // Add jitter on top of Retry-After, or all clients come back at the same instant.
        const delayMs = Math.max(backOffMs, askedMs === 0 ? 0 : askedMs + backOffMs);
        await this.#clock.sleep(Math.min(delayMs, LONGEST_RETRY_MS), signal);
      }
    }
  }

  async #try(call: Call, body: string | undefined): Promise<unknown> {
    const { resource, verb, subresource = '', method, path, contentType = 'application/json' } = call;
    const { signal, priority, timeoutMs } = call.options;
    const startedMs = this.#clock.monotonicMs();
    this.#counts[verb] += 1;
    let code = 0;
    try {
      const request = { method, path, body, contentType, signal, priority, timeoutMs };
      const response = await this.#transport.request(request);
      code = response.status;
      if (code >= 200 && code < 300) return parseBody(response, `${method} ${path}`);
      throw apiErrorOf(response, `${verb} ${resource.plural}`);
    } finally {
      this.#observe(verb, resource, subresource, code, startedMs);
    }
  }

  #observe(verb: Verb, target: CallTarget, subresource: string, code: number, startedMs: number): void {
    const durationMs = this.#clock.monotonicMs() - startedMs;
    this.#onRequest?.({ verb, group: target.group, resource: target.plural, subresource, code, durationMs });
  }
}

type CallTarget = Pick<Resource<HasMetadata>, 'group' | 'plural'>;

interface Call {
  verb: Verb;
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  resource: CallTarget;
  subresource?: string;
  path: string;
  body?: unknown;
  contentType?: string;
  options: CallOptions;
}

export interface ConnectOptions extends Omit<TransportOptions, 'config'>, Omit<KubeClientOptions, 'transport'> {}

/** A client for the cluster in `config`. It connects on the first request, so creating it neither waits nor fails. */
export function connectKube(config: KubeConfig, options: ConnectOptions): KubeClient {
  return new KubeClient({ ...options, transport: new Transport({ ...options, config }) });
}

function isRepeatable(error: unknown, method: Call['method']): boolean {
  if (!isOutage(error)) return false;
  return method === 'GET' || isTooManyRequests(error) || (error instanceof TransportError && !error.sent);
}

function isHeld(metadata: unknown): boolean {
  if (!isRecord(metadata) || metadata['deletionTimestamp'] === undefined) return false;
  const { finalizers, deletionGracePeriodSeconds: graceSeconds } = metadata;
  return (Array.isArray(finalizers) && finalizers.length > 0) || (typeof graceSeconds === 'number' && graceSeconds > 0);
}

/** The trust boundary: a descriptor without `parse` relies on the server's own schema. */
export function decode<T extends HasMetadata>(resource: Resource<T>, raw: unknown): T {
  return resource.parse === undefined ? (raw as T) : resource.parse(raw);
}

/** Items of built-in kinds come without apiVersion and kind in lists, but with them in watches. */
function withType(resource: Resource<HasMetadata>, item: unknown): unknown {
  if (!isRecord(item) || item['kind'] !== undefined) return item;
  return { apiVersion: apiVersionOf(resource), kind: resource.kind, ...item };
}

function collectionPath(resource: Resource<HasMetadata>, namespace: string | undefined): string {
  const root = resource.group === '' ? `/api/${resource.version}` : `/apis/${resource.group}/${resource.version}`;
  const scope = resource.namespaced && namespace ? `/namespaces/${encodeURIComponent(namespace)}` : '';
  return `${root}${scope}/${resource.plural}`;
}

function objectPath(resource: Resource<HasMetadata>, key: ObjectKey): string {
  // An empty name or namespace would address the collection: a DELETE would then delete everything in it.
  if (key.name === '' || (resource.namespaced && !key.namespace)) {
    throw new Error(`incomplete key '${keyOf(key)}' for ${resource.plural}`);
  }
  return `${collectionPath(resource, key.namespace)}/${encodeURIComponent(key.name)}`;
}

function queryOf(parameters: Record<string, string | number | boolean | undefined>): string {
  let query = '';
  for (const [name, value] of Object.entries(parameters)) {
    if (value === undefined) continue;
    query += `${query === '' ? '?' : '&'}${name}=${encodeURIComponent(value)}`;
  }
  return query;
}

function parseBody(response: TransportResponse, what: string): unknown {
  try {
    return JSON.parse(response.body);
  } catch (cause) {
    throw new TransportError('malformed', `the answer to ${what} is not JSON`, { sent: true, cause });
  }
}

function apiErrorOf(response: TransportResponse, what: string): KubeApiError {
  let status: unknown;
  try {
    status = JSON.parse(response.body);
  } catch (error) {
    // Proxies and load balancers do not answer with a Status.
    status = { message: response.body.trim().slice(0, 200) || errorMessage(error) };
  }
  const retryAfterMs = Number(response.retryAfter ?? 0) * 1000;
  return errorOfStatus(status, { code: response.status, prefix: `${what}: `, retryAfterMs });
}
