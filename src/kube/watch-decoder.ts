import { isRecord } from '../util/json.ts';
import { errorOfStatus, TransportError } from './errors.ts';
import type { HasMetadata } from './types.ts';

/** What a watch delivers. ERROR events are thrown instead. */
export type WatchEvent<T> =
  | { type: 'ADDED' | 'MODIFIED' | 'DELETED'; object: T }
  /**
   * Everything up to this version has been delivered. `initialEventsEnd` marks the one that ends a watch-list; versions are
   * ordered only after it.
   */
  | { type: 'BOOKMARK'; resourceVersion: string; initialEventsEnd: boolean };

const INITIAL_EVENTS_END = 'k8s.io/initial-events-end';

/**
 * Splits a byte stream into lines and parses each as a watch event.
 *
 * @param decodeObject parses an event's object; an error ends the iteration
 * @throws KubeApiError for an ERROR event
 * @throws TransportError `malformed` for a line that is not a watch event
 */
export async function* decodeWatch<T extends HasMetadata>(
  chunks: AsyncIterable<string>,
  decodeObject: (raw: unknown) => T,
): AsyncGenerator<WatchEvent<T>, void, undefined> {
  // A large object arrives in many chunks; joining them once avoids copying the growing line for every chunk.
  let parts: string[] = [];
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf('\n'); end >= 0; end = chunk.indexOf('\n', start)) {
      parts.push(chunk.slice(start, end));
      start = end + 1;
      const line = parts.length === 1 ? (parts[0] ?? '') : parts.join('');
      parts = [];
      if (line !== '') yield decodeLine(line, decodeObject);
    }
    if (start < chunk.length) parts.push(chunk.slice(start));
  }
  // The stream broke in the middle of a line: the next watch sends the event again.
}

function decodeLine<T extends HasMetadata>(line: string, decodeObject: (raw: unknown) => T): WatchEvent<T> {
  let event: unknown;
  try {
    event = JSON.parse(line);
  } catch (cause) {
    throw malformed('a line of the watch is not JSON', cause);
  }
  const { type, object } = isRecord(event) ? event : {};
  if (!isRecord(object)) throw malformed('a watch event has no object');
  switch (type) {
    case 'ADDED':
    case 'MODIFIED':
    case 'DELETED':
      return { type, object: decodeObject(object) };
    case 'BOOKMARK': {
      const metadata = isRecord(object['metadata']) ? object['metadata'] : {};
      const { resourceVersion, annotations } = metadata;
      if (typeof resourceVersion !== 'string') throw malformed('a bookmark has no resourceVersion');
      const initialEventsEnd = isRecord(annotations) && annotations[INITIAL_EVENTS_END] === 'true';
      return { type, resourceVersion, initialEventsEnd };
    }
    case 'ERROR':
      throw errorOfStatus(object, { code: 500, prefix: 'watch: ' });
    default:
      throw malformed(`a watch event has the unknown type ${JSON.stringify(type)}`);
  }
}

function malformed(message: string, cause?: unknown): TransportError {
  return new TransportError('malformed', message, { sent: true, cause });
}
