import { describe, expect, test } from 'vitest';
import { VSwitchPool } from '../allocation/vswitch-pool.ts';
import type { CloudReads } from '../cloud/port.ts';
import { QuotaScheduler } from '../cloud/quota.ts';
import { MemoryCloud } from '../cloud/test-support/memory-cloud.ts';
import type { VSwitch } from '../ecs/vpc.ts';
import { VirtualClock } from '../util/test-support/virtual-clock.ts';
import { NetworkCatalog } from './network-catalog.ts';

const { signal } = new AbortController();

const vSwitch = (id: string, vpcId = 'vpc-1'): VSwitch => ({
  id,
  vpcId,
  zoneId: 'z',
  cidrBlock: '10.0.0.0/24',
  ipv6CidrBlock: '',
  availableIpCount: 10,
  status: 'Available',
});

/** A cloud with vSwitches and a DescribeVSwitches that is limited like the real quota. */
function scene() {
  const clock = new VirtualClock();
  const quota = new QuotaScheduler({ clock });
  const calls: string[] = [];
  const groupsRequested: string[][] = [];
  const failures: Error[] = [];
  const existing = [vSwitch('vsw-sound'), vSwitch('vsw-elsewhere', 'vpc-2')];
  const cloud: CloudReads = Object.assign(new MemoryCloud(clock), {
    describeVSwitches: async (filter: { ids?: string[]; vpcId?: string }) => {
      // Like the real API, it accepts one id at a time.
      const all = filter.vpcId === undefined ? 'all of the region' : 'all of the VPC';
      calls.push(...(filter.ids ?? [all]));
      await quota.turn({ api: 'DescribeVSwitches', callClass: 'pod' }, signal);
      if (failures.length > 0) throw failures.shift();
      return existing.filter(
        ({ id, vpcId }) => (filter.ids === undefined || filter.ids.includes(id)) && (filter.vpcId ?? vpcId) === vpcId,
      );
    },
    describeSecurityGroups: async (ids: string[]) => {
      groupsRequested.push(ids);
      return ids.map((id) => ({ id, vpcId: 'vpc-1', type: 'normal' }));
    },
  });
  const pool = new VSwitchPool();
  const catalog = new NetworkCatalog({ cloud, clock, vpcId: 'vpc-1', pool });
  return { clock, calls, groupsRequested, failures, existing, catalog };
}

