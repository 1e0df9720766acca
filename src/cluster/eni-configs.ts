import type { Statement } from '../allocation/pool/conditions.ts';
import { unknownEniConfKeys } from '../config/eni-conf-keys.ts';
import {
  ENI_CONFIG,
  type EniConf,
  type EniConfig,
  mergeEniConf,
  nameOfConfigMap,
  type ParsedEniConfig,
  parseEniConfig,
  readEniConf,
} from '../config/eni-config.ts';
import { LABEL_CONFIG } from '../crds/names.ts';
import type { Log } from '../telemetry/log.ts';
import type { Informers } from './informers.ts';

/** The `eni_conf` in force for a node. */
export interface NodeEniConfig {
  /** The configuration in force, or one line about what it lacks. */
  parsed: ParsedEniConfig;
  /** Its origin, for messages. */
  source: string;
  /** The node's label names a ConfigMap. */
  isOwn: boolean;
  /** Why that ConfigMap is not in force, in one line; undefined when it is. */
  problem?: string;
}

/** State of one ConfigMap that node labels name: its last good content, and its current problem. */
interface Named {
  lastGood: EniConfig | undefined;
  problem: string | undefined;
}

/** The stores that are read. */
interface EniConfigSources {
  configMaps: Pick<Informers['configMaps'], 'get' | 'addHandler'>;
  coreNodes: { store: Pick<Informers['coreNodes']['store'], 'get'> };
}

/**
 * `eni-config`, merged with the ConfigMaps that nodes name by their label `terway-config`. Every replica parses
 * everything when a ConfigMap changes, so that each knows the last good content. Users read the configuration at each
 * use.
 */
export class EniConfigs {
  readonly #informers: EniConfigSources;
  readonly #allowed: readonly string[];
  readonly #log: Pick<Log, 'warn'>;
  readonly #centralizedIpam: boolean;
  /** As the last readable content said: a mistake in it does not take the addresses of running pods. */
  #isCentral: boolean | undefined;
  #cluster: ParsedEniConfig = NO_CLUSTER_CONFIG;
  readonly #named = new Map<string, Named>();
  /** ConfigMaps with unknown keys that were already reported. */
  readonly #reported = new Set<string>();

  /**
   * @param options.allowed names of the ConfigMaps that node labels may name; their informer watches these.
   * @param options.centralizedIpam ordinary pods get their addresses from the control plane, whatever `eni-config` says.
   */
  constructor(options: {
    informers: EniConfigSources;
    allowed: readonly string[];
    centralizedIpam: boolean;
    log: Pick<Log, 'warn'>;
  }) {
    this.#informers = options.informers;
    this.#allowed = options.allowed;
    this.#log = options.log;
    this.#centralizedIpam = options.centralizedIpam;
    const parse = () => this.#parse();
    options.informers.configMaps.addHandler({ onAdd: parse, onUpdate: parse, onDelete: parse });
    parse();
  }

  /** The configuration for nodes without a label. */
  get ofCluster(): ParsedEniConfig {
    return this.#cluster;
  }

  /** Whether ordinary pods get their addresses from the control plane. As Terway's daemon, which reads this from the cluster's ConfigMap alone. */
  get isCentral(): boolean {
    return this.#centralizedIpam || this.#isCentral === true;
  }

  /** Why it does not; undefined when it does. */
  get whyNotCentral(): Statement | undefined {
    if (this.isCentral) return undefined;
    // Nothing readable since the start.
    if (this.#isCentral === undefined && 'error' in this.#cluster)
      return { reason: 'ConfigError', message: this.#cluster.error };
    return {
      reason: 'PoolOff',
      message: `ipam_type in ${nameOfConfigMap(ENI_CONFIG.name)} is not crd, so pods get no addresses of shared ENIs`,
    };
  }

  /** The configuration of a node; for an unknown node, that of the cluster. */
  ofNode(name: string): NodeEniConfig {
    const label = this.#informers.coreNodes.store.get(name)?.metadata.labels?.[LABEL_CONFIG] ?? '';
    const ofCluster = { parsed: this.#cluster, source: nameOfConfigMap(ENI_CONFIG.name) };
    if (label === '') return { ...ofCluster, isOwn: false };
    const named = this.#named.get(label);
    const problem =
      named === undefined
        ? `label ${LABEL_CONFIG} is ${label}, which is not among nodeConfigMaps of the control plane's configuration (${this.#allowed.join(', ') || 'none'})`
        : named.problem;
    if (named?.lastGood === undefined) {
      return { ...ofCluster, isOwn: true, problem: `${problem}; using ${ENI_CONFIG.name} alone` };
    }
    return {
      parsed: { config: named.lastGood },
      source: `${nameOfConfigMap(label)} over ${ENI_CONFIG.name}`,
      isOwn: true,
      ...(problem === undefined ? {} : { problem: `${problem}; its previous content stays in force` }),
    };
  }

  #parse(): void {
    const cluster = this.#read(ENI_CONFIG.name);
    const data = this.#data(ENI_CONFIG.name);
    this.#cluster = data === undefined ? NO_CLUSTER_CONFIG : parseEniConfig(data);
    if ('config' in this.#cluster) this.#isCentral = this.#cluster.config.isCentral;
    for (const name of this.#allowed) {
      const parsed = mergeEniConf([cluster, this.#read(name)], name);
      this.#named.set(
        name,
        'config' in parsed
          ? { lastGood: parsed.config, problem: undefined }
          : { lastGood: this.#named.get(name)?.lastGood, problem: parsed.error },
      );
    }
  }

  #data(name: string): Record<string, string> | undefined {
    return this.#informers.configMaps.get(`${ENI_CONFIG.namespace}/${name}`)?.data;
  }

  #read(name: string): EniConf {
    const data = this.#data(name);
    if (data === undefined) return { error: missing(name) };
    const read = readEniConf(name, data);
    if ('conf' in read) this.#reportUnknown(name, unknownEniConfKeys(read.conf));
    return read;
  }

  #reportUnknown(name: string, keys: string[]): void {
    const what = `${name}: ${keys.join()}`;
    if (keys.length === 0 || this.#reported.has(what)) return;
    this.#reported.add(what);
    this.#log.warn({ configMap: `${ENI_CONFIG.namespace}/${name}`, keys }, 'eni_conf has unknown keys');
  }
}

const NO_CLUSTER_CONFIG = {
  error: `${missing(ENI_CONFIG.name)}; it names the vSwitches and security groups of trunk ENIs and of pods on exclusive nodes`,
};

function missing(name: string): string {
  return `${nameOfConfigMap(name)} does not exist`;
}
