import { stringify } from 'yaml';
import * as z from 'zod';
import { unsettled, type WorldState } from '../../sim/world/invariants.ts';
import { ANNOTATION_POD_NETWORKING, TAG_ATTEMPT } from '../../src/crds/names.ts';
import { networkInterfaceSchema } from '../../src/crds/network-interface.ts';
import { nodeSchema } from '../../src/crds/node.ts';
import { type PodEni, podEniSchema } from '../../src/crds/pod-eni.ts';
import { pollUntil } from '../../tools/machine/poll.ts';
import { ApiStatusError } from '../cluster/errors.ts';
import { CLUSTER_ID, type ControlPlaneLab, POD_SECURITY_GROUP, POD_VSWITCH, ZONES } from './lab.ts';

const GROUP = '/apis/network.alibabacloud.com/v1beta1';
const ZONE = ZONES[0];

/** The stages in which a creation or release can be interrupted. */
export type WindowName = 'intentWritten' | 'createdNotRecorded' | 'attaching' | 'detaching' | 'deleting';

/** Creates and deletes pods of a namespace as a rollout does. Some have elastic and some have fixed addresses. */
export class Rollout {
  readonly #lab: ControlPlaneLab;
  readonly #namespace: string;
  readonly #nodes: string[];

  /** @param nodes names of nodes in the first zone, used in turn. */
  constructor(lab: ControlPlaneLab, namespace: string, nodes: string[]) {
    this.#lab = lab;
    this.#namespace = namespace;
    this.#nodes = nodes;
  }

  /** Creates the two PodNetworkings that the pods name, and waits until both are Ready. */
  async prepare(): Promise<void> {
    const spec = { vSwitchOptions: [POD_VSWITCH[ZONE]], securityGroupIDs: [POD_SECURITY_GROUP] };
    const networking = (name: string, allocationType: object) =>
      stringify({
        apiVersion: 'network.alibabacloud.com/v1beta1',
        kind: 'PodNetworking',
        metadata: { name },
        spec: { ...spec, allocationType },
      });
    await this.#lab.apply(networking('rollout-elastic', { type: 'Elastic' }));
    await this.#lab.apply(networking('rollout-fixed', { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '1h' }));
    for (const name of ['rollout-elastic', 'rollout-fixed']) await this.#lab.networkingReady(name);
  }

  /** Creates the pods one after another. Names that start with `fixed-` get a fixed address. */
  async create(names: string[], signal?: AbortSignal): Promise<void> {
    for (const [at, name] of names.entries()) {
      signal?.throwIfAborted();
      await this.#lab.api.create(`/api/v1/namespaces/${this.#namespace}/pods`, {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: {
          name,
          annotations: { [ANNOTATION_POD_NETWORKING]: name.startsWith('fixed-') ? 'rollout-fixed' : 'rollout-elastic' },
        },
        spec: {
          nodeName: this.#nodes[at % this.#nodes.length],
          containers: [{ name: 'main', image: 'registry.k8s.io/pause:3.10' }],
          tolerations: [{ operator: 'Exists' }],
        },
      });
    }
  }

  /** Deletes the pods as their nodes would after stopping them. */
  async delete(names: string[]): Promise<void> {
    for (const name of names) {
      await this.#lab.api
        .delete(`/api/v1/namespaces/${this.#namespace}/pods/${name}`, { query: { gracePeriodSeconds: 0 } })
        .catch((error: unknown) => {
          if (!(error instanceof ApiStatusError && error.status === 404)) throw error;
        });
    }
  }

  /** The current state of cluster and cloud. */
  async world(): Promise<WorldState> {
    const { api, cloud } = this.#lab;
    const [state, counters] = await Promise.all([cloud.state(), cloud.counters()]);
    const list = async <T>(path: string, schema: z.ZodType<T>) =>
      z.array(schema).parse((await api.list(`${GROUP}/${path}`)).objects);
    return {
      clusterId: CLUSTER_ID,
      podEnis: await list('podenis', podEniSchema),
      networkInterfaces: await list('networkinterfaces', networkInterfaceSchema),
      nodes: await list('nodes', nodeSchema),
      cloud: state,
      counters,
    };
  }

  /**
   * Waits until cluster and cloud agree (L1) and `done` holds.
   *
   * @returns their state at that moment.
   * @throws Error that names what is still wrong.
   */
  async settled(done: (world: WorldState) => boolean, timeoutMs: number): Promise<WorldState> {
    let last: string[] = [];
    try {
      return await pollUntil(
        async () => {
          const world = await this.world();
          last = unsettled(world);
          return last.length === 0 && done(world) ? world : undefined;
        },
        { what: 'the system to settle', timeoutMs, intervalMs: 250 },
      );
    } catch (error) {
      throw new Error(`not settled: ${last.slice(0, 5).join('; ') || 'the rollout is not complete'}`, { cause: error });
    }
  }
}

/** The stages in which a state was caught, with the number of ENIs in each. */
export function windowsOf(world: WorldState): Partial<Record<WindowName, number>> {
  const caught: Partial<Record<WindowName, number>> = {};
  const count = (name: WindowName) => {
    caught[name] = (caught[name] ?? 0) + 1;
  };
  const created = new Set(world.cloud.enis.map((eni) => eni.tags[TAG_ATTEMPT]));
  for (const podEni of world.podEnis) {
    for (const { eni, intent } of podEni.spec.allocations ?? []) {
      if (eni.id === '') count(created.has(intent?.clientToken) ? 'createdNotRecorded' : 'intentWritten');
    }
  }
  for (const eni of world.cloud.enis) {
    if (eni.status === 'Attaching') count('attaching');
    if (eni.status === 'Detaching') count('detaching');
    if (eni.status === 'Deleting') count('deleting');
  }
  return caught;
}

/** ENI and address of each pod with a fixed address, by PodENI name (I4). */
export function fixedReservations(podEnis: PodEni[]): Map<string, string> {
  return new Map(
    podEnis
      .filter(({ metadata }) => metadata.name.startsWith('fixed-'))
      .map(({ metadata, spec }) => [metadata.name, `${spec.allocations?.[0]?.eni.id} ${spec.allocations?.[0]?.ipv4}`]),
  );
}
