/**
 * What tests create outside their process has its pid in the name: `PREFIX<pid>-…`. A killed run leaves it behind, and the
 * next run removes it.
 *
 * @returns the names whose process is gone
 */
export function abandoned(names: readonly string[], prefix: string): string[] {
  return names.filter((name) => {
    const pid = name.startsWith(prefix) ? /^(\d+)-/.exec(name.slice(prefix.length))?.[1] : undefined;
    return pid !== undefined && !isAlive(Number(pid));
  });
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    // EPERM: the process belongs to another user, but it is alive.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
