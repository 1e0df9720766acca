import { afterEach, expect, test } from 'vitest';
import type { ApiCall } from '../kube/faults.ts';
import { FaultScript } from './script.ts';
import { NETWORKINTERFACES, PODENIS, World } from './world.ts';

/* Every created ENI has an owner. */

let world: World | undefined;

afterEach(() => world?.end());

async function cluster(script: FaultScript): Promise<World> {
  const made = new World({
    config: { leaderElection: false, collector: { interval: '1h', minimumAge: '1h' } },
    kubeFaults: script.kubeFaults,
    onCloudCall: script.onCloudCall,
  });
  world = made;
  made.addNode();
  made.startReplica();
  await made.until('the trunk', () => made.trunkOf('node-1') !== undefined, 60_000);
  return made;
}

test('after an unanswered creation the ENI is searched for before another is planned, even if the cloud is out of addresses', async () => {
  const script = new FaultScript();
  const world = await cluster(script);
  script.cloud('CreateNetworkInterface', { kind: 'lost-answer' });
  script.cloud('CreateNetworkInterface', { kind: 'refused', code: 'InvalidVSwitchId.IpNotEnough', status: 400 });
  world.createPod({ name: 'a', nodeName: 'node-1' });
  await world.until('bound', () => world.isBound('default/a'), 5 * 60_000);
  await world.run(60_000);
  // The collector is off in this world.
  expect(world.unsettled()).toEqual([]);
  expect(world.cloud.enis().filter(({ type }) => type === 'Member')).toHaveLength(1);
});

test('an ENI that lists do not show yet is not left behind by a pod that goes right after its creation', async () => {
  const script = new FaultScript();
  const world = await cluster(script);
  // A time of Kubernetes has whole seconds, so that of the deletion is almost a second too early.
  await world.run(1600 - (world.clock.now() % 1000));
  world.cloud.setBehaviour({ listLag: { createdMs: 4990, deletedMs: 0 } }, world.clock.now());
  world.createPod({ name: 'a', nodeName: 'node-1' });
  await world.run(370);
  const members = () => world.cloud.enis().filter(({ type }) => type !== 'Primary' && type !== 'Trunk');
  expect(members()).toHaveLength(1);
  world.deletePod('default/a', 0);
  await world.until('its record is gone', () => world.podEni('default/a') === undefined, 5 * 60_000);
  expect(members()).toEqual([]);
});

test('an ENI whose answer comes late is looked at before it is deleted', async () => {
  const script = new FaultScript();
  const world = await cluster(script);
  script.cloud('CreateNetworkInterface', { kind: 'slow', answerMs: 12_000 });
  world.createPod({ name: 'a', nodeName: 'node-1' });
  await world.run(1000);
  const looks = script.cloudCalls('DescribeNetworkInterfaces');
  const deletions = script.cloudCalls('DeleteNetworkInterface');
  world.deletePod('default/a', 0);
  await world.until('it is deleted', () => deletions.length > 0, 5 * 60_000);
  const id = deletions[0]?.params['NetworkInterfaceId'];
  expect(looks.flatMap(({ params }) => params['NetworkInterfaceId'])).toContain(id);
});

test('after a crash during a creation, the next process finds the ENI', async () => {
  const script = new FaultScript();
  const world = await cluster(script);
  script.cloud('CreateNetworkInterface', { kind: 'slow', requestMs: 5000 });
  world.createPod({ name: 'a', nodeName: 'node-1' });
  await world.run(1000);
  world.end();
  await world.run(1000);
  script.cloud('CreateNetworkInterface', { kind: 'refused', code: 'InvalidVSwitchId.IpNotEnough', status: 400 });
  world.startReplica();
  await world.until('bound', () => world.isBound('default/a'), 5 * 60_000);
  await world.run(60_000);
  expect(world.unsettled()).toEqual([]);
});

test('a mirror whose creation was not answered is released, also when its PodENI was removed meanwhile', async () => {
  const script = new FaultScript();
  const world = await cluster(script);
  const isMirror = ({ verb, resource }: ApiCall) => verb === 'create' && resource === NETWORKINTERFACES;
  script.kube(isMirror, { kind: 'lost-answer', failure: 'timeout' });
  for (const watch of world.replicas[0]?.transport.watches ?? [])
    if (watch.call.resource === NETWORKINTERFACES) watch.freeze();
  world.createPod({ name: 'a', nodeName: 'node-1' });
  await world.until('the mirror', () => world.state().networkInterfaces.length > 0, 60_000);
  removeByHand(world);
  await world.until('released', () => world.state().networkInterfaces.length === 0, 10 * 60_000);
  await world.run(60_000);
  expect(world.unsettled()).toEqual([]);
});

test('a mirror whose removal was not answered leaves nothing in memory', async () => {
  const script = new FaultScript();
  const world = await cluster(script);
  world.createPod({ name: 'a', nodeName: 'node-1' });
  await world.until('the mirror', () => world.state().networkInterfaces.length > 0, 60_000);
  removeByHand(world);
  const isRemoval = ({ verb, resource, subresource }: ApiCall) =>
    verb === 'patch' && resource === NETWORKINTERFACES && subresource === '';
  script.kube(isRemoval, { kind: 'lost-answer', failure: 'timeout' });
  await world.until('released', () => world.state().networkInterfaces.length === 0, 10 * 60_000);
  await world.run(60_000);
  expect(world.replicas[0]?.leaderState?.held['cloud-calls']).toBe(0);
});

/** Somebody deletes the pod and removes its PodENI by force, so that the mirror has to release the ENI. */
function removeByHand(world: World): void {
  world.deletePod('default/a', 0);
  world.remove(PODENIS, 'default/a');
}
