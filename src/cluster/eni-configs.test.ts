import { expect, test } from 'vitest';
import { ENI_CONFIG } from '../config/eni-config.ts';
import type { StoreHandler } from '../kube/store.ts';
import { networkDefaults } from './cluster-network.ts';
import { EniConfigs } from './eni-configs.ts';
import type { ConfigMap } from './resources.ts';

/** The two stores that EniConfigs reads, with one ConfigMap that can change. */
function scene() {
  let current: ConfigMap | undefined;
  const handlers: StoreHandler<ConfigMap>[] = [];
  let reads = 0;
  const configs = new EniConfigs({
    centralizedIpam: false,
    informers: {
      configMaps: {
        get: () => {
          reads += 1;
          return current;
        },
        addHandler: (handler) => {
          handlers.push(handler);
          return () => undefined;
        },
      },
      coreNodes: { store: { get: () => undefined } },
    },
    allowed: [],
    log: { warn: () => undefined },
  });
  const write = (conf: object) => {
    const { namespace, name, key } = ENI_CONFIG;
    current = { metadata: { namespace, name }, data: { [key]: JSON.stringify(conf) } };
    for (const handler of handlers) handler.onAdd?.(current, 'watch');
  };
  return { configs, write, reads: () => reads };
}

test('the cluster defaults are every vSwitch once, in order, and the security groups', () => {
  const { configs, write } = scene();
  write({ vswitches: { 'z-b': ['vsw-3', 'vsw-1'], 'z-a': ['vsw-2', 'vsw-1'] }, security_groups: ['sg-2', 'sg-1'] });
  expect(networkDefaults(configs)).toEqual({
    vSwitchOptions: ['vsw-1', 'vsw-2', 'vsw-3'],
    securityGroupIDs: ['sg-2', 'sg-1'],
  });
});

test.each([
  [undefined, 'does not exist'],
  [{ vswitches: {}, security_group: 'sg-1' }, 'names no vSwitches'],
  [{ vswitches: { 'z-a': ['vsw-1'] } }, 'names no security group'],
])('what eni-config %j lacks is reported in one line', (conf, message) => {
  const { configs, write } = scene();
  if (conf !== undefined) write(conf);
  expect(networkDefaults(configs)).toEqual({ message: expect.stringContaining(message) });
  expect(networkDefaults(configs)).toEqual({ message: expect.stringContaining(ENI_CONFIG.name) });
});

test('the ConfigMap is read when it changes, not on each use', () => {
  const { configs, write, reads } = scene();
  write({ vswitches: { 'z-a': ['vsw-1'] }, security_group: 'sg-1' });
  const before = reads();
  for (let review = 0; review < 100; review += 1) networkDefaults(configs);
  expect(reads()).toBe(before);
});
