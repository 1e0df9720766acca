/** Waits in real time until `probe` returns something truthy; fails after `timeoutMs`. */
export async function eventually<T>(probe: () => T, timeoutMs = 5000): Promise<T> {
  const untilMs = performance.now() + timeoutMs;
  for (;;) {
    const value = probe();
    if (value) return value;
    if (performance.now() > untilMs) throw new Error(`did not happen in ${timeoutMs} ms: ${probe.toString()}`);
    await pause(5);
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
