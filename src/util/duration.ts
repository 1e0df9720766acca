const UNIT_MS: Record<string, number> = {
  h: 3_600_000,
  m: 60_000,
  s: 1000,
  ms: 1,
  us: 0.001,
  // The micro sign and the Greek letter, as in Go.
  '\u00b5s': 0.001,
  '\u03bcs': 0.001,
  ns: 0.000001,
};

/** Go counts nanoseconds in 63 bits and refuses more, which is 292 years. */
const LONGEST_MS = 2 ** 63 * 1e-6;

/** Milliseconds of a Go duration such as `1h30m` (Go's `time.ParseDuration` without a sign); undefined when invalid. */
export function parseGoDurationMs(text: string): number | undefined {
  if (text === '0') return 0;
  const parts = [...text.matchAll(/(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|\u00b5s|\u03bcs|ns)/g)];
  if (parts.length === 0 || parts.map((part) => part[0]).join('') !== text) return undefined;
  const ms = parts.reduce((sum, part) => sum + Number(part[1]) * (UNIT_MS[part[2] ?? ''] ?? 0), 0);
  return ms < LONGEST_MS ? ms : undefined;
}
