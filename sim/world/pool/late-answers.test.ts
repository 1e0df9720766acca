import { afterEach, expect, test } from 'vitest';
import { addressesOf } from '../../../src/allocation/pool/view.ts';
import { FaultScript } from '../script.ts';
import type { World } from '../world.ts';
import { addresses, createShared, editConfig, editRecord, enisOf, NODE, ofPool, poolWorld, served } from './support.ts';

/* The cloud shows what was done only after a while, or never, and nodes are replaced. */

let world: World | undefined;

afterEach(() => world?.end());

test('addresses that a description does not show yet are not taken for lost', async () => {
  const listLag = { createdMs: 0, deletedMs: 0, assignedMs: 4000 };
  const script = new FaultScript();
  const made = await poolWorld({ max_pool_size: 5 }, { script, behaviour: { listLag } });
  world = made;
  await made.run(60_000);
  const uids = await served(made, ['a', 'b', 'c']);
  const before = uids.map((uid) => addresses(made).get(uid));
  const group = made.cloud.createSecurityGroup({ vpcId: made.vpcId, name: 'edited' }, made.clock.now());
  const calls = script.cloudCalls('AssignPrivateIpAddresses');
  // The ENI is read for this.
  editConfig(made, { security_group: group });
  for (let count = 0; count < 20; count += 1) {
    await made.run(500);
    const states = enisOf(made).flatMap((eni) => addressesOf(eni).map(({ status }) => status));
    expect(new Set(states)).toEqual(new Set(['Valid']));
  }
  expect(calls).toEqual([]);
  expect(uids.map((uid) => addresses(made).get(uid))).toEqual(before);
});

test('an ENI that somebody detached and then deleted is not looked for without end', async () => {
  const script = new FaultScript();
  const made = await poolWorld({ max_pool_size: 0, enable_eni_trunking: false }, { script });
  world = made;
  await served(made, ['a']);
  await made.run(60_000);
  const [eni] = ofPool(made);
  const id = eni?.id ?? '';
  // While it cannot be attached again.
  script.cloud('AttachNetworkInterface', { kind: 'refused', code: 'InvalidOperation.Conflict', status: 400 }, 1e6);
  made.cloud.detachEniByHand(id, made.clock.now());
  const statusOf = () => enisOf(made).find((one) => one.id === id)?.status;
  await made.until('it is known', () => statusOf() === 'Attaching', 15 * 60_000);
  await made.run(30_000);
  made.cloud.deleteEniByHand(id, made.clock.now());
  await made.until('it is known to be gone', () => ['Deleting', undefined].includes(statusOf()), 5 * 60_000);
  const calls = script.cloudCalls('DescribeNetworkInterfaces');
  await made.run(60_000);
  expect(calls.length).toBeLessThan(20);
});

test('another instance under the name of a node gets its record although pods of the former one are still there', async () => {
  const made = await poolWorld({ max_pool_size: 5 });
  world = made;
  const names = Array.from({ length: 35 }, (_, at) => `p${at}`);
  await served(made, names);
  const target = { resource: 'nodes', namespace: undefined, name: NODE, subresource: '' };
  made.kube.delete(target, {}, { actor: 'user', nowMs: made.clock.now() });
  const { instanceId } = made.addNode(undefined, NODE);
  const isNew = () => made.state().nodes[0]?.spec.nodeMetadata?.instanceID === instanceId;
  await made.until('the record is of the new instance', isNew, 3 * 60_000);
  createShared(made, 'next');
  await made.until('pods get addresses', () => addresses(made).size === 36, 3 * 60_000);
});

test('an edit of the security groups reaches the trunk, and stays', async () => {
  const made = await poolWorld({ max_pool_size: 5 });
  world = made;
  await served(made, ['a', 'b']);
  const group = made.cloud.createSecurityGroup({ vpcId: made.vpcId, name: 'edited' }, made.clock.now());
  editConfig(made, { security_group: group });
  const trunk = () => made.state().cloud.enis.find(({ type }) => type === 'Trunk');
  await made.until('the trunk has it', () => trunk()?.securityGroupIds[0] === group, 60_000);
  await made.run(5 * 60_000);
  expect(trunk()?.securityGroupIds).toEqual([group]);
  for (let count = 0; count < 10; count += 1) {
    createShared(made, `p${count}`);
    await made.run(30_000);
    expect(trunk()?.securityGroupIds).toEqual([group]);
  }
});

test('an intent for addresses of a trunk that is gone does not keep the record of a node that leaves', async () => {
  const made = await poolWorld({ max_pool_size: 0 }, { hasMachine: true });
  world = made;
  const intent = {
    ...{ clientToken: 'lost', createdAt: new Date(made.clock.now()).toISOString(), attempt: 1, eniID: 'eni-lost' },
    ...{ vSwitchID: made.podVSwitchId, securityGroupIDs: [made.securityGroupId], tags: {}, ipv4: 10, ipv6: 0 },
  };
  editRecord(made, { poolIntents: [intent] });
  made.removeMachine(NODE);
  made.deleteNode(NODE);
  await made.until('the record is gone', () => made.nodeRecord(NODE) === undefined, 3 * 60_000);
});
