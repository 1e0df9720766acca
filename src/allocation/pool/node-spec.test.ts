import { expect, test } from 'vitest';
import { blockedTags, daemonSpec, type NodeTraits, type SharedEniConfig } from './node-spec.ts';

const CONFIG: SharedEniConfig = {
  vSwitchIds: ['vsw-1', 'vsw-2'],
  securityGroupIds: ['sg-1'],
  tags: {},
  vSwitchSelectPolicy: 'most',
  tagFilter: {},
  tagBlockList: [],
  resourceGroupID: '',
  dualStack: false,
  pool: { maxPoolSize: 5, minPoolSize: 1, poolSyncPeriod: '30s' },
};
/** ecs.g7.xlarge */
const NODE: NodeTraits = {
  cap: { adapters: 4, totalAdapters: 20, ipv4PerAdapter: 15, ipv6PerAdapter: 15, memberAdapterLimit: 16 },
  instanceType: 'ecs.g7.xlarge',
  isExclusive: false,
  hasTrunk: false,
};
const BUILT_IN = [
  { key: 'creator', value: 'alibabacloud-erdma-controller' },
  { key: 'terway.alibabacloud.com/excluded', value: 'true' },
];
const secondary = (count: number) => ({
  networkInterfaceType: 'Secondary',
  networkInterfaceTrafficMode: 'Standard',
  count,
});
const TRUNK = { networkInterfaceType: 'Trunk', networkInterfaceTrafficMode: 'Standard', count: 1 };

const written = (config: Partial<SharedEniConfig>, node: Partial<NodeTraits> = {}) =>
  daemonSpec({ ...CONFIG, ...config }, { ...NODE, ...node });

test('a node that shares ENIs', () => {
  expect(written({})).toEqual({
    spec: {
      eni: {
        vSwitchOptions: ['vsw-1', 'vsw-2'],
        securityGroupIDs: ['sg-1'],
        vSwitchSelectPolicy: 'most',
        enableIPv4: true,
        tagBlockList: BUILT_IN,
      },
      pool: CONFIG.pool,
      flavor: [secondary(3)],
      datapath: { type: 'veth' },
    },
  });
});

test('tags, their filter and block list and the resource group are copied', () => {
  const own = { key: 'team', value: 'b' };
  const given = {
    tags: { team: 'a' },
    tagFilter: { team: 'a' },
    tagBlockList: [own, ...BUILT_IN, own],
    resourceGroupID: 'rg-1',
  };
  expect(written(given)).toMatchObject({
    spec: {
      eni: { tag: given.tags, tagFilter: given.tagFilter, tagBlockList: [...BUILT_IN, own], resourceGroupID: 'rg-1' },
    },
  });
});

test.each<[string, Partial<NodeTraits>, object[]]>([
  ['with a trunk', { hasTrunk: true }, [TRUNK, secondary(2)]],
  ['of a type without members', { hasTrunk: true, cap: { ...NODE.cap, memberAdapterLimit: 0 } }, [secondary(3)]],
  ['whose pods get whole ENIs', { hasTrunk: true, isExclusive: true }, [secondary(3)]],
  ['with its primary ENI alone', { hasTrunk: true, cap: { ...NODE.cap, adapters: 1 } }, [secondary(0)]],
  ['of unknown capacity', { hasTrunk: true, cap: {} }, [secondary(0)]],
])('the flavor of a node %s', (_, node, flavor) => {
  const outcome = written({}, node);
  expect(outcome).toMatchObject({ spec: { flavor } });
  const enableTrunk = 'spec' in outcome ? outcome.spec.eni.enableTrunk : undefined;
  expect(enableTrunk === true).toBe(flavor.includes(TRUNK));
});

test('a node whose pods get whole ENIs keeps none idle', () => {
  expect(written({}, { isExclusive: true })).toMatchObject({ spec: { pool: { maxPoolSize: 0, minPoolSize: 0 } } });
});

test('pods get both families where an ENI has as many addresses of each', () => {
  expect(written({ dualStack: true })).toMatchObject({ spec: { eni: { enableIPv4: true, enableIPv6: true } } });
  const cap = { ...NODE.cap, ipv6PerAdapter: 1 };
  const outcome = written({ dualStack: true }, { cap });
  expect(outcome).toEqual({
    ...written({}, { cap }),
    shortfall: expect.stringMatching(/ecs\.g7\.xlarge has 15 IPv4 and 1 IPv6 .* IPv4 alone/),
  });
});

test('a node whose daemon wrote no block list has the built-in one', () => {
  expect(blockedTags({})).toEqual(BUILT_IN);
  expect(blockedTags({ tagBlockList: [] })).toEqual([]);
  expect(blockedTags({ tagBlockList: [{ value: 'x' }, { key: 'a' }] })).toEqual([{ key: 'a', value: '' }]);
});
