import { describe, expect, test } from 'vitest';
import { unknownEniConfKeys } from './eni-conf-keys.ts';
import { type EniConf, mergeEniConf, parseEniConfig, readEniConf } from './eni-config.ts';

const parse = (value: unknown) =>
  parseEniConfig({ eni_conf: typeof value === 'string' ? value : JSON.stringify(value) });
const groups = (n: number) => Array.from({ length: n }, (_, at) => `sg-${at}`);

describe('eni-config', () => {
  test('of a cluster that upstream installed is read; keys for the node daemon are ignored', () => {
    const parsed = parse({
      version: '1',
      max_pool_size: 5,
      min_pool_size: 0,
      credential_path: '/var/addon/token-config',
      vswitches: { 'cn-hangzhou-i': ['vsw-1', 'vsw-2'], 'cn-hangzhou-j': [] },
      eni_tags: { 'ack.aliyun.com': 'c1' },
      service_cidr: '172.16.0.0/16',
      security_group: 'sg-1',
      vswitch_selection_policy: 'ordered',
    });
    expect(parsed).toEqual({
      config: {
        vSwitchesByZone: { 'cn-hangzhou-i': ['vsw-1', 'vsw-2'], 'cn-hangzhou-j': [] },
        vSwitchesAnywhere: [],
        securityGroupIds: ['sg-1'],
        tags: { 'ack.aliyun.com': 'c1' },
        trunking: undefined,
        isCentral: false,
        pool: expect.objectContaining({
          config: expect.objectContaining({ pool: { maxPoolSize: 5, minPoolSize: 0 } }),
        }),
      },
    });
  });

  test.each([
    [['vsw-1', 'vsw-2'], { vSwitchesByZone: {}, vSwitchesAnywhere: ['vsw-1', 'vsw-2'] }],
    ['vsw-1', { vSwitchesByZone: {}, vSwitchesAnywhere: ['vsw-1'] }],
    [{ z: 'vsw-1' }, { vSwitchesByZone: { z: ['vsw-1'] }, vSwitchesAnywhere: [] }],
  ])('names vSwitches by zone, or as a list: %j', (vswitches, places) => {
    expect(parse({ security_group: 'sg-1', vswitches })).toMatchObject({
      config: { ...places, securityGroupIds: ['sg-1'] },
    });
  });

  test.each([
    [{ security_group: 'sg-1' }, ['sg-1']],
    [{ security_groups: ['sg-1', 'sg-2'] }, ['sg-1', 'sg-2']],
    [{ security_group: 'sg-2', security_groups: ['sg-1', 'sg-2'] }, ['sg-1', 'sg-2']],
    [{ security_group: '', security_groups: ['sg-1'] }, ['sg-1']],
    [{ security_groups: groups(10) }, groups(10)],
  ])('names security groups in one of two ways, or both: %j', (value, securityGroupIds) => {
    expect(parse(value)).toMatchObject({
      config: { vSwitchesByZone: {}, vSwitchesAnywhere: [], securityGroupIds },
    });
  });

  test.each([
    [{}, {}, undefined],
    [{ eni_tags: null, enable_eni_trunking: null }, {}, undefined],
    [{ eni_tags: { team: 'a', empty: '' }, enable_eni_trunking: true }, { team: 'a', empty: '' }, true],
    [{ enable_eni_trunking: false }, {}, false],
  ])('has tags for trunk ENIs, and may turn trunks on or off: %j', (value, tags, trunking) => {
    expect(parse({ security_group: 'sg-1', ...value })).toMatchObject({ config: { tags, trunking } });
  });

  test.each<[unknown, string]>([
    [{}, 'names no security group (security_group or security_groups)'],
    [{ security_group: '' }, 'names no security group (security_group or security_groups)'],
    [
      { security_group: 'sg-x', security_groups: groups(10) },
      'security_group and security_groups name 11 security groups; an ENI takes at most 10',
    ],
    [{ security_group: ['sg-1'] }, 'security_group: must be of type string, not array (it is ["sg-1"])'],
    [{ security_groups: 'sg-1' }, 'security_groups: must be of type array, not string (it is "sg-1")'],
    [
      { vswitches: { z: [1] } },
      'vswitches: must be a map of zone to vSwitch ids, or a list of vSwitch ids (it is {"z":[1]})',
    ],
    [{ vswitches: 1 }, 'vswitches: must be a map of zone to vSwitch ids, or a list of vSwitch ids (it is 1)'],
    [{ eni_tags: { team: 1 } }, 'eni_tags.team: must be of type string, not number (it is 1)'],
    [{ enable_eni_trunking: 'no' }, 'enable_eni_trunking: must be of type boolean, not string (it is "no")'],
    [[], 'must be a JSON object'],
    ['null', 'must be a JSON object'],
  ])('is refused with field and rule: %j', (value, message) => {
    expect(parse(value)).toEqual({ error: `ConfigMap kube-system/eni-config, key eni_conf: ${message}` });
  });

  test.each([undefined, null, '', 'default', 'crd'])(
    'says who gives addresses to ordinary pods: ipam_type %j',
    (ipam_type) => {
      const parsed = parse({ security_group: 'sg-1', ipam_type });
      expect(parsed).toMatchObject({ config: { isCentral: ipam_type === 'crd' } });
    },
  );

  test('that is missing is reported by name', () => {
    expect(parseEniConfig({ '10-terway.conf': '{}' })).toEqual({
      error: 'ConfigMap kube-system/eni-config, key eni_conf: is missing',
    });
  });

  test.each(['', '{', '{\n  "security_group": "sg-1",\n}\n', '{\n"a": \'b\'\n}', '{"a":\n"\n"}'])(
    'that is not JSON is refused in one line: %j',
    (text) => {
      const parsed = parse(text);
      const error = 'error' in parsed ? parsed.error : '';
      expect(error).toMatch(/^ConfigMap kube-system\/eni-config, key eni_conf: is not JSON: /);
      expect(error).not.toMatch(/[\n\r\t]/);
    },
  );
});

