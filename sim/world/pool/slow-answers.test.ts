import { afterEach, expect, test } from 'vitest';
import { addressesOf } from '../../../src/allocation/pool/view.ts';
import type { CloudFault } from '../cloud-link.ts';
import { FaultScript } from '../script.ts';
import { type World, ZONE } from '../world.ts';
import { addresses, createShared, editConfig, enisOf, inConsole, poolWorld, says, served } from './support.ts';

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
  ['', false],
  [', and the leader ends meanwhile', true],
])('an address that two calls give back is not assigned before both have ended%s', async (_, isKilled) => {
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
  await made.run(isKilled ? 0 : 1000);
  if (isKilled) {
    made.replicas[0]?.kill();
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
