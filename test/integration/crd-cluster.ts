import { allCrds } from '../../src/crds/all.ts';
import { API_GROUP, API_VERSION, type CrdManifest } from '../../src/crds/define.ts';
import { pollUntil } from '../../tools/machine/poll.ts';
import type { ApiClient } from '../cluster/api.ts';
import { type Cluster, startCluster } from '../cluster/cluster.ts';
import { ApiStatusError } from '../cluster/errors.ts';
import { createStateDir } from '../cluster/shared.ts';

const BASE = `/apis/${API_GROUP}/${API_VERSION}`;
const CRDS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';

/** Collections by their plural; those of namespaced kinds lie in namespace `default`. */
export const paths = {
  podNetworkings: `${BASE}/podnetworkings`,
  podEnis: `${BASE}/namespaces/default/podenis`,
  networkInterfaces: `${BASE}/networkinterfaces`,
  nodes: `${BASE}/nodes`,
  nodeRuntimes: `${BASE}/noderuntimes`,
};

/**
 * An API server of its own: definitions hold for a whole cluster, and tests that install variants of them would disturb
 * others.
 */
export async function startApiServer(): Promise<Cluster> {
  return startCluster({
    stateDir: await createStateDir(),
    features: { scheduler: false, controllerManager: false },
    log: () => {},
  });
}

export function manifests(): CrdManifest[] {
  return allCrds.map((crd) => crd.manifest());
}

/**
 * Installs the definitions, or replaces those that are there.
 *
 * @param probe is called until it answers true: a replaced schema takes effect some time after the write was accepted.
 */
export async function installCrds(
  client: ApiClient,
  definitions: readonly CrdManifest[],
  probe: () => Promise<boolean>,
): Promise<void> {
  for (const definition of definitions) {
    await client.patch(`${CRDS}/${definition.metadata.name}`, 'apply', definition, {
      query: { fieldManager: 'test', force: true },
    });
  }
  await pollUntil(async () => ((await probe()) ? true : undefined), {
    what: 'the definitions to be in force',
    timeoutMs: 30_000,
    intervalMs: 100,
  });
}

/** The message of the refusal; fails when the request was accepted, or did not get as far as validation. */
export async function refusal(request: Promise<unknown>): Promise<string> {
  let answer: unknown;
  try {
    answer = await request;
  } catch (error) {
    if (error instanceof ApiStatusError && error.status === 422) return error.message;
    throw error;
  }
  throw new Error(`should have been refused, but was accepted: ${JSON.stringify(answer)}`);
}

/** Whether the API server accepts the creation, without making it. */
export async function accepts(client: ApiClient, path: string, object: unknown): Promise<boolean> {
  try {
    await client.create(path, object, { query: { dryRun: 'All' } });
    return true;
  } catch (error) {
    if (error instanceof ApiStatusError && [404, 422].includes(error.status)) return false;
    throw error;
  }
}
