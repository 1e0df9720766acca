import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { mergeEniConf, type ParsedPoolConfig, parseEniConfig, readEniConf } from './eni-config.ts';

const PLACE = { vswitches: { h: ['vsw-1'] }, security_group: 'sg-1' };

function pool(conf: object): ParsedPoolConfig {
  const parsed = parseEniConfig({ eni_conf: JSON.stringify({ ...PLACE, ...conf }) });
  return 'config' in parsed ? parsed.config.pool : parsed;
}

describe('the pool of a node', () => {
  test('as in a cluster that Terway installed', () => {
    const conf = { max_pool_size: 5, min_pool_size: 0, vswitch_selection_policy: 'ordered', ip_stack: 'ipv4' };
    expect(pool(conf)).toEqual({
      config: {
        pool: { maxPoolSize: 5, minPoolSize: 0 },
        vSwitchSelectPolicy: 'most',
        tagFilter: {},
        tagBlockList: [],
        resourceGroupID: '',
        dualStack: false,
      },
    });
  });

  test('with every key', () => {
    const conf = {
      max_pool_size: 25,
      min_pool_size: 10,
      ip_warm_up_size: 20,
      ip_pool_sync_period: '30s',
      idle_ip_reclaim_after: '2m',
      idle_ip_reclaim_interval: '30s',
      idle_ip_reclaim_batch_size: 3,
      idle_ip_reclaim_jitter_factor: '0.2',
      vswitch_selection_policy: 'random',
      eni_tag_filter: { team: 'a' },
      eni_tag_block_list: [{ key: 'managed-by', value: 'x' }],
      resource_group_id: 'rg-1',
      ip_stack: 'dual',
    };
    const reclaim = { after: '2m', interval: '30s', batchSize: 3, jitterFactor: '0.2' };
    expect(pool(conf)).toEqual({
      config: {
        pool: { maxPoolSize: 25, minPoolSize: 10, warmUpSize: 20, poolSyncPeriod: '30s', reclaim },
        vSwitchSelectPolicy: 'random',
        tagFilter: { team: 'a' },
        tagBlockList: [{ key: 'managed-by', value: 'x' }],
        resourceGroupID: 'rg-1',
        dualStack: true,
      },
    });
  });

  test('without its keys is empty, and null and the empty text are no values', () => {
    const unset = {
      max_pool_size: null,
      ip_warm_up_size: null,
      ip_pool_sync_period: '',
      idle_ip_reclaim_after: '',
      idle_ip_reclaim_interval: '3m',
      eni_tag_filter: null,
      eni_tag_block_list: [null, {}, { value: 'x' }, { key: '', value: 'x' }],
      resource_group_id: null,
      enable_ip_prefix: false,
      ip_stack: '',
    };
    expect(pool(unset)).toEqual(pool({}));
    expect(pool({})).toMatchObject({ config: { pool: { maxPoolSize: 0, minPoolSize: 0 }, dualStack: false } });
  });

  test.each([
    [{}, { interval: '10m', batchSize: 5, jitterFactor: '0.1' }],
    [
      { idle_ip_reclaim_batch_size: 0, idle_ip_reclaim_interval: null },
      { interval: '10m', batchSize: 5 },
    ],
    [
      { idle_ip_reclaim_batch_size: -1, idle_ip_reclaim_jitter_factor: 'x' },
      { batchSize: -1, jitterFactor: 'x' },
    ],
  ])('reclaims idle addresses once idle_ip_reclaim_after is set: %j', (conf, reclaim) => {
    expect(pool({ idle_ip_reclaim_after: '1h', ...conf })).toMatchObject({
      config: { pool: { reclaim: { after: '1h', ...reclaim } } },
    });
  });

  test.each([
    ['ordered', 'most'],
    ['most', 'most'],
    ['random', 'random'],
    ['', 'random'],
    ['whatever', 'random'],
  ])('vswitch_selection_policy %j chooses %s', (policy, chosen) => {
    expect(pool({ vswitch_selection_policy: policy })).toMatchObject({ config: { vSwitchSelectPolicy: chosen } });
  });

  test.each<[object, string]>([
    [{ max_pool_size: -1 }, 'max_pool_size: must be at least 0 (it is -1)'],
    [{ min_pool_size: '5' }, 'min_pool_size: must be of type number, not string (it is "5")'],
    [{ ip_warm_up_size: 1.5 }, 'ip_warm_up_size: must be a whole number (it is 1.5)'],
    [{ ip_pool_sync_period: 30 }, 'ip_pool_sync_period: must be of type string, not number (it is 30)'],
    [{ idle_ip_reclaim_after: '30' }, 'idle_ip_reclaim_after: must be a Go duration such as 30m (it is "30")'],
    [{ idle_ip_reclaim_interval: '1d' }, 'idle_ip_reclaim_interval: must be a Go duration such as 30m (it is "1d")'],
    [{ eni_tag_filter: { a: 1 } }, 'eni_tag_filter.a: must be of type string, not number (it is 1)'],
    [
      { eni_tag_block_list: [{ key: 'a' }, { key: 7 }] },
      'eni_tag_block_list.1.key: must be of type string, not number (it is 7)',
    ],
    [
      { ip_stack: 'ipv6' },
      'ip_stack: ipv6 alone is not supported on shared ENIs; use dual, or ipv4, or let a PodNetworking select the pods (it is "ipv6")',
    ],
    [
      { enable_ip_prefix: true },
      'enable_ip_prefix: prefixes are not supported; remove the key, or keep Terway’s control plane (it is true)',
    ],
    [{ ip_stack: 'IPv4' }, 'ip_stack: must be ipv4 or dual (it is "IPv4")'],
  ])('is refused with key, rule and value: %j', (conf, message) => {
    expect(pool(conf)).toEqual({ error: `ConfigMap kube-system/eni-config, key eni_conf: ${message}` });
  });

  test('that is refused leaves trunks and pods with ENIs of their own alone', () => {
    const data = { eni_conf: JSON.stringify({ ...PLACE, max_pool_size: 'many', ip_stack: 'ipv6' }) };
    expect(parseEniConfig(data)).toMatchObject({
      config: { securityGroupIds: ['sg-1'], pool: { error: expect.stringContaining('max_pool_size') } },
    });
  });

  test('is that of the node’s own ConfigMap over that of the cluster', () => {
    const conf = (name: string, value: object) => readEniConf(name, { eni_conf: JSON.stringify(value) });
    const cluster = conf('eni-config', { ...PLACE, max_pool_size: 5, min_pool_size: 1, idle_ip_reclaim_after: '1h' });
    const merged = (own: object) => mergeEniConf([cluster, conf('gpu', own)], 'gpu');
    expect(merged({ min_pool_size: 3, idle_ip_reclaim_after: null })).toMatchObject({
      config: { pool: { config: { pool: { maxPoolSize: 5, minPoolSize: 3 } } } },
    });
    expect(merged({ min_pool_size: 'x' })).toMatchObject({
      config: {
        pool: { error: expect.stringMatching(/^ConfigMap kube-system\/gpu over eni-config, .* min_pool_size/) },
      },
    });
  });

  test('is read, or refused in one line, whatever the keys hold', () => {
    const key = fc.constantFrom(
      ...['max_pool_size', 'min_pool_size', 'ip_warm_up_size', 'ip_pool_sync_period', 'vswitch_selection_policy'],
      ...['idle_ip_reclaim_after', 'idle_ip_reclaim_interval', 'idle_ip_reclaim_batch_size'],
      ...[
        'idle_ip_reclaim_jitter_factor',
        'eni_tag_filter',
        'eni_tag_block_list',
        'resource_group_id',
        'ip_stack',
        'enable_ip_prefix',
      ],
    );
    fc.assert(
      fc.property(fc.dictionary(key, fc.jsonValue()), (conf) => {
        const parsed = pool(conf);
        if ('error' in parsed) expect(parsed.error).toMatch(/^ConfigMap kube-system\/eni-config, key eni_conf: .+$/);
        else expect(parsed.config.pool.maxPoolSize).toBeGreaterThanOrEqual(0);
      }),
    );
  });
});
