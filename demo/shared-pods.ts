import { stringify } from 'yaml';
import * as z from 'zod';
import type { Snapshot } from '../sim/cloud/model/snapshot.ts';
import type { CapturedFrame } from '../sim/vpc/protocol.ts';
import type { TerwayNode } from '../src/crds/node.ts';
import { podSpec } from './real-samples.ts';

/** A Deployment that no PodNetworking picks. */
export const ORDINARY = { namespace: 'ordinary', name: 'shop', replicas: 6 } as const;

export const sharedPodSchema = z.object({
  metadata: z.object({ name: z.string(), namespace: z.string(), uid: z.string() }),
  spec: z.object({ nodeName: z.string().default('') }),
  status: z.object({ podIP: z.string().default('') }),
});
type SharedPod = z.infer<typeof sharedPodSchema>;

/** A pod that shares an ENI of its node. */
export interface SharedRow {
  name: string;
  namespace: string;
  node: string;
  /** As its status shows it. */
  address: string;
  /** The ENI on which the Node CR records an address for it; empty while there is none. */
  eniId: string;
  /** The address that the Node CR records. */
  recorded: string;
  isTrunk: boolean;
}

export function ordinaryManifests(): string[] {
  const { namespace, name, replicas } = ORDINARY;
  const labels = { app: name };
  const spread = {
    maxSkew: 1,
    topologyKey: 'kubernetes.io/hostname',
    whenUnsatisfiable: 'ScheduleAnyway',
    labelSelector: { matchLabels: labels },
  };
  const deployment = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace },
    spec: {
      replicas,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: { topologySpreadConstraints: [spread], ...podSpec([{ name }]) },
      },
    },
  };
  return [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } }, deployment].map((object) =>
    stringify(object),
  );
}

/** What is known of pods, from their status and from the records of their nodes; in the order of nodes and names. */
export function sharedRows(pods: readonly SharedPod[], nodes: readonly TerwayNode[]): SharedRow[] {
  return pods
    .map(({ metadata: { name, namespace, uid }, spec, status }) => {
      const record = nodes.find((node) => node.metadata.name === spec.nodeName);
      const enis = Object.values(record?.status?.networkInterfaces ?? {});
      const [found] = enis.flatMap(({ id, networkInterfaceType, ipv4 = {} }) =>
        Object.values(ipv4)
          .filter(({ podUID }) => podUID === uid)
          .map(({ ip }) => ({ eniId: id, recorded: ip, isTrunk: networkInterfaceType === 'Trunk' })),
      );
      const place = { name, namespace, node: spec.nodeName, address: status.podIP };
      return { ...place, ...(found ?? { eniId: '', recorded: '', isTrunk: false }) };
    })
    .sort((a, b) => a.node.localeCompare(b.node) || a.name.localeCompare(b.name));
}

/** What is wrong with pods that share ENIs; empty when records, pods and cloud agree. */
export function sharedProblems(rows: readonly SharedRow[], { enis }: Pick<Snapshot, 'enis'>): string[] {
  const problems: string[] = [];
  for (const { name, node, address, eniId, recorded } of rows) {
    if (recorded !== address)
      problems.push(`${name} has ${address || 'no address'}, its Node CR says ${recorded || 'none'}`);
    const eni = enis.find(({ id }) => id === eniId);
    if (eni?.ipv4.includes(recorded) !== true)
      problems.push(`in the cloud ${eniId || 'no ENI'} of ${node} lacks ${recorded}`);
  }
  for (const [address, same] of Map.groupBy(rows, (row) => row.address)) {
    if (same.length > 1)
      problems.push(`${same.map(({ name }) => name).join(' and ')} have the same address, ${address}`);
  }
  return problems;
}

/** What is wrong with frames of pods on shared ENIs; empty when each was without a tag, on the ENI and with the address of its pod. */
export function untaggedProblems(
  frames: readonly CapturedFrame[],
  rows: readonly Pick<SharedRow, 'name' | 'address' | 'eniId'>[],
): string[] {
  const problems = new Set<string>();
  for (const { eni, vlan, direction, src, dst, verdict, reason } of frames) {
    const own = direction === 'fromNode' ? src : dst;
    const row = rows.find(({ address }) => address === own);
    const told = `a frame ${src} → ${dst}`;
    if (row === undefined) problems.add(`${told} belongs to no pod`);
    else if (verdict === 'refused') problems.add(`${told} of ${row.name} was refused: ${reason}`);
    else if (vlan !== 0) problems.add(`${told} of ${row.name} has VLAN id ${vlan}`);
    else if (eni !== row.eniId) problems.add(`${told} of ${row.name} was on ${eni}, not on ${row.eniId}`);
  }
  return [...problems];
}
