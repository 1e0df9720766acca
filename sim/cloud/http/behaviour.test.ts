import { afterEach, beforeEach, expect, test } from 'vitest';
import { VirtualClock } from '../../../src/util/test-support/virtual-clock.ts';
import { AdminClient } from '../admin-client.ts';
import { type CloudSimulator, DEFAULT_ACCESS_KEY, startCloudSimulator } from '../server.ts';
import { REGION, seedNetwork, type TestNetwork } from '../test-network.ts';
import { rpcV3 } from './raw-clients.ts';

/** Behaviour set through the control channel, as API clients see it. The clock stands still unless a test advances it. */

let clock: VirtualClock;
let simulator: CloudSimulator;
let admin: AdminClient;
let network: TestNetwork;

beforeEach(async () => {
  clock = new VirtualClock();
  simulator = await startCloudSimulator({ clock, account: { latencies: { createMs: 0, attachMs: 1000 } } });
  admin = new AdminClient(simulator.adminUrl);
  network = seedNetwork(simulator.model, clock.now());
});

afterEach(() => simulator.close());

/** `status`, or `status Code` of a refusal. */
async function call(action: string, query: Record<string, string> = {}): Promise<string> {
  const response = await rpcV3(simulator.endpoint, DEFAULT_ACCESS_KEY, {
    action,
    nowMs: clock.now(),
    query: { RegionId: REGION, ...query },
  });
  const code = /"Code":"([^"]+)"/.exec(await response.text())?.[1];
  return code === undefined ? `${response.status}` : `${response.status} ${code}`;
}

test('a full window refuses calls until the next one begins', async () => {
  await admin.setBehaviour({
    rateWindows: { DescribeZones: { limit: 1, windowMs: 1000, code: 'Throttling.Api' } },
  });
  expect([await call('DescribeZones'), await call('DescribeZones')]).toEqual(['200', '400 Throttling.Api']);
  expect(await call('DescribeRegions')).toBe('200');
  await clock.advance(1000);
  expect(await call('DescribeZones')).toBe('200');
  await admin.setBehaviour({ rateWindows: {} });
  expect([await call('DescribeZones'), await call('DescribeZones')]).toEqual(['200', '200']);
});

test('a failed attachment is reported on time, without a request', async () => {
  await admin.setBehaviour({ attachFaults: [{ outcome: 'fails', count: 1 }] });
  await call('CreateNetworkInterface', { VSwitchId: network.vSwitchId, SecurityGroupId: network.securityGroupId });
  const eni = simulator.model.enis().find(({ type }) => type === 'Secondary')?.id ?? '';
  expect(await call('AttachNetworkInterface', { NetworkInterfaceId: eni, InstanceId: network.instanceId })).toBe('200');
  expect(simulator.model.eni(eni)?.status).toBe('Attaching');
  await clock.advance(1000);
  expect(simulator.model.eni(eni)?.status).toBe('Available');
});

test.each([
  [{ rateWindows: { Nothing: { limit: 1, windowMs: 1000 as const } } }, /rateWindows\.Nothing.*no such API/],
  [{ tagFilterMaxResources: -1 }, /tagFilterMaxResources/],
])('%j is refused, naming field and rule, and changes nothing', async (changes, words) => {
  await expect(admin.setBehaviour(changes)).rejects.toThrow(words);
  expect(await admin.setBehaviour({})).toEqual({
    rateWindows: {},
    tagFilterMaxResources: 0,
    attachFaults: [],
    instanceFilterReturnsMembers: true,
    listLag: { createdMs: 0, deletedMs: 0 },
  });
});
