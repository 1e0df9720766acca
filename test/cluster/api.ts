import type { IncomingMessage } from 'node:http';
import { Agent, request as httpsRequest } from 'node:https';
import * as z from 'zod';
import { parseJson } from '../../tools/machine/lock.ts';
import { pause } from '../../tools/machine/poll.ts';
import { ApiStatusError } from './errors.ts';
import { type ClientCredentials, readKubeconfig } from './kubeconfig.ts';

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface RequestOptions {
  query?: Query;
  /** Sent as JSON. */
  body?: unknown;
  /** Default: `application/json`. */
  contentType?: string;
  signal?: AbortSignal | undefined;
}

/** Type of a PATCH body. */
export type PatchType = 'merge' | 'strategic-merge' | 'json' | 'apply';

const PATCH_CONTENT_TYPE: Record<PatchType, string> = {
  merge: 'application/merge-patch+json',
  'strategic-merge': 'application/strategic-merge-patch+json',
  json: 'application/json-patch+json',
  apply: 'application/apply-patch+yaml',
};

const statusSchema = z.object({ reason: z.string().optional(), message: z.string().optional() });

export const listSchema = z.object({
  metadata: z.object({ resourceVersion: z.string().optional(), continue: z.string().optional() }),
  items: z.array(z.unknown()).nullish(),
});

/**
 * A small client of the API server, for tests and benchmarks.
 *
 * It shares no code with the product's client, so that tests do not check that client with itself. Paths are those of the API
 * (`/api/v1/namespaces/default/pods`); responses are `unknown` until the caller parses them. A request that gets a 429 with
 * Retry-After is retried.
 */
export class ApiClient {
  readonly serverUrl: string;
  readonly #agent: Agent;
  readonly #streamAgent: Agent;
  readonly #headers: Readonly<Record<string, string>>;

  /** @param options.maxConnections how many requests may be in flight at once; others wait. Watches do not count. */
  constructor(credentials: ClientCredentials, options: { maxConnections?: number } = {}) {
    const { identity } = credentials;
    this.serverUrl = credentials.serverUrl;
    const tls = {
      ca: credentials.authorityPem,
      ...(identity.kind === 'certificate' ? { cert: identity.certificatePem, key: identity.privateKeyPem } : {}),
    };
    this.#agent = new Agent({ ...tls, keepAlive: true, maxSockets: options.maxConnections ?? 8 });
    this.#streamAgent = new Agent(tls);
    this.#headers = identity.kind === 'token' ? { authorization: `Bearer ${identity.token}` } : {};
  }

  /** A client for a kubeconfig that the test cluster wrote. @throws TestClusterError when it cannot be read. */
  static async fromKubeconfig(path: string, options: { maxConnections?: number } = {}): Promise<ApiClient> {
    return new ApiClient(await readKubeconfig(path), options);
  }

  get(path: string, options: Omit<RequestOptions, 'body' | 'contentType'> = {}): Promise<unknown> {
    return this.request('GET', path, options);
  }

  /** Like {@link get}, but returns undefined for a missing object. */
  async find(path: string, options: Omit<RequestOptions, 'body' | 'contentType'> = {}): Promise<unknown> {
    try {
      return await this.get(path, options);
    } catch (error) {
      if (error instanceof ApiStatusError && error.status === 404) return undefined;
      throw error;
    }
  }

  /** POST. `path` is that of the collection. */
  create(path: string, body: unknown, options: Omit<RequestOptions, 'body' | 'contentType'> = {}): Promise<unknown> {
    return this.request('POST', path, { ...options, body });
  }

  /** PUT. `body` must have the resourceVersion that it replaces. */
  replace(path: string, body: unknown, options: Omit<RequestOptions, 'body' | 'contentType'> = {}): Promise<unknown> {
    return this.request('PUT', path, { ...options, body });
  }

  /** PATCH. Type `apply` needs `fieldManager` in the query. */
  patch(
    path: string,
    type: PatchType,
    body: unknown,
    options: Omit<RequestOptions, 'body' | 'contentType'> = {},
  ): Promise<unknown> {
    return this.request('PATCH', path, { ...options, body, contentType: PATCH_CONTENT_TYPE[type] });
  }

