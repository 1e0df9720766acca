import type { IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import * as z from 'zod';
import { parseJson } from '../../tools/machine/lock.ts';
import { pauseQuietly } from '../../tools/machine/poll.ts';
import type { ApiClient, Query } from './api.ts';
import { ApiStatusError } from './errors.ts';

/** An event of a watch. `LISTED` replaces everything from earlier events. */
export type WatchEvent<T> = { type: 'LISTED'; objects: T[] } | { type: 'ADDED' | 'MODIFIED' | 'DELETED'; object: T };

export interface WatchOptions<T> {
  /** Parses each object, so that consumers get a known type. */
  schema: z.ZodType<T>;
  /** `labelSelector`, `fieldSelector`. */
  query?: Query;
  /** Ends the watch. The iterator then simply finishes. */
  signal: AbortSignal;
}

const lineSchema = z.discriminatedUnion('type', [
  z.object({ type: z.enum(['ADDED', 'MODIFIED', 'DELETED']), object: z.unknown() }),
  z.object({ type: z.literal('BOOKMARK'), object: z.unknown() }),
  z.object({ type: z.literal('ERROR'), object: z.unknown() }),
]);
const versionSchema = z.object({ metadata: z.object({ resourceVersion: z.string() }) });

const FIRST_BACKOFF_MS = 50;
const LAST_BACKOFF_MS = 1000;

/**
 * Lists a collection, then reports its changes until the signal aborts.
 *
 * Reconnects after a lost connection, also to a server that is restarting, and continues from the last resourceVersion seen. When
 * the server no longer has that version (410), lists the collection again and reports another `LISTED`.
 *
 * @throws ApiStatusError for 400, 401, 403, 404 and 405, which a retry would not change; ZodError when an object does not
 *   match.
 */
export async function* watch<T>(
  client: ApiClient,
  path: string,
  options: WatchOptions<T>,
): AsyncGenerator<WatchEvent<T>> {
  const { schema, signal, query = {} } = options;
  let version: string | undefined;
  let backoffMs = FIRST_BACKOFF_MS;
  while (!signal.aborted) {
    try {
      if (version === undefined) {
        const list = await client.list(path, { query, signal });
        version = list.resourceVersion;
        yield { type: 'LISTED', objects: list.objects.map((object) => schema.parse(object)) };
      }
      const response = await client.stream(path, {
        query: { ...query, watch: true, allowWatchBookmarks: true, resourceVersion: version },
        signal,
      });
      for await (const line of lines(response)) {
        const event = lineSchema.parse(line);
        if (event.type === 'ERROR') {
          // Nearly always 410 Gone. A new list also helps with any other error.
          version = undefined;
          break;
        }
        version = versionSchema.parse(event.object).metadata.resourceVersion;
        backoffMs = FIRST_BACKOFF_MS;
        if (event.type !== 'BOOKMARK') yield { type: event.type, object: schema.parse(event.object) };
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiStatusError && error.status === 410) version = undefined;
      else if (!isTransient(error)) throw error;
    }
    await pauseQuietly(backoffMs, signal);
    backoffMs = Math.min(backoffMs * 2, LAST_BACKOFF_MS);
  }
}

/** True for errors that may be gone next time: no connection, or a server that is starting or overloaded. */
export function isTransient(error: unknown): boolean {
  if (error instanceof ApiStatusError) return error.status >= 500 || error.status === 429 || error.status === 408;
  return error instanceof Error && 'code' in error && !(error instanceof z.ZodError);
}

async function* lines(response: IncomingMessage): AsyncGenerator<unknown> {
  const reader = createInterface({ input: response, crlfDelay: Number.POSITIVE_INFINITY });
  try {
    for await (const line of reader) {
      const parsed = parseJson(line);
      // The connection ended within this line.
      if (parsed === undefined) return;
      yield parsed;
    }
  } finally {
    reader.close();
    response.destroy();
  }
}
