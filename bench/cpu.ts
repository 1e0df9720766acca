import { readdir, readFile } from 'node:fs/promises';
import { basename } from 'node:path';

/** Of the kernel's accounting, by its ABI. */
const TICKS_PER_SECOND = 100;

/** CPU time that each program below this process has used so far, in seconds, and this process itself (`bench`). */
export async function cpuSeconds(): Promise<Map<string, number>> {
  const processes = new Map<number, { parent: number; seconds: number }>();
  for (const entry of await readdir('/proc')) {
    // A process may have ended.
    const stat = /^\d+$/.test(entry) ? await readFile(`/proc/${entry}/stat`, 'utf8').catch(() => undefined) : undefined;
    if (stat === undefined) continue;
    const [, parent, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [user, system] = [rest[9], rest[10]];
    processes.set(Number(entry), {
      parent: Number(parent),
      seconds: (Number(user) + Number(system)) / TICKS_PER_SECOND,
    });
  }
  const isOurs = (pid: number): boolean => {
    if (pid === process.pid) return true;
    const parent = processes.get(pid)?.parent;
    return parent !== undefined && parent > 1 && isOurs(parent);
  };
  const used = new Map<string, number>();
  for (const [pid, { seconds }] of processes) {
    if (!isOurs(pid)) continue;
    const name = pid === process.pid ? 'bench' : await programOf(pid);
    used.set(name, (used.get(name) ?? 0) + seconds);
  }
  return used;
}

/** The same, at a time to come. */
export async function cpuSecondsIn(ms: number): Promise<Map<string, number>> {
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
  return cpuSeconds();
}

/** `kube-apiserver 3.1 s, etcd 0.9 s`: what was used since then, the largest first. */
export async function cpuSince(before: ReadonlyMap<string, number>): Promise<string> {
  return [...(await cpuSeconds())]
    .map(([name, seconds]) => [name, seconds - (before.get(name) ?? 0)] as const)
    .filter(([, seconds]) => seconds >= 0.05)
    .sort(([, a], [, b]) => b - a)
    .map(([name, seconds]) => `${name} ${seconds.toFixed(1)} s`)
    .join(', ');
}

/** The script of a Node process, the program of any other. */
async function programOf(pid: number): Promise<string> {
  const words = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0');
  return basename(words.find((word) => /\.m?[jt]s$/.test(word)) ?? words[0] ?? '');
}