describe('wrong vSwitch ids in PodNetworkings', () => {
  test('do not use up the quota that correct ones need: fifty checked every 10 s cost as much as one', async () => {
    const { clock, calls, catalog } = scene();
    const wrong = Array.from({ length: 50 }, (_, at) => `vsw-wrong-${at}`);
    const look = (id: string) => catalog.lookUp({ vSwitchIds: [id], securityGroupIds: [] }, 8000, signal);
    const minutes = 10;
    for (let round = 0; round < 6 * minutes; round += 1) {
      let sound: string | undefined;
      const checks = [...wrong, 'vsw-sound'].map(async (id) => {
        const answer = await look(id);
        if (id === 'vsw-sound') sound = answer.vSwitches.get(id)?.id;
      });
      // Callers that queue behind them are answered at once.
      await clock.advance(150);
      expect(sound, `round ${round}, after ${calls.length} calls`).toBe('vsw-sound');
      await Promise.all(checks);
      await clock.advance(9850);
    }
    expect(calls.filter((call) => call === 'all of the VPC')).toHaveLength(6 * minutes);
    // Their VPC is looked up once, and again after a while.
    expect(calls.length - 6 * minutes).toBeLessThanOrEqual(2);
  });

  test('are found in one listing when many come at once', async () => {
    const { calls, catalog } = scene();
    const wrong = Array.from({ length: 300 }, (_, at) => `vsw-wrong-${at}`);
    const [, elsewhere] = await Promise.all(
      [...wrong, 'vsw-elsewhere']
        .map((id) => catalog.lookUp({ vSwitchIds: [id], securityGroupIds: [] }, 0, signal))
        .slice(-2),
    );
    expect(elsewhere?.vSwitches.get('vsw-elsewhere')?.vpcId).toBe('vpc-2');
    expect(catalog.knows(wrong)).toBe(true);
    expect(calls.slice(0, 2)).toEqual(['all of the VPC', 'all of the region']);
    expect(calls.filter((call) => call.startsWith('vsw-'))).toEqual([]);
  });

  test('are requested by id when they are few, because a listing of the region has many pages', async () => {
    const { calls, catalog } = scene();
    await catalog.lookUp({ vSwitchIds: ['vsw-a', 'vsw-b'], securityGroupIds: [] }, 0, signal);
    expect(calls).toEqual(['all of the VPC', 'vsw-a', 'vsw-b']);
  });

  test('are known to be wrong for the next caller', async () => {
    const { clock, catalog } = scene();
    for (const id of ['vsw-a', 'vsw-b']) {
      await catalog.lookUp({ vSwitchIds: [id], securityGroupIds: [] }, 0, signal);
      await clock.advance(1);
    }
    expect(catalog.knows(['vsw-a', 'vsw-b'])).toBe(true);
  });

  test('show their VPC, and count as soon as they appear in ours', async () => {
    const { clock, existing, catalog } = scene();
    const look = async (id: string) =>
      (await catalog.lookUp({ vSwitchIds: [id], securityGroupIds: [] }, 0, signal)).vSwitches.get(id)?.vpcId;
    expect(await look('vsw-elsewhere')).toBe('vpc-2');
    expect(await look('vsw-late')).toBeUndefined();
    existing.push(vSwitch('vsw-late'));
    await clock.advance(1);
    expect(await look('vsw-late')).toBe('vpc-1');
    existing.pop();
    await clock.advance(1);
    expect(await look('vsw-late')).toBeUndefined();
  });

  test('are requested again by the next caller after a failure', async () => {
    const { catalog, failures } = scene();
    failures.push(new Error('the cloud is unavailable'));
    const [first, second] = await Promise.allSettled(
      ['vsw-late', 'vsw-elsewhere'].map((id) => catalog.lookUp({ vSwitchIds: [id], securityGroupIds: [] }, 0, signal)),
    );
    expect(first?.status).toBe('rejected');
    expect(second?.status === 'fulfilled' ? second.value.vSwitches.get('vsw-elsewhere')?.vpcId : second).toBe('vpc-2');
  });

  test('are forgotten when nothing has used them for an hour', async () => {
    const { clock, catalog } = scene();
    await catalog.lookUp({ vSwitchIds: ['vsw-a'], securityGroupIds: [] }, 0, signal);
    await clock.advance(3_600_001);
    await catalog.lookUp({ vSwitchIds: ['vsw-sound'], securityGroupIds: [] }, 0, signal);
    expect(catalog.knows(['vsw-a'])).toBe(false);
  });
});

describe('security groups', () => {
  test('are neither remembered nor requested when nobody has asked for them for an hour', async () => {
    const { clock, groupsRequested, catalog } = scene();
    const look = (id: string) => catalog.lookUp({ vSwitchIds: [], securityGroupIds: [id] }, 0, signal);
    await look('sg-before');
    await clock.advance(3_600_001);
    await look('sg-now');
    await clock.advance(1000);
    await look('sg-now');
    expect(groupsRequested).toEqual([['sg-before'], ['sg-now', 'sg-before'], ['sg-now']]);
  });

  test('that a caller wanted who has failed are not requested for others', async () => {
    const { failures, groupsRequested, catalog } = scene();
    failures.push(new Error('the cloud is unavailable'));
    const failed = catalog.lookUp({ vSwitchIds: ['vsw-sound'], securityGroupIds: ['sg-before'] }, 0, signal);
    expect(catalog.size).toBe(1);
    await expect(failed).rejects.toThrow('unavailable');
    expect(catalog.size).toBe(0);
    await catalog.lookUp({ vSwitchIds: [], securityGroupIds: ['sg-now'] }, 0, signal);
    expect(groupsRequested).toEqual([['sg-now']]);
  });
});
