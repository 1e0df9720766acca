import { afterEach, expect, test } from 'vitest';
import { ANNOTATION_REPORTS_RELEASE } from '../../../src/crds/names.ts';
import { NODERUNTIMES, World } from '../world.ts';
import { ofPool } from './support.ts';

/* The leader ends while much is under way. */

const NODES = 25;
const ENIS_EACH = 4;

let world: World | undefined;

afterEach(() => world?.end());

test('a leader that is killed with a hundred attachments under way loses none of the ENIs, and the next makes no other', async () => {
  // One more address of the last ENI serves a pod.
  const size = ENIS_EACH * 30 - 1;
  const made = new World({
    config: { leaderElection: false },
    eniConf: { ipam_type: 'crd', enable_eni_trunking: false, min_pool_size: size, max_pool_size: size },
    latencies: { attachMs: 20_000 },
  });
  world = made;
  const names = Array.from({ length: NODES }, () => made.addNode('ecs.g7.4xlarge').name);
  for (const name of names) {
    const metadata = { name, annotations: { [ANNOTATION_REPORTS_RELEASE]: 'true' } };
    made.create(NODERUNTIMES, undefined, { metadata, spec: {} });
  }
  made.startReplica();
  const attaching = () => ofPool(made).filter(({ status }) => status === 'Attaching').length;
  await made.until('all attachments are under way', () => attaching() === NODES * ENIS_EACH, 5 * 60_000);
  const enis = new Set(ofPool(made).map(({ id }) => id));
  made.replicas[0]?.kill();
  made.startReplica();
  await made.until('all are attached', () => ofPool(made).every(({ status }) => status === 'InUse'), 60_000);
  const pods = names.map((nodeName, at) => made.createPod({ name: `p${at}`, nodeName, networking: 'none' }));
  const recorded = () => made.state().nodes.flatMap(({ status }) => Object.values(status?.networkInterfaces ?? {}));
  const holders = () =>
    new Set(recorded().flatMap(({ ipv4 = {} }) => Object.values(ipv4).flatMap(({ podUID }) => podUID ?? [])));
  const isServed = () => pods.every(({ metadata }) => holders().has(metadata.uid));
  await made.until('all pods have addresses', isServed, 60_000);
  await made.run(60_000);
  const now = ofPool(made);
  expect(new Set(now.map(({ id }) => id))).toEqual(enis);
  expect(new Set(recorded().map(({ id }) => id))).toEqual(new Set(now.map(({ id }) => id)));
  expect(now.every(({ status }) => status === 'InUse')).toBe(true);
  expect(made.violations()).toEqual([]);
});
