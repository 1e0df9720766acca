import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { VSwitch } from '../ecs/vpc.ts';
import { seededRandom } from '../util/random.ts';
import { type SelectionPolicy, VSwitchPool } from './vswitch-pool.ts';

const vSwitch = (id: string, availableIpCount: number, zoneId = 'z-a'): VSwitch => ({
  id,
  vpcId: 'vpc-1',
  zoneId,
  status: 'Available',
  cidrBlock: '10.0.0.0/24',
  ipv6CidrBlock: '',
  availableIpCount,
});

function pool(...described: VSwitch[]): VSwitchPool {
  const result = new VSwitchPool();
  result.update(described);
  return result;
}

const random = seededRandom(1);
const take = (from: VSwitchPool, policy: SelectionPolicy, candidates = ['vsw-1', 'vsw-2', 'vsw-3'], nowMs = 0) => {
  const choice = from.take('z-a', candidates, policy, random, nowMs);
  return choice.kind === 'taken' ? choice.vSwitch.id : choice;
};

describe('the policy', () => {
  test('ordered takes the first with a free address, in the order of the candidates', () => {
    const vSwitches = pool(vSwitch('vsw-1', 1), vSwitch('vsw-2', 5));
    expect([1, 2, 3].map(() => take(vSwitches, 'ordered'))).toEqual(['vsw-1', 'vsw-2', 'vsw-2']);
    expect(take(pool(vSwitch('vsw-1', 1), vSwitch('vsw-2', 5)), 'ordered', ['vsw-2', 'vsw-1'])).toBe('vsw-2');
  });

  test('most takes the one with the most free addresses, minus those handed out since', () => {
    const vSwitches = pool(vSwitch('vsw-1', 3), vSwitch('vsw-2', 5));
    expect([1, 2, 3, 4].map(() => take(vSwitches, 'most'))).toEqual(['vsw-2', 'vsw-2', 'vsw-1', 'vsw-2']);
  });

  test('random takes each of them', () => {
    const vSwitches = pool(vSwitch('vsw-1', 1000), vSwitch('vsw-2', 1000), vSwitch('vsw-3', 0));
    const counts = new Map<unknown, number>();
    for (let i = 0; i < 300; i++) {
      const id = take(vSwitches, 'random');
      counts.set(id, (counts.get(id) ?? 0) + 1);
    }
    expect(new Set(counts.keys())).toEqual(new Set(['vsw-1', 'vsw-2']));
    expect(Math.min(...counts.values())).toBeGreaterThan(100);
  });
});

test('vSwitches of other zones and unknown vSwitches are not taken', () => {
  expect(take(pool(vSwitch('vsw-1', 5, 'z-b')), 'ordered')).toEqual({ kind: 'noneInZone' });
  expect(take(pool(), 'ordered')).toEqual({ kind: 'noneInZone' });
  expect(take(pool(vSwitch('vsw-1', 5, 'z-b'), vSwitch('vsw-2', 0)), 'ordered')).toEqual({
    kind: 'full',
    ids: ['vsw-2'],
  });
});

test('one that the cloud reported full is skipped for a while, then tried again', () => {
  const vSwitches = pool(vSwitch('vsw-1', 5), vSwitch('vsw-2', 5));
  vSwitches.block('vsw-1', 0);
  expect(take(vSwitches, 'ordered')).toBe('vsw-2');
  // A new description does not end the pause; its count may be older.
  vSwitches.update([vSwitch('vsw-1', 5)]);
  expect(take(vSwitches, 'ordered', undefined, 14_999)).toBe('vsw-2');
  expect(take(vSwitches, 'ordered', undefined, 15_000)).toBe('vsw-1');
});

test('one that the cloud reported full is tried at once when one of our ENIs in it is deleted', () => {
  const vSwitches = pool(vSwitch('vsw-1', 0));
  vSwitches.block('vsw-1', 0);
  vSwitches.released('vsw-1');
  expect(take(vSwitches, 'ordered')).toBe('vsw-1');
  expect(take(vSwitches, 'ordered')).toEqual({ kind: 'full', ids: ['vsw-1'] });
  vSwitches.released('vsw-unknown');
});

test('one that the cloud no longer knows is not offered', () => {
  const vSwitches = pool(vSwitch('vsw-1', 5));
  vSwitches.remove('vsw-1');
  expect(take(vSwitches, 'ordered')).toEqual({ kind: 'noneInZone' });
  expect(vSwitches.free('vsw-1')).toBeUndefined();
  vSwitches.giveBack('vsw-1');
  vSwitches.block('vsw-1', 0);
  expect(vSwitches.get('vsw-1')).toBeUndefined();
});

test('every free address is handed out exactly once', () => {
  const policy = fc.constantFrom<SelectionPolicy>('ordered', 'random', 'most');
  const action = fc.oneof({ weight: 3, arbitrary: policy }, { weight: 1, arbitrary: fc.constant('giveBack' as const) });
  fc.assert(
    fc.property(fc.array(fc.nat(4), { minLength: 1, maxLength: 3 }), fc.array(action), (counts, actions) => {
      const ids = counts.map((_, at) => `vsw-${at}`);
      const vSwitches = pool(...counts.map((count, at) => vSwitch(`vsw-${at}`, count)));
      const total = counts.reduce((sum, count) => sum + count, 0);
      const taken: string[] = [];
      for (const next of actions) {
        if (next === 'giveBack') {
          const id = taken.pop();
          if (id !== undefined) vSwitches.giveBack(id);
          continue;
        }
        const choice = vSwitches.take('z-a', ids, next, random, 0);
        expect(choice.kind).toBe(taken.length < total ? 'taken' : 'full');
        if (choice.kind === 'taken') taken.push(choice.vSwitch.id);
        for (const id of ids) expect(vSwitches.free(id)).toBeGreaterThanOrEqual(0);
      }
    }),
  );
});

test('one that the cloud reported full is tried again at once when one of its addresses is released', () => {
  const vSwitches = pool(vSwitch('vsw-1', 0));
  vSwitches.block('vsw-1', 0);
  vSwitches.released('vsw-1');
  expect(take(vSwitches, 'ordered', undefined, 1)).toBe('vsw-1');
  expect(take(vSwitches, 'ordered', undefined, 1)).toEqual({ kind: 'full', ids: ['vsw-1'] });
  vSwitches.released('vsw-2');
  expect(vSwitches.get('vsw-2')).toBeUndefined();
});
