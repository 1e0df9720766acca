import { describe, expect, test } from 'vitest';
import { parseEniConfig } from './eni-config.ts';

const parse = (value: unknown) =>
  parseEniConfig({ eni_conf: typeof value === 'string' ? value : JSON.stringify(value) });
const groups = (n: number) => Array.from({ length: n }, (_, at) => `sg-${at}`);

describe('eni-config', () => {
  test('of a cluster as upstream installs it is read; what only the node daemon knows is left alone', () => {
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
      },
    });
  });

  test.each([
    [['vsw-1', 'vsw-2'], { vSwitchesByZone: {}, vSwitchesAnywhere: ['vsw-1', 'vsw-2'] }],
    ['vsw-1', { vSwitchesByZone: {}, vSwitchesAnywhere: ['vsw-1'] }],
    [{ z: 'vsw-1' }, { vSwitchesByZone: { z: ['vsw-1'] }, vSwitchesAnywhere: [] }],
  ])('names vSwitches by zone, or as a list: %j', (vswitches, places) => {
    expect(parse({ security_group: 'sg-1', vswitches })).toEqual({ config: { ...places, securityGroupIds: ['sg-1'] } });
  });

  test.each([
    [{ security_group: 'sg-1' }, ['sg-1']],
    [{ security_groups: ['sg-1', 'sg-2'] }, ['sg-1', 'sg-2']],
    [{ security_group: 'sg-2', security_groups: ['sg-1', 'sg-2'] }, ['sg-1', 'sg-2']],
    [{ security_group: '', security_groups: ['sg-1'] }, ['sg-1']],
    [{ security_groups: groups(10) }, groups(10)],
  ])('names security groups in one of two ways, or both: %j', (value, securityGroupIds) => {
    expect(parse(value)).toEqual({
      config: { vSwitchesByZone: {}, vSwitchesAnywhere: [], securityGroupIds },
    });
  });

  test.each<[unknown, string]>([
    [{}, 'names no security group (security_group or security_groups)'],
    [{ security_group: '' }, 'names no security group (security_group or security_groups)'],
    [
      { security_group: 'sg-x', security_groups: groups(10) },
      'security_group and security_groups name 11 security groups; an ENI takes at most 10',
    ],
    [{ security_group: ['sg-1'] }, 'security_group: Invalid input: expected string, received array'],
    [{ security_groups: 'sg-1' }, 'security_groups: Invalid input: expected array, received string'],
    [{ vswitches: { z: [1] } }, 'vswitches: must be a map of zone to vSwitch ids, or a list of vSwitch ids'],
    [{ vswitches: 1 }, 'vswitches: must be a map of zone to vSwitch ids, or a list of vSwitch ids'],
    [[], 'top level: Invalid input: expected object, received array'],
    ['null', 'top level: Invalid input: expected object, received null'],
  ])('is refused with field and rule: %j', (value, message) => {
    expect(parse(value)).toEqual({ error: `ConfigMap kube-system/eni-config, key eni_conf: ${message}` });
  });

  test('that is missing is named', () => {
    expect(parseEniConfig({ '10-terway.conf': '{}' })).toEqual({
      error: 'ConfigMap kube-system/eni-config, key eni_conf: is missing',
    });
  });

  test.each(['', '{', '{\n  "security_group": "sg-1",\n}\n', '{\n"a": \'b\'\n}', '{"a":\n"\n"}'])(
    'that is no JSON is refused in one line: %j',
    (text) => {
      const parsed = parse(text);
      const error = 'error' in parsed ? parsed.error : '';
      expect(error).toMatch(/^ConfigMap kube-system\/eni-config, key eni_conf: is not JSON: /);
      expect(error).not.toMatch(/[\n\r\t]/);
    },
  );
});