describe('the ConfigMap that a node names', () => {
  const conf = (name: string, value: object) => readEniConf(name, { eni_conf: JSON.stringify(value) });
  const cluster = conf('eni-config', {
    vswitches: { h: ['vsw-1'], i: ['vsw-2'] },
    security_groups: ['sg-1', 'sg-2'],
    eni_tags: { team: 'a', cost: '1' },
    max_pool_size: 5,
    min_pool_size: 2,
  });
  const merged = (node: object, over: EniConf = cluster) => mergeEniConf([over, conf('gpu', node)], 'gpu');

  test('is merged over that of the cluster: objects member by member, lists as a whole, and null removes', () => {
    expect(
      merged({
        vswitches: { h: ['vsw-3'] },
        security_groups: ['sg-3'],
        eni_tags: { team: null, own: 'x' },
        max_pool_size: 9,
      }),
    ).toEqual({
      config: {
        vSwitchesByZone: { h: ['vsw-3'], i: ['vsw-2'] },
        vSwitchesAnywhere: [],
        securityGroupIds: ['sg-3'],
        tags: { cost: '1', own: 'x' },
        trunking: undefined,
        isCentral: false,
        pool: expect.objectContaining({
          config: expect.objectContaining({ pool: { maxPoolSize: 9, minPoolSize: 2 } }),
        }),
      },
    });
    expect(merged({})).toEqual(parseEniConfig({ eni_conf: JSON.stringify('conf' in cluster ? cluster.conf : {}) }));
  });

  test.each<[object, string]>([
    [{ security_groups: null }, 'names no security group (security_group or security_groups)'],
    [{ security_groups: 'sg-1' }, 'security_groups: must be of type array, not string (it is "sg-1")'],
    [{ vswitches: 7 }, 'vswitches: must be a map of zone to vSwitch ids, or a list of vSwitch ids (it is 7)'],
  ])('is refused when the merged result is wrong: %j', (node, message) => {
    expect(merged(node)).toEqual({ error: `ConfigMap kube-system/gpu over eni-config, key eni_conf: ${message}` });
  });

  test('may add what that of the cluster lacks', () => {
    expect(merged({ security_group: 'sg-9' }, conf('eni-config', { vswitches: 'vsw-1' }))).toMatchObject({
      config: { securityGroupIds: ['sg-9'], vSwitchesAnywhere: ['vsw-1'] },
    });
  });

  test('names which of the two cannot be read', () => {
    const broken = readEniConf('gpu', { eni_conf: '{' });
    expect(mergeEniConf([cluster, broken], 'gpu')).toEqual(broken);
    expect(merged({}, readEniConf('eni-config', {}))).toEqual({
      error: 'ConfigMap kube-system/eni-config, key eni_conf: is missing',
    });
  });
});

test('unknown keys are reported, keys of the node daemon are not', () => {
  const known = {
    version: '1',
    max_pool_size: 5,
    min_eni: 1,
    enable_erdma: true,
    ip_stack: 'dual',
    eni_tag_filter: {},
  };
  expect(unknownEniConfKeys(known)).toEqual([]);
  expect(unknownEniConfKeys({ ...known, vswitch: 'vsw-1', Security_Group: 'sg-1' })).toEqual([
    'Security_Group',
    'vswitch',
  ]);
});
