import type { Collection } from './collection.ts';
import { expired, StatusError } from './errors.ts';
import { type Change, type EventType, eventLine } from './history.ts';
import { textOf } from './objects.ts';
import { forbiddenOption, matcherOf, parseVersion, type Selection } from './reads.ts';
import type { ApiResource } from './resources.ts';

export interface WatchQuery extends Selection {
  /** As sent; undefined and `''` ask for the present. */
  resourceVersion: string | undefined;
  resourceVersionMatch: string | undefined;
  sendInitialEvents: boolean | undefined;
  allowBookmarks: boolean;
}

/** One event, as it goes over the wire. */
export interface WatchLine {
  type: EventType | 'BOOKMARK' | 'ERROR';
  /** Of the object; `''` for a bookmark and an error. */
  key: string;
  /** With its line feed. */
  text: string;
}

/** A watch that is open. */
export interface OpenWatch {
  /** What it begins with. */
  initial: readonly WatchLine[];
  /** No line follows: the history that it needs is gone. */
  isEnded: boolean;
  /** A bookmark of the present, if the client takes such. */
  bookmark(): WatchLine | undefined;
  close(): void;
}

const INITIAL_EVENTS_END = 'k8s.io/initial-events-end';

/**
 * Opens a watch.
 *
 * @param currentVersion of the whole cluster; asked again for each bookmark
 * @param deliver is called with each later event, from within the write that makes it
 * @throws StatusError when the query is refused; history that is gone shows as an ERROR event
 */
export function openWatch(
  collection: Collection,
  query: WatchQuery,
  currentVersion: () => number,
  deliver: (line: WatchLine) => void,
): OpenWatch {
  const { resource } = collection;
  const matches = matcherOf(resource, query);
  checkOptions(query);
  const from = versionOf(query.resourceVersion ?? '');
  const isWatchList = query.sendInitialEvents === true;
  /** @param shown version up to which the beginning tells everything */
  const begin = (initial: readonly WatchLine[], shown: number): OpenWatch => {
    const watcher = {
      matches,
      deliver: (type: EventType, change: Change) => {
        // A watch may ask for a version that is still to come, after a backup was restored for example.
        if (change.version > shown) deliver({ type, key: change.key, text: change.line(type) });
      },
    };
    collection.watchers.add(watcher);
    const bookmark = () => {
      const version = currentVersion();
      // The server sends none that would only say what the beginning said.
      return query.allowBookmarks && version > shown ? bookmarkLine(resource, version, {}) : undefined;
    };
    return { initial, isEnded: false, bookmark, close: () => collection.watchers.delete(watcher) };
  };
  if (isWatchList || (from === 0 && query.sendInitialEvents !== false)) {
    const present = collection.list().filter(({ object }) => matches(object));
    const lines = present.map((stored) => lineOf('ADDED', stored.key, textOf(stored)));
    const version = currentVersion();
    if (!isWatchList || !query.allowBookmarks) return begin(lines, version);
    return begin([...lines, bookmarkLine(resource, version, { [INITIAL_EVENTS_END]: 'true' })], version);
  }
  if (from < collection.history.forgotten) {
    const error = expired(`too old resource version: ${from} (${collection.history.forgotten})`);
    const initial = [{ type: 'ERROR' as const, key: '', text: errorLine(error) }];
    return { initial, isEnded: true, bookmark: () => undefined, close: () => {} };
  }
  const missed = collection.history.after(from);
  const lines = missed.flatMap((change) => {
    const type = change.typeFor(matches);
    return type === undefined ? [] : [{ type, key: change.key, text: change.line(type) }];
  });
  return begin(lines, missed.at(-1)?.version ?? from);
}

/** A watch's way to say that it failed after it had been opened. */
export function errorLine(error: StatusError): string {
  return eventLine('ERROR', JSON.stringify(error.status));
}

function bookmarkLine(
  resource: ApiResource,
  version: number,
  annotations: Readonly<Record<string, string>>,
): WatchLine {
  const { group, kind } = resource;
  const apiVersion = group === '' ? resource.version : `${group}/${resource.version}`;
  const marks = Object.keys(annotations).length === 0 ? {} : { annotations };
  const object = { kind, apiVersion, metadata: { resourceVersion: String(version), ...marks } };
  return lineOf('BOOKMARK', '', JSON.stringify(object));
}

function lineOf(type: WatchLine['type'], key: string, objectText: string): WatchLine {
  return { type, key, text: eventLine(type, objectText) };
}

function checkOptions({ sendInitialEvents, resourceVersionMatch: match = '' }: WatchQuery): void {
  if (sendInitialEvents === undefined) {
    const rule = 'resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided';
    if (match !== '') throw forbiddenOption('resourceVersionMatch', rule);
  } else if (match !== 'NotOlderThan') {
    const rule = 'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan';
    throw forbiddenOption('resourceVersionMatch', rule);
  }
}

/** Watches answer 500 where lists answer 400. */
function versionOf(text: string): number {
  try {
    return parseVersion(text);
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    throw new StatusError(500, '', `resourceVersion: Invalid value: ${JSON.stringify(text)}: invalid syntax`);
  }
}
