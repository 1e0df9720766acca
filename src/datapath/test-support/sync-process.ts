/**
 * A process that does what the agent does with the kernel, for measuring it: reads one line of JSON from standard input, looks
 * at the node so often, and prints the last report with the memory that it and its helper took at most.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { systemClock } from '../../util/clock.ts';
import { openDatapath } from '../datapath.ts';
import type { DatapathSettings, PodAttachment } from '../types.ts';

export interface SyncTask {
  helper: string;
  object: string;
  nodeNetns: string;
  settings: DatapathSettings;
  pods: PodAttachment[];
  times: number;
}

const task: SyncTask = JSON.parse(await text(process.stdin));
const datapath = await openDatapath({
  settings: task.settings,
  helperPath: task.helper,
  objectPath: task.object,
  nodeNetns: task.nodeNetns,
  clock: systemClock,
  signal: AbortSignal.timeout(60_000),
});
let outcome: unknown;
for (let at = 0; at < task.times; at++) {
  outcome = await datapath.sync(() => task.pods).catch((error: unknown) => ({ error: String(error) }));
}
const peakKb = [process.pid, ...children()].map(peakOf);
process.stdout.write(JSON.stringify({ outcome, peakMb: peakKb.reduce((sum, kb) => sum + kb, 0) / 1024 }));
await datapath[Symbol.asyncDispose]();

function children(): number[] {
  return readdirSync('/proc/self/task').flatMap((thread) =>
    readFileSync(`/proc/self/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  );
}

function peakOf(pid: number): number {
  return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}
