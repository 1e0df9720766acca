import { errorMessage } from '../util/errors.ts';
import type { ControlPlaneConfig } from './control-plane.ts';
import { ConfigError } from './errors.ts';

/** ConfigMap in which ACK identifies the cluster; its keys are `clusterid` and `vpcid`. */
export const CLUSTER_PROFILE = { namespace: 'kube-system', name: 'ack-cluster-profile' } as const;

/** Where the cluster lives. */
export interface Identity {
  regionID: string;
  clusterID: string;
  vpcID: string;
}

/** Where to look up what the configuration leaves out. */
export interface IdentitySources {
  /** Data of {@link CLUSTER_PROFILE}; undefined when there is none. */
  clusterProfile: () => Promise<Record<string, string> | undefined>;
  /** One item of the instance's metadata, such as `region-id`. */
  metadata: (path: string) => Promise<string>;
}

/**
 * Where the cluster lives: from the configuration, and for missing keys from the sources.
 *
 * @throws ConfigError naming the key that is neither configured nor found, where it was looked for, why that failed, and what to set
 */
export async function findIdentity(
  config: Pick<ControlPlaneConfig, keyof Identity>,
  sources: IdentitySources,
): Promise<Identity> {
  const profile = once(sources.clusterProfile);
  const fromProfile = async (key: string) => {
    const value = (await profile())?.[key] ?? '';
    if (value !== '') return value;
    throw new Error(`ConfigMap ${CLUSTER_PROFILE.namespace}/${CLUSTER_PROFILE.name} has no ${key}`);
  };
  const [regionID, clusterID, vpcID] = await Promise.all([
    config.regionID ?? first('regionID', [() => sources.metadata('region-id')]),
    config.clusterID ?? first('clusterID', [() => fromProfile('clusterid')]),
    config.vpcID ?? first('vpcID', [() => fromProfile('vpcid'), () => sources.metadata('vpc-id')]),
  ]);
  return { regionID, clusterID, vpcID };
}

async function first(key: keyof Identity, sources: (() => Promise<string>)[]): Promise<string> {
  const failures: string[] = [];
  for (const source of sources) {
    try {
      const value = (await source()).trim();
      if (value !== '') return value;
      failures.push('the answer was empty');
    } catch (error) {
      failures.push(errorMessage(error));
    }
  }
  const hint =
    key === 'clusterID' ? ' to an id that no other cluster of the account has: every ENI carries it as a tag' : '';
  throw new ConfigError(
    `${key}: is not configured and was not found: ${failures.join('; ')}; set ${key} in the configuration (controlPlane.config.${key} of the chart)${hint}`,
  );
}

function once<T>(ask: () => Promise<T>): () => Promise<T> {
  let answer: Promise<T> | undefined;
  return () => (answer ??= ask());
}
