import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { createComplete, parseJson, temporaryName } from '../../tools/machine/lock.ts';
import {
  identifyProcess,
  isRunning,
  processIdentitySchema,
  signalRecorded,
  waitGone,
} from '../../tools/machine/process-table.ts';
import { StateDirInUseError, TestClusterError } from './errors.ts';

const RECORD = 'cluster.json';

const clusterRecordSchema = z.object({
  /** The process whose children the components are. */
  owner: processIdentitySchema,
  components: z.record(z.string(), processIdentitySchema),
  /** Folder with the programs. */
  binaries: z.string(),
  serverUrl: z.string(),
  phase: z.enum(['starting', 'running', 'stopped']),
});

/** What a state directory says about its cluster, so that other processes can use it, stop it or clean up after it. */
export type ClusterRecord = z.infer<typeof clusterRecordSchema>;

/**
 * Makes `stateDir` this process's own. What a cluster whose owner has died left there is ended and removed first.
 *
 * @throws StateDirInUseError
 */
export async function claimStateDir(stateDir: string, binaries: string): Promise<ClusterRecord> {
  const owner = await identifyProcess(process.pid);
  if (owner === undefined) throw new TestClusterError('cannot read /proc: the test cluster needs Linux');
  const record: ClusterRecord = { owner, components: {}, binaries, serverUrl: '', phase: 'starting' };
  for (let attempt = 0; attempt < 3; attempt++) {
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    const entries = await readdir(stateDir);
    if (entries.length === 0 && (await createComplete(join(stateDir, RECORD), JSON.stringify(record)))) return record;
    await removeLeftovers(stateDir);
  }
  throw new StateDirInUseError(`${stateDir} is being used by several processes at once`);
}

/**
 * Ends and removes what a cluster left whose owner no longer runs.
 *
 * @returns false when there is no such directory.
 * @throws StateDirInUseError when its owner runs, or when the directory is not one of a test cluster.
 */
export async function removeLeftovers(stateDir: string): Promise<boolean> {
  const record = await readRecord(stateDir);
  if (record === undefined) {
    const entries = await readdir(stateDir).catch(() => undefined);
    if (entries === undefined) return false;
    if (entries.length === 0) return true;
    throw new StateDirInUseError(`${stateDir} has files in it, but none of a test cluster: give another directory`);
  }
  if (record.phase !== 'stopped' && (await isRunning(record.owner))) {
    throw new StateDirInUseError(
      `${stateDir} belongs to a cluster that process ${record.owner.pid} runs: stop it first`,
    );
  }
  for (const identity of Object.values(record.components)) {
    // Every component has a path below the state directory among its arguments.
    if (await signalRecorded(identity, stateDir, 'SIGKILL')) await waitGone(identity, 10_000);
  }
  await removeState(stateDir);
  return true;
}

/** Removes a state directory; the record goes last, so that what an interruption leaves is still recognised. */
export async function removeState(stateDir: string): Promise<void> {
  for (const entry of await readdir(stateDir).catch(() => [])) {
    if (entry !== RECORD) await rm(join(stateDir, entry), { recursive: true, force: true });
  }
  await rm(stateDir, { recursive: true, force: true });
}

/** Reads what a state directory says about its cluster; undefined when it says nothing. */
export async function readRecord(stateDir: string): Promise<ClusterRecord | undefined> {
  const text = await readFile(join(stateDir, RECORD), 'utf8').catch(() => undefined);
  const parsed = clusterRecordSchema.safeParse(text === undefined ? undefined : parseJson(text));
  return parsed.success ? parsed.data : undefined;
}

/** Replaces the record as a whole: a reader finds the old one or the new one. */
export async function writeRecord(stateDir: string, record: ClusterRecord): Promise<void> {
  const path = join(stateDir, RECORD);
  const temporary = temporaryName(path);
  await writeFile(temporary, JSON.stringify(record, undefined, 2), { mode: 0o600 });
  await rename(temporary, path);
}
