import { watch } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Clock } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';
import { parseControlPlaneConfig, type ReadConfig, readText } from './config-file.ts';

/** The result of reading a changed file. */
export type Reload = { kind: 'changed'; read: ReadConfig } | { kind: 'refused'; message: string };

export interface ReloaderOptions {
  path: string;
  /** The text that the process started with. */
  text: string;
  clock: Clock;
  onReload: (reload: Reload) => void;
}

/** Poll as well, because a file system may not report a change. */
const LOOK_EVERY_MS = 30_000;

/**
 * Rereads the configuration file whenever it changes, until the signal aborts. A file that is unreadable or invalid is
 * reported once and changes nothing. Kubernetes replaces a mounted ConfigMap by swapping a symlink, so the folder is watched.
 */
export async function watchConfig(options: ReloaderOptions, signal: AbortSignal): Promise<void> {
  let known = options.text;
  let refused: string | undefined;
  const look = async () => {
    let text: string;
    try {
      text = await readText(options.path, '--config');
      if (text === known) return;
      known = text;
      options.onReload({ kind: 'changed', read: parseControlPlaneConfig(options.path, text) });
      refused = undefined;
    } catch (error) {
      const message = errorMessage(error);
      if (message === refused) return;
      refused = message;
      options.onReload({ kind: 'refused', message });
    }
  };
  await Promise.all([poll(options.clock, look, signal), followFolder(dirname(options.path), look, signal)]);
}

async function poll(clock: Clock, look: () => Promise<void>, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await clock.sleep(LOOK_EVERY_MS, signal).catch(() => undefined);
    if (!signal.aborted) await look();
  }
}

async function followFolder(directory: string, look: () => Promise<void>, signal: AbortSignal): Promise<void> {
  try {
    const events = watch(directory, { signal })[Symbol.asyncIterator]();
    // Watching starts with the first `next`; polling catches what changed before.
    const first = events.next();
    // It may fail while the file is being read; that is handled below.
    first.catch(() => undefined);
    await look();
    for (let next = await first; next.done !== true; next = await events.next()) await look();
  } catch {
    // Aborted, or it cannot be watched; then polling has to do.
  }
}
