import type { ControlPlaneConfig } from './control-plane.ts';

/** Keys that take effect while the process runs; the others need a restart. */
const LIVE_KEYS = ['logLevel', 'rateLimit', 'rateLimitShare', 'degradation', 'poolGrowth'] as const;

/** Settings that may change while the process runs, so they are read at each use. */
export type Settings = Pick<ControlPlaneConfig, (typeof LIVE_KEYS)[number]> & {
  escapedPods: ControlPlaneConfig['webhook']['escapedPods'];
};

export function settingsOf(config: ControlPlaneConfig): Settings {
  const { logLevel, rateLimit, rateLimitShare, degradation, poolGrowth, webhook } = config;
  return { logLevel, rateLimit, rateLimitShare, degradation, poolGrowth, escapedPods: webhook.escapedPods };
}

/** The configuration in force after a change: keys that need a restart keep their old value. */
export function applied(before: ControlPlaneConfig, after: ControlPlaneConfig): ControlPlaneConfig {
  const { escapedPods, ...live } = settingsOf(after);
  return { ...before, ...live, webhook: { ...before.webhook, escapedPods } };
}

/** Keys in which two configurations differ, split by whether the change takes effect at once. */
export function changedKeys(
  before: ControlPlaneConfig,
  after: ControlPlaneConfig,
): { live: string[]; atNextStart: string[] } {
  const entries = ({ webhook, ...config }: ControlPlaneConfig) =>
    new Map<string, unknown>([
      ...Object.entries(config),
      ...Object.entries(webhook).map(([key, value]): [string, unknown] => [`webhook.${key}`, value]),
    ]);
  const [old, fresh] = [entries(before), entries(after)];
  const changed = [...new Set([...old.keys(), ...fresh.keys()])].filter(
    (key) => JSON.stringify(old.get(key)) !== JSON.stringify(fresh.get(key)),
  );
  const isLive = (key: string) => key === 'webhook.escapedPods' || LIVE_KEYS.some((live) => live === key);
  return { live: changed.filter(isLive), atNextStart: changed.filter((key) => !isLive(key)) };
}
