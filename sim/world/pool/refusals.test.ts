import { afterEach, expect, test } from 'vitest';
import { FaultScript } from '../script.ts';
import { PODNETWORKINGS, type World } from '../world.ts';
import { addresses, createShared, deleteRecord, editConfig, ofPool, poolWorld } from './support.ts';

/* The cloud refuses what the pool of a node asks for. */

let world: World | undefined;

afterEach(() => world?.end());

const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);

/** A node whose pool asks for ENIs with a security group that there is not, and a pod that waits for it. */
async function misconfigured(script = new FaultScript()): Promise<{ made: World; uid: string }> {
  const made = await poolWorld({ enable_eni_trunking: false, security_group: 'sg-typo' }, { script });
  world = made;
  const uid = createShared(made, 'a');
  await made.run(2 * 60_000);
  return { made, uid };
}

const conditionOf = (made: World) =>
  made.state().nodes[0]?.status?.conditions?.find(({ type }) => type === 'PoolReady');

test('a corrected configuration counts at once, although the cloud has refused what the former one asked for', async () => {
  const script = new FaultScript();
  const calls = script.cloudCalls('CreateNetworkInterface');
  const { made, uid } = await misconfigured(script);
  expect(conditionOf(made)).toMatchObject({ status: 'False', reason: 'CloudError' });
  await made.run(10 * 60_000);
  expect(calls.length).toBeLessThan(10);
  editConfig(made, { security_group: made.securityGroupId });
  await made.until('the pod has an address', () => addresses(made).has(uid), 20_000);
});

test('a record that somebody deletes comes back, although the cloud refuses to make an ENI for it', async () => {
  const { made } = await misconfigured();
  const before = made.state().nodes[0]?.metadata.uid;
  deleteRecord(made);
  const isNew = () => ![undefined, before].includes(made.state().nodes[0]?.metadata.uid);
  await made.until('there is a new record', isNew, 60_000);
});

test('a record that somebody deletes comes back, although the cloud refuses to attach its new ENI', async () => {
  const script = new FaultScript();
  const made = await poolWorld({ enable_eni_trunking: false }, { script });
  world = made;
  script.cloud('AttachNetworkInterface', { kind: 'refused', code: 'Forbidden.RAM', status: 403 }, 1e6);
  createShared(made, 'a');
  await made.until('an ENI is made', () => ofPool(made).length === 1, 20_000);
  await made.run(10_000);
  const before = made.state().nodes[0]?.metadata.uid;
  deleteRecord(made);
  const isNew = () => ![undefined, before].includes(made.state().nodes[0]?.metadata.uid);
  await made.until('there is a new record', isNew, 60_000);
});

test('nothing is kept of creations that a full vSwitch has refused', async () => {
  const script = new FaultScript();
  const made = await poolWorld({ enable_eni_trunking: false }, { script });
  world = made;
  const [replica] = made.replicas;
  const isFull = { kind: 'refused', code: 'InvalidVSwitchId.IpNotEnough', status: 403 } as const;
  script.cloud('CreateNetworkInterface', isFull, 1e6);
  createShared(made, 'a');
  // What is under way at the moment changes with each try.
  const mostHeld = async () => {
    let most = 0;
    for (let at = 0; at < 600; at += 1) {
      await made.run(1000);
      most = Math.max(most, sum(Object.values(replica?.leaderState?.held ?? {})));
    }
    return most;
  };
  const before = await mostHeld();
  await made.run(20 * 60_000);
  expect(await mostHeld()).toBeLessThanOrEqual(before);
});

test('a full node does not ask for free addresses again and again', async () => {
  const script = new FaultScript();
  const made = await poolWorld({}, { script, instanceType: 'ecs.g7.xlarge' });
  world = made;
  // They are checked each minute.
  for (const name of ['elastic', 'fixed']) made.remove(PODNETWORKINGS, name);
  for (let at = 0; at < 50; at += 1) createShared(made, `p${at}`);
  await made.until('the node is full', () => addresses(made).size === 45, 60_000);
  await made.run(60_000);
  expect(conditionOf(made)).toMatchObject({ status: 'False', reason: 'NodeFull' });
  const calls = script.cloudCalls('DescribeVSwitches');
  await made.run(10 * 60_000);
  expect(calls.length).toBeLessThanOrEqual(2);
});
