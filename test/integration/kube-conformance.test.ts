import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { conformance } from '../../sim/kube/conformance/all.ts';
import { KubeClient } from '../../src/kube/client.ts';
import { loadKubeConfig } from '../../src/kube/config.ts';
import { Transport } from '../../src/kube/transport.ts';
import { machine } from '../../src/util/test-support/machine.ts';
import { type Cluster, startCluster } from '../cluster/cluster.ts';
import { createStateDir } from '../cluster/shared.ts';
import { accepts, installCrds, manifests, paths } from './crd-cluster.ts';

/**
 * The model of the API server (`sim/kube`) is only worth what it has in common with the real one: the same cases run there.
 *
 * No service accounts are asked for, since nothing makes them here. What the server forgets, it forgets after seconds; of
 * secrets it keeps no cache, so that a watch of them finds out.
 */
const FLAGS = [
  '--disable-admission-plugins=ServiceAccount',
  '--etcd-compaction-interval=5s',
  '--watch-cache-sizes=secrets#0',
];

let cluster: Cluster;
let transport: Transport;
let client: KubeClient;

beforeAll(async () => {
  cluster = await startCluster({
    stateDir: await createStateDir(),
    features: { scheduler: false, controllerManager: false },
    extraFlags: { 'kube-apiserver': FLAGS },
    log: () => {},
  });
  const api = await cluster.client();
  const probe = { apiVersion: 'network.alibabacloud.com/v1beta1', kind: 'PodNetworking', metadata: { name: 'probe' } };
  await installCrds(api, manifests(), () => accepts(api, paths.podNetworkings, probe));
  api.close();
  const { clock, random } = machine;
  const config = await loadKubeConfig({ path: cluster.kubeconfigPath, clock });
  transport = new Transport({ config, clock, random });
  client = new KubeClient({ transport, clock, random });
}, 900_000);

afterAll(async () => {
  transport?.close();
  await cluster?.stop();
}, 60_000);

for (const [theme, cases] of Object.entries(conformance)) {
  describe(theme, () => {
    // Some wait for the server for seconds; each has a namespace of its own.
    test.concurrent.each(Object.entries(cases))('%s', async (_title, run) => {
      const namespace = `case-${randomBytes(4).toString('hex')}`;
      const body = JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
      await transport.request({ method: 'POST', path: '/api/v1/namespaces', body });
      await run({ transport, client, clock: machine.clock, namespace, forgetHistory: () => {} });
    });
  });
}
