import { describe, expect, test } from 'vitest';
import type { NodeAddress, NodeEni, PoolIntent } from '../../crds/node.ts';
import { judgeSupply, type Obstacles, type Shortage, type Supply, supplyOf } from './supply.ts';

const LIMITS = { enis: 2, perEni: { ipv4: 2, ipv6: 2 }, attachments: 5 };
const FREE: Obstacles = {
  hasAddresses: () => true,
  isRefused: () => false,
  hasVSwitch: true,
  isStopped: false,
  isCreationRefused: false,
  areCallsFailing: false,
};

/** An ENI with so many addresses in use, and so many idle ones. */
function eni(id: string, bound: number, idle = 0): NodeEni {
  const addresses = Array.from({ length: bound + idle }, (_, at): NodeAddress => {
    const ip = `${id}-${at}`;
    return { ip, primary: at === 0, status: 'Valid', ...(at < bound ? { podID: `default/${ip}`, podUID: ip } : {}) };
  });
  const ipv4 = Object.fromEntries(addresses.map((address) => [address.ip, address]));
  return { id, status: 'InUse', macAddress: 'm', ipv4CIDR: '10.0.0.0/16', networkInterfaceType: 'Secondary', ipv4 };
}

function found(enis: NodeEni[], obstacles: Partial<Obstacles> = {}, intents: PoolIntent[] = []): Supply {
  const draft = { enis: Object.fromEntries(enis.map((one) => [one.id, one])), intents };
  return supplyOf(draft, ['ipv4'], LIMITS, { ...FREE, ...obstacles });
}

describe('the supply of a node', () => {
  const full = [eni('a', 2), eni('b', 2)];
  const intent: PoolIntent = {
    ...{ clientToken: 't', createdAt: '2026-01-01T00:00:00Z', attempt: 1, eniID: 'b', vSwitchID: 'v', tags: {} },
    ...{ securityGroupIDs: [], ipv4: 1, ipv6: 0 },
  };

  test.each<[string, NodeEni[], Partial<Obstacles>, Supply]>([
    ['an address is idle', [eni('a', 1, 1), eni('b', 2)], {}, 'idle'],
    ['an ENI has room', [eni('a', 2), eni('b', 1)], { hasVSwitch: false }, 'possible'],
    ['an ENI can be made', [eni('a', 2)], {}, 'possible'],
    ['no vSwitch has an address for another ENI', [eni('a', 2)], { hasVSwitch: false }, 'vSwitchFull'],
    ['the vSwitch of the last ENI is full', [eni('a', 2), eni('b', 1)], { hasAddresses: () => false }, 'vSwitchFull'],
    ['the cloud refuses the last ENI more', [eni('a', 2), eni('b', 1)], { isRefused: () => true }, 'refused'],
    ['the cloud makes no other ENI', [eni('a', 2)], { isCreationRefused: true }, 'refused'],
    ['an ENI is not attached', [eni('a', 2), { ...eni('b', 1), status: 'Attaching' }], {}, 'refused'],
    ['nothing has room', full, {}, 'nodeFull'],
  ])('%s', (_, enis, obstacles, supply) => {
    expect(found(enis, obstacles)).toBe(supply);
  });

  test('what is on its way counts unless the calls for it fail', () => {
    const enis = [eni('a', 2), eni('b', 1)];
    expect(found(enis, { hasAddresses: () => false }, [intent])).toBe('possible');
    expect(found(enis, { areCallsFailing: true }, [intent])).toBe('refused');
  });
});

/** What is said over time about findings; `?` while it cannot be told. */
function said(findings: readonly [seconds: number, found: Supply][]): string {
  let shortage: Shortage | undefined;
  return findings
    .map(([seconds, supply]) => {
      const judgement = judgeSupply(supply, shortage, seconds * 1000);
      shortage = judgement.shortage;
      return judgement.isSufficient === undefined ? '?' : judgement.isSufficient ? 'T' : 'F';
    })
    .join('');
}

describe('what is said about it', () => {
  test('a shortage counts when it has lasted, and ends with the first idle address', () => {
    expect(
      said([
        [0, 'idle'],
        [1, 'nodeFull'],
        [30, 'nodeFull'],
        [31, 'nodeFull'],
        [32, 'idle'],
      ]),
    ).toBe('T??FT');
  });

  test('pods that come and go at the limit of a node change nothing', () => {
    const turns = Array.from({ length: 40 }, (_, at): [number, Supply] => [at * 5, at % 4 === 3 ? 'idle' : 'nodeFull']);
    expect(said(turns)).not.toContain('F');
  });

  test('a vSwitch that is tried in vain every 15 s is short, and stays so', () => {
    const tries = Array.from({ length: 20 }, (_, at): [number, Supply] => [
      at * 7.5,
      at % 2 === 0 ? 'vSwitchFull' : 'possible',
    ]);
    expect(said(tries)).toMatch(/^\?{4}(F\?)+$/);
  });

  test('it is over when nothing has been refused for a minute', () => {
    expect(
      said([
        [0, 'vSwitchFull'],
        [40, 'vSwitchFull'],
        [99, 'possible'],
        [100, 'possible'],
      ]),
    ).toBe('?F?T');
  });

  test('the next look comes when time alone changes it', () => {
    expect(judgeSupply('nodeFull', undefined, 5000)).toMatchObject({ againMs: 35_000 });
    expect(judgeSupply('nodeFull', { sinceMs: 0, latestMs: 0 }, 40_000)).not.toHaveProperty('againMs');
    expect(judgeSupply('possible', { sinceMs: 0, latestMs: 1000 }, 2000).againMs).toBe(61_000);
  });
});
