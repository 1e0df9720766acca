import { once } from 'node:events';
import { createServer, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { applyMergePatch, isRecord } from '../../util/json.ts';
import type { KubeConfig } from '../config.ts';

/** A plain object as the server stores it. */
export interface Stored {
  metadata: {
    name: string;
    namespace?: string;
    uid: string;
    resourceVersion: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    deletionTimestamp?: string;
    finalizers?: string[];
  };
  [field: string]: unknown;
}

export interface Received {
  method: string;
  path: string;
  query: URLSearchParams;
  headers: Record<string, unknown>;
  body: unknown;
}

/** Answers a request instead of the server; undefined lets the server answer. */
export type Intercept = (request: Received, stream: ServerHttp2Stream) => Answer | 'handled' | undefined;

interface Answer {
  status: number;
  body: unknown;
  headers?: Record<string, string>;
}

interface Watcher {
  stream: ServerHttp2Stream;
  collection: string;
}

/**
 * A small API server over real HTTP/2 sockets for the tests of this layer: one flat version counter, collections by path,
 * lists in pages, watches with initial events, merge patches with optimistic locks. The real server is what integration
 * tests use; this one can misbehave on demand.
 */
export class TestApiServer {
  readonly requests: Received[] = [];
  readonly watchers = new Set<Watcher>();
  readonly sessions = new Set<ServerHttp2Session>();
  /** Versions up to this one are compacted: a watch from there gets 410. */
  compactedBefore = 0;
  supportsWatchList = true;
  intercept: Intercept | undefined;
  #server: Http2Server | undefined;
  #port = 0;
  #version = 100;
  #uids = 0;
  readonly #objects = new Map<string, Stored>();
  readonly #history: { version: number; collection: string; line: string }[] = [];

  async start(): Promise<void> {
    const server = createServer({ settings: { maxConcurrentStreams: this.maxConcurrentStreams } });
    server.on('session', (session) => {
      this.sessions.add(session);
      session.on('close', () => this.sessions.delete(session)).on('error', () => {});
    });
    server.on('stream', (stream, headers) => {
      stream.on('error', () => {});
      void this.#serve(stream, headers);
    });
    server.listen(this.#port, '127.0.0.1');
    await once(server, 'listening');
    this.#port = addressOf(server).port;
    this.#server = server;
  }

  maxConcurrentStreams = 250;

  /** Stops like a killed process; {@link start} comes back on the same port with the same objects. */
  async stop(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    for (const session of this.sessions) session.destroy();
    server.close();
    await once(server, 'close');
  }

  get port(): number {
    return this.#port;
  }

  get version(): number {
    return this.#version;
  }

  configFor(port = this.#port): KubeConfig {
    return {
      serverUrl: `http://127.0.0.1:${port}`,
      namespace: 'default',
      headers: {},
      auth: () => Promise.resolve('Bearer test'),
      tls: () => Promise.resolve({}),
    };
  }

  /** Creates or replaces an object without a request. `collection` such as `/api/v1/pods`. */
  put(collection: string, namespace: string | undefined, name: string, fields: Record<string, unknown> = {}): Stored {
    const key = keyFor(collection, namespace, name);
    const previous = this.#objects.get(key);
    const object: Stored = {
      ...fields,
      metadata: {
        ...(isRecord(fields['metadata']) ? fields['metadata'] : {}),
        name,
        ...(namespace === undefined ? {} : { namespace }),
        uid: previous?.metadata.uid ?? `uid-${++this.#uids}`,
        resourceVersion: String(++this.#version),
      },
    };
    this.#objects.set(key, object);
    this.#publish(collection, previous === undefined ? 'ADDED' : 'MODIFIED', object);
    return object;
  }

  remove(collection: string, namespace: string | undefined, name: string): void {
    const key = keyFor(collection, namespace, name);
    const object = this.#objects.get(key);
    if (object === undefined) return;
    this.#objects.delete(key);
    const last = { ...object, metadata: { ...object.metadata, resourceVersion: String(++this.#version) } };
    this.#publish(collection, 'DELETED', last);
  }

  read(collection: string, namespace: string | undefined, name: string): Stored | undefined {
    return this.#objects.get(keyFor(collection, namespace, name));
  }

  /** Goes back to an earlier state, as when etcd is restored from a backup; watches break. */
  rewind(version: number, keep: (object: Stored) => boolean): void {
    this.#version = version;
    this.#history.length = 0;
    for (const [key, object] of this.#objects) {
      if (!keep(object)) this.#objects.delete(key);
      else if (Number(object.metadata.resourceVersion) > version) object.metadata.resourceVersion = String(version);
    }
    this.cutWatches();
  }

  bookmark(version = this.#version): void {
    const object = { metadata: { resourceVersion: String(version) } };
    for (const { stream } of this.watchers) stream.write(`${JSON.stringify({ type: 'BOOKMARK', object })}\n`);
  }

  sendLine(line: string): void {
    for (const { stream } of this.watchers) stream.write(`${line}\n`);
  }

  cutWatches(): void {
    for (const { stream } of this.watchers) stream.end();
  }

  requestsOf(verb: 'list' | 'watch'): Received[] {
    return this.requests.filter((r) => r.method === 'GET' && r.query.has('watch') === (verb === 'watch'));
  }

  async #serve(stream: ServerHttp2Stream, headers: Record<string, unknown>): Promise<void> {
    const url = new URL(String(headers[':path']), 'http://server');
    let text = '';
    stream.setEncoding('utf8');
    for await (const chunk of stream) text += String(chunk);
    const request: Received = {
      method: String(headers[':method']),
      path: url.pathname,
      query: url.searchParams,
      headers,
      body: text === '' ? undefined : JSON.parse(text),
    };
    this.requests.push(request);
    if (stream.destroyed) return;
    const answer = this.intercept?.(request, stream) ?? this.#answer(request, stream);
    if (answer === 'handled' || stream.destroyed) return;
    stream.respond({ ':status': answer.status, 'content-type': 'application/json', ...answer.headers });
    stream.end(JSON.stringify(answer.body));
  }

  #answer(request: Received, stream: ServerHttp2Stream): Answer | 'handled' {
    const { collection, namespace, name } = parsePath(request.path);
    if (request.query.get('watch') === 'true') return this.#watch(request, stream, collection);
    switch (request.method) {
      case 'GET':
        if (name === undefined) return this.#list(request, collection, namespace);
        return this.#found(collection, namespace, name, (object) => ({ status: 200, body: object }));
      case 'POST': {
        const fields = isRecord(request.body) ? request.body : {};
        const metadata = isRecord(fields['metadata']) ? fields['metadata'] : {};
        const newName = String(metadata['name']);
        if (this.read(collection, namespace, newName)) return failure(409, 'AlreadyExists', `${newName} exists`);
        return { status: 201, body: this.put(collection, namespace, newName, fields) };
      }
      case 'PATCH':
        return this.#found(collection, namespace, name ?? '', (object) => {
          const patch = isRecord(request.body) ? request.body : {};
          const wanted = isRecord(patch['metadata']) ? patch['metadata']['resourceVersion'] : undefined;
          if (wanted !== undefined && wanted !== object.metadata.resourceVersion) {
            return failure(409, 'Conflict', 'the object has been modified');
          }
          const merged = applyMergePatch(object, patch);
          return { status: 200, body: this.put(collection, namespace, name ?? '', isRecord(merged) ? merged : {}) };
        });
      case 'DELETE':
        return this.#found(collection, namespace, name ?? '', (object) => {
          if ((object.metadata.finalizers ?? []).length > 0) {
            const metadata = { ...object.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' };
            return { status: 200, body: this.put(collection, namespace, name ?? '', { ...object, metadata }) };
          }
          this.remove(collection, namespace, name ?? '');
          return { status: 200, body: { kind: 'Status', status: 'Success', details: { uid: object.metadata.uid } } };
        });
      default:
        return failure(405, 'MethodNotAllowed', request.method);
    }
  }

  #found(collection: string, namespace: string | undefined, name: string, answer: (object: Stored) => Answer): Answer {
    const object = this.read(collection, namespace, name);
    return object === undefined ? failure(404, 'NotFound', `${name} not found`) : answer(object);
  }

  #list(request: Received, collection: string, namespace: string | undefined): Answer {
    const all = this.#members(collection, namespace);
    const limit = Number(request.query.get('limit') ?? 0) || all.length;
    const [version = String(this.#version), offset = '0'] = (request.query.get('continue') ?? '')
      .split(':')
      .filter(Boolean);
    if (Number(version) < this.compactedBefore) return failure(410, 'Expired', 'the continue token is too old');
    const end = Number(offset) + limit;
    const metadata = { resourceVersion: version, ...(end < all.length ? { continue: `${version}:${end}` } : {}) };
    return { status: 200, body: { kind: 'List', metadata, items: all.slice(Number(offset), end) } };
  }

  #watch(request: Received, stream: ServerHttp2Stream, collection: string): Answer | 'handled' {
    const from = request.query.get('resourceVersion');
    const isWatchList = request.query.get('sendInitialEvents') === 'true';
    if (isWatchList && !this.supportsWatchList) {
      return failure(
        422,
        'Invalid',
        'sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled',
      );
    }
    stream.respond({ ':status': 200, 'content-type': 'application/json' });
    if (isWatchList) {
      for (const object of this.#members(collection, undefined)) stream.write(lineOf('ADDED', object));
      const annotations = { 'k8s.io/initial-events-end': 'true' };
      stream.write(lineOf('BOOKMARK', { metadata: { resourceVersion: String(this.#version), annotations } }));
    } else if (Number(from) < this.compactedBefore) {
      stream.end(lineOf('ERROR', statusOf(410, 'Expired', 'too old resource version')));
      return 'handled';
    } else {
      for (const past of this.#history) {
        if (past.collection === collection && past.version > Number(from)) stream.write(past.line);
      }
    }
    const watcher = { stream, collection };
    this.watchers.add(watcher);
    stream.on('close', () => this.watchers.delete(watcher));
    return 'handled';
  }

  #members(collection: string, namespace: string | undefined): Stored[] {
    return [...this.#objects]
      .filter(([key]) => key.startsWith(`${collection}|${namespace === undefined ? '' : `${namespace}|`}`))
      .map(([, object]) => object);
  }

  #publish(collection: string, type: string, object: Stored): void {
    const line = lineOf(type, object);
    this.#history.push({ version: this.#version, collection, line });
    for (const watcher of this.watchers) if (watcher.collection === collection) watcher.stream.write(line);
  }
}

/** An error response in the form of the API server. */
export function failure(code: number, reason: string, message: string, headers: Record<string, string> = {}): Answer {
  return { status: code, body: statusOf(code, reason, message), headers };
}

function statusOf(code: number, reason: string, message: string): Record<string, unknown> {
  return { kind: 'Status', status: 'Failure', code, reason, message };
}

function lineOf(type: string, object: unknown): string {
  return `${JSON.stringify({ type, object })}\n`;
}

function keyFor(collection: string, namespace: string | undefined, name: string): string {
  return `${collection}|${namespace ?? ''}|${name}`;
}

/** `/api/v1/namespaces/ns/pods/name/status` → the collection without the namespace, and the rest. */
function parsePath(path: string): { collection: string; namespace: string | undefined; name: string | undefined } {
  const parts = path.split('/');
  const rootLength = parts[1] === 'api' ? 3 : 4;
  const root = parts.slice(0, rootLength).join('/');
  const rest = parts.slice(rootLength);
  const namespace = rest[0] === 'namespaces' && rest.length > 2 ? rest[1] : undefined;
  const [plural = '', name] = namespace === undefined ? rest : rest.slice(2);
  return { collection: `${root}/${plural}`, namespace, name };
}

function addressOf(server: Http2Server): AddressInfo {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no TCP address');
  return address;
}
