import { afterEach, expect, test } from 'vitest';
import * as z from 'zod';
import { addressesOf, isBound } from '../../../src/allocation/pool/view.ts';
import { addressOf } from '../node/kernel.ts';
import { NODES, World } from '../world.ts';

/* The record of a node goes, and pods of the node run. Who has which address only kubelet and node agent know then. */

const NODE = 'node-1';
const MINUTE_MS = 60_000;

let world: World | undefined;

afterEach(() => world?.end());

async function cluster(eniConf: object): Promise<World> {
  const made = new World({ config: { leaderElection: false }, eniConf: { ipam_type: 'crd', ...eniConf } });
  world = made;
  made.addMachine(made.addNode(), { tellsAddresses: true });
  made.startReplica();
  await made.until('the trunk is attached', () => made.trunkOf(NODE) !== undefined, MINUTE_MS);
  return made;
}

const start = (made: World, name: string) => made.createPod({ name, nodeName: NODE, networking: 'none' });

/** Address of each pod that the record gives one. */
function recorded(made: World): Map<string, string> {
  const enis = Object.values(made.nodeRecord(NODE)?.status?.networkInterfaces ?? {});
  const bound = enis.flatMap((eni) => addressesOf(eni)).filter(isBound);
  return new Map(bound.map(({ podID = '', ip }) => [podID, ip]));
}

/** Address of each pod that has one in its sandbox. */
function wired(made: World): Map<string, string> {
  const wirings = [...(made.machines.get(NODE)?.kernel.wirings.values() ?? [])].filter(({ isComplete }) => isComplete);
  return new Map(
    wirings.map(({ attachment }) => [`${attachment.namespace}/${attachment.name}`, addressOf(attachment)]),
  );
}

function loseRecord(made: World): void {
  const target = { resource: NODES, namespace: undefined, name: NODE, subresource: '' };
  made.kube.delete(target, {}, { actor: 'user', nowMs: made.clock.now() });
}

/** The record gives nothing to a pod but what its sandbox has, as long as that is so. */
async function agree(made: World, ms: number): Promise<void> {
  const untilMs = made.clock.monotonicMs() + ms;
  while (made.clock.monotonicMs() < untilMs) {
    await made.run(1000);
    for (const [pod, ip] of recorded(made)) expect(`${pod} ${ip}`).toBe(`${pod} ${wired(made).get(pod)}`);
  }
}

test('while the stores of pods and sandboxes are late, nobody gets an address, and none is given back', async () => {
  const made = await cluster({ max_pool_size: 0, ip_pool_sync_period: '10s' });
  for (const name of ['a', 'b']) start(made, name);
  await made.until('both run', () => wired(made).size === 2, MINUTE_MS);
  made.deletePod('default/a');
  await made.until('its address is free', () => recorded(made).size === 1, MINUTE_MS);
  // It gets another one than that, which rests.
  start(made, 'c');
  await made.until('it has an address', () => recorded(made).has('default/c'), MINUTE_MS);
  for (const watch of made.replicas[0]?.transport.watches ?? [])
    if (watch.call.resource === 'pods' || watch.call.resource.startsWith('noderuntimes.')) watch.freeze();
  await made.until('it runs', () => wired(made).size === 2, MINUTE_MS);
  await made.run(5000);
  const before = wired(made);
  loseRecord(made);
  // Silent watches are replaced by then.
  await agree(made, 4 * MINUTE_MS);
  expect(recorded(made)).toEqual(before);
});

test('an intent for addresses of a trunk that is gone does not keep the record of a node that leaves', async () => {
  const made = await cluster({ max_pool_size: 0 });
  const status = {
    poolIntents: [
      {
        ...{ clientToken: 'lost', createdAt: new Date(made.clock.now()).toISOString(), attempt: 1, eniID: 'eni-lost' },
        ...{ vSwitchID: made.podVSwitchId, securityGroupIDs: [made.securityGroupId], tags: {}, ipv4: 10, ipv6: 0 },
      },
    ],
  };
  const target = { resource: NODES, namespace: undefined, name: NODE, subresource: 'status' };
  made.kube.patch(target, 'application/merge-patch+json', { status }, { actor: 'user', nowMs: made.clock.now() });
  made.removeMachine(NODE);
  made.deleteNode(NODE);
  await made.until('the record is gone', () => made.nodeRecord(NODE) === undefined, 3 * MINUTE_MS);
});

test('after an edit of the security groups the trunk keeps the new ones', async () => {
  const made = await cluster({ max_pool_size: 0 });
  const group = made.cloud.createSecurityGroup({ vpcId: made.vpcId, name: 'edited' }, made.clock.now());
  const target = { resource: 'configmaps', namespace: 'kube-system', name: 'eni-config', subresource: '' };
  const before = z.object({ eni_conf: z.string() }).parse(made.kube.peek('configmaps', target)?.['data']);
  const data = { eni_conf: before.eni_conf.replaceAll(made.securityGroupId, group) };
  made.kube.patch(target, 'application/merge-patch+json', { data }, { actor: 'user', nowMs: made.clock.now() });
  const groups = () => made.cloud.eni(made.trunkOf(NODE) ?? '')?.securityGroupIds;
  await made.until('it has them', () => groups()?.[0] === group, MINUTE_MS);
  await made.run(5 * MINUTE_MS);
  expect(groups()).toEqual([group]);
});
