const UNIT: Readonly<Record<string, number>> = {
  B: 1,
  K: 1024,
  KB: 1024,
  KIB: 1024,
  M: 1024 ** 2,
  MB: 1024 ** 2,
  MIB: 1024 ** 2,
  G: 1024 ** 3,
  GB: 1024 ** 3,
  GIB: 1024 ** 3,
  T: 1024 ** 4,
  TB: 1024 ** 4,
  TIB: 1024 ** 4,
};

/**
 * Reads the bandwidth annotations `k8s.aliyun.com/ingress-bandwidth` and `…/egress-bandwidth` as upstream does: a number with
 * a unit, powers of 1024, in bytes per second; a bare number is not valid.
 *
 * @returns bytes per second, rounded; undefined for what is no bandwidth.
 */
export function parseBandwidth(text: string): number | undefined {
  const [, digits, unit] = /^(\d+(?:\.\d+)?)\s*([A-Za-z]+)$/.exec(text.trim()) ?? [];
  const factor = unit === undefined ? undefined : UNIT[unit.toUpperCase()];
  if (digits === undefined || factor === undefined) return undefined;
  const bytes = Math.round(Number(digits) * factor);
  return bytes > 0 && Number.isSafeInteger(bytes) ? bytes : undefined;
}
