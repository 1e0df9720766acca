import { describe, expect, test } from 'vitest';
import { systemClock } from '../util/clock.ts';
import { type DegradationLevel, withDegradation } from './degradation.ts';
import { CloudError } from './errors.ts';
import type { Cloud } from './port.ts';
import { MemoryCloud } from './test-support/memory-cloud.ts';

const leave = { signal: new AbortController().signal, callClass: 'pod' } as const;

const ATTACHMENT = { eniId: 'eni-1', instanceId: 'i-1' };
const ASSIGNMENT = { eniId: 'eni-1', count: 1, clientToken: 't' };

/** Each method of the port, and the lowest level that forbids it. */
const CALLS: Record<keyof Cloud, { call: (cloud: Cloud) => Promise<unknown>; forbiddenBy: DegradationLevel[] }> = {
  createEni: {
    call: (cloud) =>
      cloud.createEni(
        {
          kind: 'Secondary',
          vSwitchId: 'vsw-1',
          securityGroupIds: ['sg-1'],
          tags: {},
          deleteOnRelease: true,
          description: '',
          clientToken: 't',
        },
        leave,
      ),
    forbiddenBy: ['l0'],
  },
  attachEni: { call: (cloud) => cloud.attachEni(ATTACHMENT, leave), forbiddenBy: ['l0'] },
  detachEni: { call: (cloud) => cloud.detachEni(ATTACHMENT, leave), forbiddenBy: ['l0', 'l1'] },
  deleteEni: { call: (cloud) => cloud.deleteEni('eni-1', leave), forbiddenBy: ['l0', 'l1'] },
  modifyEniSecurityGroups: {
    call: (cloud) => cloud.modifyEniSecurityGroups('eni-1', ['sg-1'], leave),
    forbiddenBy: ['l0'],
  },
  assignIpv4: { call: (cloud) => cloud.assignIpv4(ASSIGNMENT, leave), forbiddenBy: ['l0'] },
  assignIpv6: { call: (cloud) => cloud.assignIpv6(ASSIGNMENT, leave), forbiddenBy: ['l0'] },
  unassignIpv4: {
    call: (cloud) => cloud.unassignIpv4({ eniId: 'eni-1', addresses: ['10.0.0.9'] }, leave),
    forbiddenBy: ['l0', 'l1'],
  },
  unassignIpv6: {
    call: (cloud) => cloud.unassignIpv6({ eniId: 'eni-1', addresses: ['fd00::9'] }, leave),
    forbiddenBy: ['l0', 'l1'],
  },
  describeEnis: { call: (cloud) => cloud.describeEnis({}, leave), forbiddenBy: ['l0'] },
  describeInstanceTypes: { call: (cloud) => cloud.describeInstanceTypes([], leave), forbiddenBy: ['l0'] },
  describeInstances: { call: (cloud) => cloud.describeInstances([], leave), forbiddenBy: ['l0'] },
  describeVSwitches: { call: (cloud) => cloud.describeVSwitches({}, leave), forbiddenBy: ['l0'] },
  describeSecurityGroups: { call: (cloud) => cloud.describeSecurityGroups([], leave), forbiddenBy: ['l0'] },
};

/** A cloud that only counts the calls that reach it. */
function counting() {
  const reached: string[] = [];
  const cloud = new Proxy(new MemoryCloud(systemClock), {
    get: (_target, name) => async () => {
      reached.push(String(name));
    },
  });
  return { cloud, reached };
}

describe.each<DegradationLevel>(['', 'l1', 'l0'])('with degradation "%s"', (level) => {
  test.each(Object.entries(CALLS))('%s', async (method, { call, forbiddenBy }) => {
    const { cloud, reached } = counting();
    const failure: unknown = await call(withDegradation(cloud, () => level)).then(
      () => undefined,
      (error: unknown) => error,
    );
    if (forbiddenBy.includes(level)) {
      expect(failure).toBeInstanceOf(CloudError);
      expect(failure).toMatchObject({ kind: 'degraded', code: `Degraded.${level}` });
      expect(reached).toEqual([]);
    } else {
      expect(failure).toBeUndefined();
      expect(reached).toEqual([method]);
    }
  });
});

test('the level is read at each call', async () => {
  const { cloud, reached } = counting();
  let level: DegradationLevel = 'l1';
  const guarded = withDegradation(cloud, () => level);
  await expect(guarded.deleteEni('eni-1', leave)).rejects.toThrow(
    'with degradation l1 the control plane releases nothing',
  );
  level = '';
  await guarded.deleteEni('eni-1', leave);
  expect(reached).toEqual(['deleteEni']);
});
