import { afterEach, expect, test } from 'vitest';
import { ANNOTATION_POD_NETWORKS } from '../../src/crds/names.ts';
import { FaultScript } from './script.ts';
import { World } from './world.ts';

/* vSwitch addresses: which pod gets a freed one, and at what cost. */

let world: World | undefined;

afterEach(() => world?.end());

test('a freed address goes to one waiting pod, without reconciling all the others', async () => {
  const made = new World({ config: { leaderElection: false } });
  world = made;
  for (let at = 0; at < 3; at += 1) made.addNode();
  const small = made.addVSwitch('10.2.0.0/27');
  made.addNetworking('small', { type: 'Elastic' }, [small]);
  const replica = made.startReplica();
  const trunks = () => ['node-1', 'node-2', 'node-3'].every((name) => made.trunkOf(name) !== undefined);
  await made.until('trunks', trunks, 60_000);
  for (let at = 0; at < 250; at += 1) {
    made.createPod({ name: `p-${at}`, nodeName: `node-${(at % 3) + 1}`, networking: 'small' });
  }
  await made.run(90_000);
  const room = made.countOf('Bind');
  expect(room).toBeGreaterThan(20);
  const before = await replica.reconciles('pod-eni');
  const bound = made.podEnis().filter(({ status }) => status?.phase === 'Bind');
  const gone = bound.slice(0, 10).map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
  for (const key of gone) made.deletePod(key, 0);
  const areGone = () => gone.every((key) => made.podEni(key) === undefined);
  await made.until('their successors are bound', () => areGone() && made.countOf('Bind') === room, 60_000);
  expect(made.violations()).toEqual([]);
  // The deleted pods, the new pods, and one reconcile of the next in line for each.
  expect((await replica.reconciles('pod-eni')) - before).toBeLessThan(400);
});

test('pods that describe their own networks do not block others while the VPC API is silent', async () => {
  const script = new FaultScript();
  const made = new World({
    config: { leaderElection: false, podENIMaxConcurrent: 10 },
    kubeFaults: script.kubeFaults,
    onCloudCall: script.onCloudCall,
  });
  world = made;
  made.addNode();
  made.startReplica();
  await made.until('the trunk', () => made.trunkOf('node-1') !== undefined, 60_000);
  await made.run(60_000);
  const own = made.addVSwitch('10.3.0.0/24');
  script.cloud('DescribeVSwitches', { kind: 'lost-request' }, 10_000);
  const podNetworks = [{ vSwitchOptions: [own], securityGroupIDs: [made.securityGroupId], interface: 'eth0' }];
  const annotations = { [ANNOTATION_POD_NETWORKS]: JSON.stringify({ podNetworks }) };
  for (let at = 0; at < 60; at += 1)
    made.createPod({ name: `own-${at}`, nodeName: 'node-1', networking: 'none', annotations });
  await made.run(1000);
  made.createPod({ name: 'ordinary', nodeName: 'node-1' });
  expect(await made.until('bound', () => made.isBound('default/ordinary'), 10 * 60_000)).toBeLessThan(5000);
});
