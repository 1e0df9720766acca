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
  refusalOfEniConfig,
} from '../config/eni-config.ts';
import { LABEL_CONFIG } from '../crds/names.ts';
import type { Log } from '../telemetry/log.ts';
import type { Informers } from './informers.ts';

/** The `eni_conf` that counts for a node. */
export interface NodeEniConfig {
  /** What counts, or one line about what it lacks. */
  parsed: ParsedEniConfig;
  /** Where it comes from, as messages name it. */
  source: string;
  /** The node's label names a ConfigMap. */
  isOwn: boolean;
  /** Why that ConfigMap is not what counts, in one line; undefined when it is. */
  problem?: string;
}

/** Of the nodes whose label names one ConfigMap: what was right last, and what is wrong now. */
interface Named {
  lastGood: EniConfig | undefined;
  problem: string | undefined;
}

/** What of the stores is read. */
interface EniConfigSources {
  configMaps: Pick<Informers['configMaps'], 'get' | 'addHandler'>;
  coreNodes: { store: Pick<Informers['coreNodes']['store'], 'get'> };
}

/**
 * `eni-config`, and what the ConfigMaps that nodes name by their label `terway-config` make of it. Everything is parsed when a
 * ConfigMap changes, on every replica, so that all of them know what was right last; whoever uses a configuration asks at each use.
 */
export class EniConfigs {
  readonly #informers: EniConfigSources;
  readonly #allowed: readonly string[];
  readonly #log: Pick<Log, 'warn'>;
  #cluster: ParsedEniConfig = NO_CLUSTER_CONFIG;
  readonly #named = new Map<string, Named>();
  /** ConfigMap and keys that nobody knows, as they were reported. */
  readonly #reported = new Set<string>();

  /** @param options.allowed names of the ConfigMaps that nodes may name; the informer of ConfigMaps has them. */
  constructor(options: {
    informers: EniConfigSources;
    allowed: readonly string[];
    log: Pick<Log, 'warn'>;
  }) {
    this.#informers = options.informers;
    this.#allowed = options.allowed;
    this.#log = options.log;
    const parse = () => this.#parse();
    options.informers.configMaps.addHandler({ onAdd: parse, onUpdate: parse, onDelete: parse });
    parse();
  }

  /** What counts where no node says otherwise. */
  get ofCluster(): ParsedEniConfig {
    return this.#cluster;
  }

  /** What counts for a node; for one that is not known, what counts for the cluster. */
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
      return { ...ofCluster, isOwn: true, problem: `${problem}; ${ENI_CONFIG.name} counts without it` };
    }
    return {
      parsed: { config: named.lastGood },
      source: `${nameOfConfigMap(label)} over ${ENI_CONFIG.name}`,
      isOwn: true,
      ...(problem === undefined ? {} : { problem: `${problem}; what it said before stays in force` }),
    };
  }

  /** Why the control plane must not begin its work with `eni-config` as it is, in one line; undefined when it may. */
  get refusal(): string | undefined {
    const data = this.#data(ENI_CONFIG.name);
    return data === undefined ? undefined : refusalOfEniConfig(data);
  }

  #parse(): void {
    const cluster = this.#read(ENI_CONFIG.name);
    const data = this.#data(ENI_CONFIG.name);
    this.#cluster = data === undefined ? NO_CLUSTER_CONFIG : parseEniConfig(data);
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
    this.#log.warn({ configMap: `${ENI_CONFIG.namespace}/${name}`, keys }, 'eni_conf has keys that are not known');
  }
}

const NO_CLUSTER_CONFIG = {
  error: `${missing(ENI_CONFIG.name)}; it names the vSwitches and security groups of trunk ENIs and of pods on exclusive nodes`,
};

function missing(name: string): string {
  return `${nameOfConfigMap(name)} does not exist`;
}
