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

/** What a state directory records about its cluster, so that other processes can use it, stop it or clean up after it. */
export type ClusterRecord = z.infer<typeof clusterRecordSchema>;

/**
 * Claims `stateDir` for this process. If a cluster whose owner has died left something there, ends and removes that first.
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
 * Ends and removes everything that a cluster without a running owner left.
 *
 * @returns false when there is no such directory.
 * @throws StateDirInUseError when its owner runs, or when the directory does not belong to a test cluster.
 */
export async function removeLeftovers(stateDir: string): Promise<boolean> {
  const record = await readRecord(stateDir);
  if (record === undefined) {
    const entries = await readdir(stateDir).catch(() => undefined);
    if (entries === undefined) return false;
    if (entries.length === 0) return true;
    throw new StateDirInUseError(`${stateDir} has files that no test cluster wrote: use another directory`);
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

/** Removes a state directory. The record is removed last, so that the directory is recognised after an interruption. */
export async function removeState(stateDir: string): Promise<void> {
  for (const entry of await readdir(stateDir).catch(() => [])) {
    if (entry !== RECORD) await rm(join(stateDir, entry), { recursive: true, force: true });
  }
  await rm(stateDir, { recursive: true, force: true });
}

/** Reads the record in a state directory; undefined when there is none. */
export async function readRecord(stateDir: string): Promise<ClusterRecord | undefined> {
  const text = await readFile(join(stateDir, RECORD), 'utf8').catch(() => undefined);
  const parsed = clusterRecordSchema.safeParse(text === undefined ? undefined : parseJson(text));
  return parsed.success ? parsed.data : undefined;
}

/** Replaces the record atomically. Readers find the old one or the new one. */
export async function writeRecord(stateDir: string, record: ClusterRecord): Promise<void> {
  const path = join(stateDir, RECORD);
  const temporary = temporaryName(path);
  await writeFile(temporary, JSON.stringify(record, undefined, 2), { mode: 0o600 });
  await rename(temporary, path);
}
