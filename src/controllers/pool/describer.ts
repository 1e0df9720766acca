import type { Statement, Unmet } from '../../allocation/pool/conditions.ts';
import { type DaemonSpec, daemonSpec } from '../../allocation/pool/node-spec.ts';
import type { PoolRules } from '../../allocation/pool/rules.ts';
import { getsTrunk } from '../../allocation/trunk.ts';
import { clusterNetwork } from '../../cluster/cluster-network.ts';
import type { EniConfigs } from '../../cluster/eni-configs.ts';
import type { Informers } from '../../cluster/informers.ts';
import type { TerwayNode } from '../../crds/node.ts';
import { jsonEqual } from '../../kube/patch.ts';
import { reportsRelease } from '../sandbox-reports.ts';
import type { PoolCreation } from './intents.ts';
import type { PoolWriter } from './writer.ts';

/** What the configuration of a node has come to. */
interface Described extends Pick<Unmet, 'problem' | 'dualStack'> {
  /** Something was written. */
  isWritten: boolean;
}

const NOTHING_TOLD: Described = { isWritten: false, problem: undefined, dualStack: undefined };

/** Writes into the Node CR what the node may have. */
export class PoolDescriber {
  readonly #eniConfigs: EniConfigs;
  readonly #nodeRuntimes: Informers['nodeRuntimes'];
  readonly #writer: PoolWriter;

  constructor(
    { eniConfigs, informers }: { eniConfigs: EniConfigs; informers: Pick<Informers, 'nodeRuntimes'> },
    writer: PoolWriter,
  ) {
    this.#eniConfigs = eniConfigs;
    this.#nodeRuntimes = informers.nodeRuntimes;
    this.#writer = writer;
  }

  /** Writes only where our agent runs. Fields that somebody else owns, such as Terway's daemon, stay as they are. */
  async describe(node: TerwayNode, signal: AbortSignal): Promise<Described> {
    const { name } = node.metadata;
    const { nodeCap: cap, nodeMetadata } = node.spec;
    const { parsed } = this.#eniConfigs.ofNode(name);
    if (cap === undefined || nodeMetadata === undefined) return NOTHING_TOLD;
    if ('error' in parsed) return { ...NOTHING_TOLD, problem: parsed.error };
    const { pool } = parsed.config;
    if ('error' in pool) return { ...NOTHING_TOLD, problem: pool.error };
    const network = clusterNetwork(this.#eniConfigs, { nodeName: name, zone: nodeMetadata.zoneID });
    if ('message' in network) return { ...NOTHING_TOLD, problem: network.message };
    if (!reportsRelease(this.#nodeRuntimes.store.get(name))) return NOTHING_TOLD;
    const hasTrunk = getsTrunk(node);
    if (hasTrunk === undefined) return NOTHING_TOLD;
    const { instanceType } = nodeMetadata;
    const traits = { cap, instanceType, isExclusive: false, hasTrunk };
    const described = daemonSpec({ ...network, ...pool.config }, traits);
    const written = await this.#writer.spec(node, described.spec, signal);
    const problem = whyNotWritten(written, described.spec);
    return { isWritten: written !== node, problem, dualStack: described.shortfall };
  }
}

/** What the configuration asks for is left to an author that nobody knows, in one line. */
function whyNotWritten({ metadata, spec }: TerwayNode, described: DaemonSpec): string | undefined {
  const { forgotten = [] } = metadata.managedFields ?? {};
  const names = forgotten.filter((field) => !jsonEqual(spec[field], described[field])).map((field) => `spec.${field}`);
  if (names.length === 0) return undefined;
  return `${names.join(', ')} of the Node CR is not as eni_conf asks for, and so many clients have written the Node CR that the API server does not say any more who wrote it: remove it, and it is written anew`;
}

/** Why a node has no pool, when its rules or what new ENIs are made with cannot be told. */
export function whyNoPool(
  { spec }: TerwayNode,
  rules: PoolRules | { reason: string },
  creation: PoolCreation | { message: string },
  { problem }: Described,
): Statement {
  const isDescribed = spec.eni !== undefined && spec.pool !== undefined && spec.nodeCap !== undefined;
  if (problem !== undefined) return { reason: 'ConfigError', message: problem };
  if ('reason' in rules) return { reason: isDescribed ? 'ConfigError' : 'PoolNotDescribed', message: rules.reason };
  return { reason: 'ConfigError', message: 'message' in creation ? creation.message : '' };
}
