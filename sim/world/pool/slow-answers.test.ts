import { afterEach, expect, test } from 'vitest';
import { addressesOf } from '../../../src/allocation/pool/view.ts';
import type { CloudFault } from '../cloud-link.ts';
import { FaultScript } from '../script.ts';
import { type World, ZONE } from '../world.ts';
import {
  addresses,
  createShared,
  editConfig,
  editRecord,
  enisOf,
  inConsole,
  ofPool,
  poolWorld,
  says,
  served,
  tells,
} from './support.ts';

/* Calls for addresses that take long, or whose answers do. */

let world: World | undefined;

afterEach(() => world?.end());

/** A node with its trunk; ENIs are compared with the cloud every 15 s. */
async function cluster(script: FaultScript, cidrBlock = '10.3.0.0/24'): Promise<World> {
  const config = { collector: { interval: '15s' } };
  const eniConf = { max_pool_size: 0, ip_pool_sync_period: '1s' };
  const made = await poolWorld(eniConf, { script, config, isAwaited: false });
  world = made;
  editConfig(made, { vswitches: { [ZONE]: [made.addVSwitch(cidrBlock)] } });
  await made.until('the trunk is attached', () => enisOf(made).some(({ status }) => status === 'InUse'), 60_000);
  return made;
}

/** Secondary and primary addresses of shared ENIs, as record and cloud have them. */
const recorded = (made: World) => enisOf(made).flatMap((eni) => addressesOf(eni).map(({ ip }) => ip));
const inCloud = (made: World) =>
  made.state().cloud.enis.flatMap(({ status, type, ipv4 }) => (type === 'Primary' || status !== 'InUse' ? [] : ipv4));

test.each<[string, CloudFault, boolean]>([
  ['whose answer takes 28 s', { kind: 'slow', answerMs: 28_000 }, false],
  ['that arrives after 28 s', { kind: 'slow', requestMs: 28_000 }, false],
  ['whose answer is lost', { kind: 'lost-answer' }, false],
  ['that arrives 20 s after its connection broke', { kind: 'late', ms: 20_000 }, false],
  ['whose answer takes 28 s, and the leader ends meanwhile', { kind: 'slow', answerMs: 28_000 }, true],
])('what comes of an assign %s is handed out once, and no more is asked for', async (_, fault, isKilled) => {
  const script = new FaultScript();
  const made = await cluster(script);
  script.cloud('AssignPrivateIpAddresses', fault);
  const [one = '', ...others] = ['a', 'b', 'c', 'd'].map((name) => createShared(made, name));
  await made.run(10_000);
  if (isKilled) {
    made.replicas[0]?.kill();
    made.startReplica();
  }
  const all = [one, ...others];
  for (let at = 0; at < 60; at += 1) {
    // Asked for once, whoever asks.
    expect(inCloud(made).length).toBeLessThanOrEqual(4);
    await made.run(1000);
  }
  const had = addresses(made);
  expect([...had.keys()].sort()).toEqual([...all].sort());
  expect(new Set([...had.values()].flat()).size).toBe(4);
  expect(new Set(recorded(made))).toEqual(new Set(inCloud(made)));
  expect(made.violations()).toEqual([]);
});

test.each([
  ['', undefined],
  [', and the leader ends meanwhile', { afterMs: 0, leaderlessMs: 0 }],
  [', and the leader ends when it has seen them gone, 10 s before the next', { afterMs: 2000, leaderlessMs: 10_000 }],
])('an address that two calls give back is not assigned before both have ended%s', async (_, change) => {
  const script = new FaultScript();
  // So small that addresses are given anew at once.
  const made = await cluster(script, '10.3.0.0/28');
  const uids = await served(made, ['a', 'b', 'c']);
  inConsole(made, 'CreateNetworkInterface', {
    VSwitchId: made.state().cloud.enis.find(({ type }) => type === 'Trunk')?.vSwitchId ?? '',
    SecurityGroupId: made.securityGroupId,
    SecondaryPrivateIpAddressCount: '8',
  });
  script.cloud('UnassignPrivateIpAddresses', { kind: 'late', ms: 20_000 });
  for (const [at, uid] of uids.entries()) {
    const key = `default/${'abc'[at]}`;
    made.deletePod(key, 0);
    says(made, uid, key, 'deleted');
  }
  await made.until('the addresses are given back', () => inCloud(made).length === 1, 60_000);
  await made.run(change?.afterMs ?? 1000);
  if (change !== undefined) {
    made.replicas[0]?.kill();
    await made.run(change.leaderlessMs);
    made.startReplica();
  }
  const next = ['d', 'e', 'f'].map((name) => createShared(made, name));
  await made.until('they have addresses', () => next.every((uid) => addresses(made).has(uid)), 60_000);
  for (let at = 0; at < 60; at += 1) {
    const missing = [...addresses(made).values()].flat().filter((ip) => !inCloud(made).includes(ip));
    expect(missing).toEqual([]);
    await made.run(1000);
  }
});

test('an ENI that somebody takes out of the record while addresses are given back comes in again without these', async () => {
  const script = new FaultScript();
  const eniConf = { enable_eni_trunking: false, max_pool_size: 0, ip_pool_sync_period: '1s' };
  const made = await poolWorld(eniConf, { script, config: { collector: { interval: '15s' } } });
  world = made;
  const [a = '', b = '', c = ''] = await served(made, ['a', 'b', 'c']);
  tells(made, 'a', addresses(made).get(a) ?? []);
  script.cloud('UnassignPrivateIpAddresses', { kind: 'slow', requestMs: 28_000 });
  for (const [name, uid] of Object.entries({ b, c })) {
    made.deletePod(`default/${name}`, 0);
    says(made, uid, `default/${name}`, 'deleted');
  }
  await made.run(5000);
  const [eni] = ofPool(made);
  editConfig(made, { max_pool_size: 5 });
  editRecord(made, { networkInterfaces: { [eni?.id ?? '']: null } });
  const valid = () => enisOf(made).flatMap((one) => addressesOf(one).filter(({ status }) => status === 'Valid'));
  const isLost = () => valid().some(({ ip }) => !inCloud(made).includes(ip));
  for (let at = 0; at < 90; at += 1) {
    // The collector has had a round.
    if (at === 17) createShared(made, 'd');
    expect(isLost()).toBe(false);
    await made.run(1000);
  }
  expect(addresses(made).size).toBe(2);
  expect(enisOf(made).map(({ id }) => id)).toContain(eni?.id);
});
