import { afterAll, beforeAll, expect, test } from 'vitest';
import { NormalisedServer } from '../../sim/kube/conformance/normalised-server.ts';
import { RandomRequests } from '../../sim/kube/conformance/random-requests.ts';
import { CUSTOM_VERSION } from '../../sim/kube/conformance/server.ts';
import { answer, openServerWatch, parseRequest } from '../../sim/kube/handler.ts';
import { resourceOfCrd } from '../../sim/kube/model/crd.ts';
import { KubeModel } from '../../sim/kube/model/model.ts';
import { loadKubeConfig } from '../../src/kube/config.ts';
import { Transport, type TransportRequest } from '../../src/kube/transport.ts';
import { seededRandom } from '../../src/util/random.ts';
import { machine } from '../../src/util/test-support/machine.ts';
import type { Cluster } from '../cluster/cluster.ts';
import { TEST_SEED } from '../harness/chance.ts';
import { accepts, installCrds, manifests, paths, startApiServer } from './crd-cluster.ts';

const ROUNDS = 3;
const REQUESTS = 200;

let cluster: Cluster;
let transport: Transport;

beforeAll(async () => {
  cluster = await startApiServer();
  const client = await cluster.client();
  const probe = { apiVersion: CUSTOM_VERSION, kind: 'PodENI', metadata: { name: 'probe' } };
  await installCrds(client, manifests(), () => accepts(client, paths.podEnis, probe));
  client.close();
  const config = await loadKubeConfig({ path: cluster.kubeconfigPath, clock: machine.clock });
  transport = new Transport({ config, ...machine });
}, 900_000);

afterAll(async () => {
  transport?.close();
  await cluster?.stop();
}, 60_000);

test.each(Array.from({ length: ROUNDS }, (_, round) => TEST_SEED * 1000 + round))(
  'model and server give the same answers to random requests, and the same events (seed %i)',
  async (seed) => {
    const namespace = `random-${seed}`;
    const model = new KubeModel({ resources: manifests().map(resourceOfCrd), startMs: machine.clock.now() });
    const askServer = (request: TransportRequest) => transport.request(request);
    const askModel = ({ method, path, body, contentType }: TransportRequest) => {
      const caller = { actor: 'test', nowMs: machine.clock.now() };
      return Promise.resolve(answer(model, { method, path, body, contentType }, caller));
    };
    for (const send of [askModel, askServer]) await prepare(send, namespace);
    const before = { model: String(model.version), server: await versionOf(namespace) };
    const [mine, real] = [new NormalisedServer(askModel), new NormalisedServer(askServer)];
    const requests = new RandomRequests(seededRandom(seed), namespace);
    for (let i = 0; i < REQUESTS; i++) {
      const request = requests.next();
      expect(await mine.ask(request), `${i}: ${JSON.stringify(request)}`).toEqual(await real.ask(request));
    }
    for (const collection of collections(namespace)) {
      const path = (version: string) => `${collection}?watch=true&timeoutSeconds=1&resourceVersion=${version}`;
      const opened = openServerWatch(model, parseRequest({ method: 'GET', path: path(before.model) }), () => {});
      opened.close();
      const events = real.events(await readStream(path(before.server)));
      expect(mine.events(opened.initial.map(({ text }) => text).join(''))).toEqual(events);
      expect(events.length).toBeGreaterThan(0);
    }
  },
);

function collections(namespace: string): string[] {
  const core = ['configmaps', 'pods'].map((plural) => `/api/v1/namespaces/${namespace}/${plural}`);
  return [`/apis/${CUSTOM_VERSION}/namespaces/${namespace}/podenis`, ...core];
}

async function prepare(send: (request: TransportRequest) => Promise<unknown>, namespace: string): Promise<void> {
  const post = (path: string, name: string) =>
    send({ method: 'POST', path, body: JSON.stringify({ metadata: { name } }) });
  await post('/api/v1/namespaces', namespace);
  // The real server makes no pod without it.
  await post(`/api/v1/namespaces/${namespace}/serviceaccounts`, 'default');
}

async function versionOf(namespace: string): Promise<string> {
  const { body } = await transport.request({ method: 'GET', path: `/api/v1/namespaces/${namespace}/serviceaccounts` });
  const version = /"resourceVersion":"(\d+)"/.exec(body)?.[1];
  if (version === undefined) throw new Error(`no version in ${body}`);
  return version;
}

async function readStream(path: string): Promise<string> {
  const opened = await transport.openStream({ method: 'GET', path });
  if (opened.state === 'refused') throw new Error(opened.body);
  let text = '';
  for await (const chunk of opened.chunks) text += chunk;
  return text;
}
