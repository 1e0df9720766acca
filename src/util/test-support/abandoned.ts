/**
 * What tests make outside their process carries its number: `PREFIX<pid>-…`. A run that was killed leaves it behind, and the
 * next one removes it.
 *
 * @returns those of the names whose process is gone
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
    // Of somebody else, it lives as well.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