  /** DELETE. `body` holds DeleteOptions. */
  delete(path: string, options: Omit<RequestOptions, 'contentType'> = {}): Promise<unknown> {
    return this.request('DELETE', path, options);
  }

  /** All objects of a collection, and the resourceVersion of the list. */
  async list(path: string, options: Omit<RequestOptions, 'body' | 'contentType'> = {}): Promise<ListResult> {
    const list = listSchema.parse(await this.request('GET', path, options));
    return { objects: list.items ?? [], resourceVersion: list.metadata.resourceVersion ?? '' };
  }

  /**
   * One request with a JSON response.
   *
   * @throws ApiStatusError for any response but 2xx; Node's own errors when there is no response; the signal's reason.
   */
  async request(method: string, path: string, options: RequestOptions = {}): Promise<unknown> {
    const text = await this.requestText(method, path, options);
    return text === '' ? undefined : parseJson(text);
  }

  /** Like {@link request}, for responses that are not JSON, such as `/metrics` and `/readyz?verbose`. */
  async requestText(method: string, path: string, options: RequestOptions = {}): Promise<string> {
    for (let attempt = 1; ; attempt++) {
      const response = await this.open(method, path, options, this.#agent);
      const text = await readAll(response, options.signal);
      const status = response.statusCode ?? 0;
      if (status >= 200 && status < 300) return text;
      const error = statusError(`${method} ${path}`, response, text);
      if (status !== 429 || error.retryAfterMs === undefined || attempt >= 5) throw error;
      await pause(error.retryAfterMs, options.signal);
    }
  }

  /**
   * Sends a request with an unbounded response, on a connection of its own.
   *
   * @returns the response after its headers have arrived. The signal also ends it later.
   * @throws ApiStatusError for any response but 2xx.
   */
  async stream(path: string, options: { query?: Query; signal: AbortSignal }): Promise<IncomingMessage> {
    const response = await this.open('GET', path, options, this.#streamAgent);
    const status = response.statusCode ?? 0;
    if (status >= 200 && status < 300) return response;
    throw statusError(`GET ${path}`, response, await readAll(response, options.signal));
  }

  /** Closes idle connections now, and others after their requests. */
  close(): void {
    this.#agent.destroy();
    this.#streamAgent.destroy();
  }

  private open(method: string, path: string, options: RequestOptions, agent: Agent): Promise<IncomingMessage> {
    const url = new URL(path, this.serverUrl);
    for (const [name, value] of Object.entries(options.query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    const body = options.body === undefined ? undefined : Buffer.from(JSON.stringify(options.body));
    const headers: Record<string, string | number> = { ...this.#headers, accept: 'application/json, text/plain' };
    if (body) {
      headers['content-type'] = options.contentType ?? 'application/json';
      headers['content-length'] = body.length;
    }
    return new Promise((resolve, reject) => {
      if (options.signal?.aborted) {
        reject(options.signal.reason);
        return;
      }
      const outgoing = httpsRequest(url, {
        method,
        agent,
        headers,
        ...(options.signal ? { signal: options.signal } : {}),
      });
      outgoing.once('response', resolve);
      outgoing.once('error', (error) => reject(options.signal?.aborted ? options.signal.reason : error));
      outgoing.end(body);
    });
  }
}

export interface ListResult {
  objects: unknown[];
  resourceVersion: string;
}

async function readAll(response: IncomingMessage, signal: AbortSignal | undefined): Promise<string> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of response) if (Buffer.isBuffer(chunk)) chunks.push(chunk);
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
  return Buffer.concat(chunks).toString('utf8');
}

function statusError(what: string, response: IncomingMessage, text: string): ApiStatusError {
  const status = statusSchema.safeParse(parseJson(text));
  const retryAfterSeconds = Number(response.headers['retry-after']);
  return new ApiStatusError(
    what,
    response.statusCode ?? 0,
    status.success ? (status.data.reason ?? '') : '',
    status.success ? (status.data.message ?? '') : text.slice(0, 200),
    Number.isFinite(retryAfterSeconds) ? retryAfterSeconds * 1000 : undefined,
  );
}
