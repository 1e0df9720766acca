import { podNetworkingSchema } from '../../src/crds/pod-networking.ts';
import { pollUntil } from '../../tools/machine/poll.ts';
import { API, type OperatorLab } from './support.ts';

/** What an onlooker sees of the system: tables, and whether it is at rest. */

/** A table of `kubectl get -o wide`: its rows by their headings. */
export async function tableOf(operator: OperatorLab, args: string[]): Promise<Record<string, string>[]> {
  const { stdout, stderr, code } = await operator.lab.cluster.kubectl(['get', ...args, '-o', 'wide']);
  if (code !== 0) throw new Error(`kubectl get ${args.join(' ')}: ${stderr}`);
  const [headings = '', ...rows] = stdout.trimEnd().split('\n');
  const columns = [...headings.matchAll(/\S+ */g)].map(({ 0: heading, index }) => ({ heading, index }));
  return rows.map((row) =>
    Object.fromEntries(
      columns.map(({ heading, index }, at) => {
        // The last column may be wider than its heading.
        const end = at === columns.length - 1 ? undefined : index + heading.length;
        return [heading.trim(), row.slice(index, end).trim()];
      }),
    ),
  );
}

/** Two looks of the collector at the cloud: time for whatever was under way to end. */
export async function twoLooks(operator: OperatorLab): Promise<void> {
  const looks = async () => (await operator.lab.cloud.counters()).calls['DescribeNetworkInterfaces']?.['OK'] ?? 0;
  const before = await looks();
  await pollUntil(async () => ((await looks()) >= before + 2 ? true : undefined), {
    what: 'two looks of the collector',
    timeoutMs: 20_000,
  });
}

/** Time in which something could happen: rounds of whatever looks again by itself, counted by the questions to the cloud. */
export async function rounds(operator: OperatorLab, count: number): Promise<void> {
  const asked = async () => {
    const { calls } = await operator.lab.cloud.counters();
    return [calls['DescribeVSwitches']?.['OK'] ?? 0, calls['DescribeNetworkInterfaces']?.['OK'] ?? 0];
  };
  const [vSwitches = 0, enis = 0] = await asked();
  // A failing PodNetworking is checked six times as often as a sound one.
  await pollUntil(
    async () => {
      const [nowVSwitches = 0, nowEnis = 0] = await asked();
      return nowVSwitches >= vSwitches + 7 * count && nowEnis >= enis + count ? true : undefined;
    },
    { what: `${count} rounds`, timeoutMs: 60_000 },
  );
}

/** Waits until each PodNetworking tells how far its pods are and how many addresses are free; it may do so only every ten seconds. */
export async function figuresFollow(operator: OperatorLab): Promise<void> {
  const { vSwitches } = await operator.lab.cloud.state();
  const free = new Map(vSwitches.map(({ id, availableIpAddressCount }) => [id, availableIpAddressCount]));
  const { podEnis } = await operator.world();
  const { objects } = await operator.lab.api.list(`${API}/podnetworkings`);
  for (const { metadata } of objects.map((object) => podNetworkingSchema.parse(object))) {
    const records = podEnis.filter(({ spec }) =>
      spec.allocations?.some(({ intent }) => intent?.networking === metadata.name),
    );
    const inPhase = (phase: string) => records.filter(({ status }) => status?.phase === phase).length;
    const settled = { bound: inPhase('Bind'), reserved: inPhase('Unbind'), starting: 0, releasing: 0 };
    await operator.networking(metadata.name, ({ status }) => {
      const pods: Readonly<Record<string, number | undefined>> = status?.pods ?? {};
      return (
        Object.entries(settled).every(([how, count]) => (pods[how] ?? 0) === count) &&
        (status?.vSwitches ?? []).every(({ id, availableIPCount }) => availableIPCount === free.get(id))
      );
    });
  }
}

/** Versions of all objects, calls that change something, and writes. */
export async function everythingOf(operator: OperatorLab) {
  const { podEnis, networkInterfaces, nodes } = await operator.world();
  const versions = [...podEnis, ...networkInterfaces, ...nodes].map(
    ({ metadata }) => `${metadata.name} ${metadata.resourceVersion}`,
  );
  return { versions, mutations: await operator.mutations(), writes: await writesOf(operator) };
}

/** Writes that the control plane has sent, without its lease and events. */
async function writesOf({ controlPlane }: OperatorLab): Promise<string[]> {
  const text = await (await fetch(`${controlPlane.telemetryUrl}/metrics`)).text();
  return text
    .split('\n')
    .filter(
      (line) => line.startsWith('terway_kube_requests_total{') && /verb="(create|update|patch|delete)"/.test(line),
    )
    .filter((line) => !/resource="(leases|events)"/.test(line));
}
