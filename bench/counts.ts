import type { AdminClient } from '../sim/cloud/admin-client.ts';
import type { ApiClient } from '../test/cluster/api.ts';
import type { ControlPlane } from '../test/harness/lab.ts';
import { pollUntil } from '../tools/machine/poll.ts';

const WRITES = ['POST', 'PUT', 'PATCH', 'APPLY', 'DELETE'];

/** Writes that the API server has received for these resources, refused ones included. */
export async function apiWrites(
  api: ApiClient,
  isCounted: (resource: string, group: string) => boolean,
): Promise<number> {
  const text = await api.requestText('GET', '/metrics');
  let writes = 0;
  for (const line of text.split('\n')) {
    const match = /^apiserver_request_total\{(.*)\} (\S+)$/.exec(line);
    if (match === null) continue;
    const [, labels = '', value] = match;
    const label = (name: string) => new RegExp(`\\b${name}="([^"]*)"`).exec(labels)?.[1] ?? '';
    if (!WRITES.includes(label('verb')) || !isCounted(label('resource'), label('group'))) continue;
    writes += Number(value);
  }
  return writes;
}

/** Calls that the simulated cloud has received; `outcome` is `OK` or the code of a refusal. */
export async function cloudCalls(
  cloud: AdminClient,
  isCounted: (action: string, outcome: string) => boolean = () => true,
): Promise<number> {
  const { calls } = await cloud.counters();
  return Object.entries(calls)
    .flatMap(([action, outcomes]) => Object.entries(outcomes).map(([outcome, count]) => ({ action, outcome, count })))
    .filter(({ action, outcome }) => isCounted(action, outcome))
    .reduce((sum, { count }) => sum + count, 0);
}

/** True for an API that only reads. */
export function isRead(action: string): boolean {
  return /^(Describe|List)/.test(action);
}

/** True for the refusal of a call because there were too many. */
export function isThrottled(outcome: string): boolean {
  return outcome.startsWith('Throttling');
}

/** Waits until a control plane leads. */
export async function leading(controlPlane: ControlPlane | undefined): Promise<void> {
  await pollUntil(
    async () => {
      const metrics = await (await fetch(`${controlPlane?.telemetryUrl}/metrics`)).text();
      return /^terway_leader 1$/m.test(metrics) ? true : undefined;
    },
    { what: 'the control plane to lead', timeoutMs: 60_000 },
  );
}
