import { isRecord } from '../util/json.ts';

/** Keys of upstream's configuration that have another place here. */
const MOVED: Readonly<Record<string, { to: readonly [string, string]; convert?: (value: unknown) => unknown }>> = {
  disableWebhook: { to: ['webhook', 'enabled'], convert: (value) => (typeof value === 'boolean' ? !value : value) },
  webhookPort: { to: ['webhook', 'port'] },
  enableWebhookInjectResource: { to: ['webhook', 'injectResources'] },
};

/** Keys without effect here, and why the configuration still means the same. */
const WITHOUT_EFFECT: Readonly<Record<string, string>> = {
  leaseLockName: 'the lease has the name of the controller (controllerName)',
  leaseLockNamespace: 'the lease is in controllerNamespace',
  clusterDomain: 'the certificate needs no domain',
  certDir: 'certificates are kept in memory',
  enableDevicePlugin: 'it has no effect in Terway either',
  podMaxConcurrent: 'pods and PodENIs share one queue; podENIMaxConcurrent applies',
  controllers: 'every controller runs',
  multiIPPodMaxConcurrent: 'the pools of shared ENIs have nodeMaxConcurrent workers',
  multiIPNodeMaxConcurrent: 'the pools of shared ENIs have nodeMaxConcurrent workers',
  multiIPNodeSyncPeriod: 'changes by others are looked for every collector.interval',
  multiIPMinSyncPeriodOnFailure: 'waits adapt to what the cloud shows',
  multiIPMaxSyncPeriodOnFailure: 'waits adapt to what the cloud shows',
  kubeClientQPS: 'API Priority and Fairness limits requests',
  kubeClientBurst: 'API Priority and Fairness limits requests',
  vSwitchPoolSize: 'all vSwitches in use are cached',
  vSwitchCacheTTL: 'podNetworkingRecheck says how often vSwitches are checked',
  backoffOverride: 'waits adapt to what the cloud shows instead of a table',
  enableTrace: 'there are no traces; metrics and status.operations of PodENIs have durations',
};

/**
 * Reads a configuration that was written for upstream's control plane as one of ours.
 *
 * @param raw the file's content, of any shape
 * @returns the content with our keys, and a line for each key that has no effect here
 */
export function fromUpstreamKeys(raw: unknown): { raw: unknown; notes: string[] } {
  // Not zod, whose record loses a key named __proto__.
  if (!isRecord(raw)) return { raw, notes: [] };
  const result: Record<string, unknown> = {};
  const notes: string[] = [];
  const moved: [section: string, key: string, value: unknown][] = [];
  for (const [key, value] of Object.entries(raw)) {
    const move = Object.hasOwn(MOVED, key) ? MOVED[key] : undefined;
    const why = Object.hasOwn(WITHOUT_EFFECT, key) ? WITHOUT_EFFECT[key] : undefined;
    if (move !== undefined) moved.push([...move.to, move.convert === undefined ? value : move.convert(value)]);
    else if (why !== undefined) notes.push(`${key} has no effect: ${why}`);
    else Object.defineProperty(result, key, { value, enumerable: true, writable: true, configurable: true });
  }
  for (const [section, key, value] of moved) {
    const known = result[section] ?? {};
    // Our own key wins; the schema refuses a section of the wrong type.
    if (isRecord(known)) result[section] = { [key]: value, ...known };
  }
  return { raw: result, notes };
}
