import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../../../src/util/clock.ts';
import { instanceAt, instanceMetadata, type MetadataFolder } from '../model/metadata.ts';
import type { CloudModel } from '../model/model.ts';
import { header } from './signature.ts';

/** `latest` may change, the other stays as it is. They are the same here. */
const VERSIONS: readonly string[] = ['2016-01-01', 'latest'];
const LONGEST_TTL_S = 21_600;

interface Answer {
  status: number;
  body: string;
}

const BAD_REQUEST = { status: 400, body: '400 - Missing or Invalid Parameters' };
const UNAUTHORIZED = { status: 401, body: '401 - Unauthorized' };
const FORBIDDEN = { status: 403, body: '403 - Forbidden' };
const NOT_FOUND = { status: 404, body: '404 - Not Found' };
const NOT_ALLOWED = { status: 405, body: '405 - Method Not Allowed' };

export interface MetadataHandlerOptions {
  model: CloudModel;
  clock: Clock;
}

/**
 * The instance metadata service, in normal mode and with tokens. The address of the client says which instance asks; who is none gets a
 * 404. Never rejects.
 */
export function metadataHandler({
  model,
  clock,
}: MetadataHandlerOptions): (request: IncomingMessage, response: ServerResponse, client: string) => Promise<void> {
  const tokens = new Tokens();
  const answerTo = (request: IncomingMessage, client: string): Answer => {
    const nowMs = clock.now();
    const state = model.snapshot(nowMs);
    const instance = instanceAt(state, client);
    const names = namesIn(request.url ?? '/');
    if (instance === undefined || names === undefined) return NOT_FOUND;
    if (names.join('/') === 'latest/api/token') {
      if (request.method !== 'PUT') return NOT_ALLOWED;
      if (header(request.headers, 'x-forwarded-for') !== '') return FORBIDDEN;
      const ttlS = wholeNumber(header(request.headers, 'x-aliyun-ecs-metadata-token-ttl-seconds'));
      if (ttlS === undefined || ttlS < 1 || ttlS > LONGEST_TTL_S) return BAD_REQUEST;
      return { status: 200, body: tokens.issue(instance.id, nowMs + ttlS * 1000, nowMs) };
    }
    if (request.method !== 'GET') return NOT_ALLOWED;
    const token = header(request.headers, 'x-aliyun-ecs-metadata-token');
    if (token === '' && instance.httpTokens === 'required') return FORBIDDEN;
    if (token !== '' && !tokens.allows(token, instance.id, nowMs)) return UNAUTHORIZED;
    const [version, ...rest] = names;
    if (version === undefined) return { status: 200, body: VERSIONS.join('\n') };
    if (!VERSIONS.includes(version)) return NOT_FOUND;
    return find({ 'meta-data': instanceMetadata(state, instance) }, rest);
  };
  return async (request, response, client) => {
    request.resume();
    const { status, body } = answerTo(request, client);
    response.writeHead(status, { 'content-type': 'text/plain', 'content-length': Buffer.byteLength(body) });
    response.end(body);
  };
}

/** A token is valid for the instance that asked for it, until it expires (documented). */
class Tokens {
  readonly #issued = new Map<string, { instanceId: string; expiresMs: number }>();

  issue(instanceId: string, expiresMs: number, nowMs: number): string {
    for (const [token, known] of this.#issued) if (known.expiresMs <= nowMs) this.#issued.delete(token);
    const token = randomBytes(32).toString('base64url');
    this.#issued.set(token, { instanceId, expiresMs });
    return token;
  }

  allows(token: string, instanceId: string, nowMs: number): boolean {
    const known = this.#issued.get(token);
    return known?.instanceId === instanceId && nowMs < known.expiresMs;
  }
}

/** The names in a path. Empty ones do not count: scripts write `macs/` and a listed `MAC/` with a slash between. */
function namesIn(url: string): string[] | undefined {
  const [path = ''] = url.split('?');
  try {
    return path.split('/').filter(Boolean).map(decodeURIComponent);
  } catch {
    return undefined;
  }
}

function find(root: MetadataFolder, names: readonly string[]): Answer {
  let found: string | MetadataFolder | undefined = root;
  for (const name of names) {
    if (typeof found === 'string' || !Object.hasOwn(found, name)) return NOT_FOUND;
    found = found[name];
    if (found === undefined) return NOT_FOUND;
  }
  if (typeof found === 'string') return { status: 200, body: found };
  const entries = Object.entries(found).map(([name, item]) => (typeof item === 'string' ? name : `${name}/`));
  return { status: 200, body: entries.join('\n') };
}

function wholeNumber(text: string): number | undefined {
  return /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}
