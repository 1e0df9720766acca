import { watch } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Clock } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';
import { parseControlPlaneConfig, type ReadConfig, readText } from './config-file.ts';

/** What became of a look at the file; nothing is told of one that did not change. */
export type Reload = { kind: 'changed'; read: ReadConfig } | { kind: 'refused'; message: string };

export interface ReloaderOptions {
  path: string;
  /** What the process was started with. */
  text: string;
  clock: Clock;
  onReload: (reload: Reload) => void;
}

/** A file system may tell nothing of a change. */
const LOOK_EVERY_MS = 30_000;

/**
 * Reads the configuration file again whenever it changed, until the signal aborts. A file that cannot be read or is wrong is
 * told once and changes nothing. Kubernetes replaces a mounted ConfigMap by turning a link, so it is the folder that is watched.
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
  await Promise.all([lookNowAndThen(options.clock, look, signal), lookWhenTold(dirname(options.path), look, signal)]);
}

async function lookNowAndThen(clock: Clock, look: () => Promise<void>, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await clock.sleep(LOOK_EVERY_MS, signal).catch(() => undefined);
    if (!signal.aborted) await look();
  }
}

async function lookWhenTold(directory: string, look: () => Promise<void>, signal: AbortSignal): Promise<void> {
  try {
    const events = watch(directory, { signal })[Symbol.asyncIterator]();
    // Watching begins with the first question; what changed before it is seen by a look.
    const first = events.next();
    // It may fail while the look goes on; that is seen below.
    first.catch(() => undefined);
    await look();
    for (let next = await first; next.done !== true; next = await events.next()) await look();
  } catch {
    // Aborted, or not to be watched: then there are the looks now and then.
  }
}
