import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CNI_ERROR, CniError } from './errors.ts';
import { CNI_VERSIONS, parseRequest, versionOf } from './request.ts';

const ENVIRONMENT = {
  CNI_COMMAND: 'ADD',
  CNI_CONTAINERID: '4f2d',
  CNI_NETNS: '/var/run/netns/cni-1',
  CNI_IFNAME: 'eth0',
  CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=4f2d;K8S_POD_UID=u-1',
};
const CONFIG = { cniVersion: '1.1.0', name: 'terway', type: 'terway' };

function bytesOf(environment: Record<string, string | undefined>, input: unknown = CONFIG): Buffer {
  const variables = Object.entries(environment).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${value}\0`],
  );
  return Buffer.from(`${variables.join('')}\0${typeof input === 'string' ? input : JSON.stringify(input)}`);
}

function failure(bytes: Buffer): CniError {
  try {
    parseRequest(bytes);
  } catch (error) {
    if (error instanceof CniError) return error;
    throw error;
  }
  throw new Error('was accepted');
}

test('ADD names sandbox, namespace, interface and pod', () => {
  expect(parseRequest(bytesOf(ENVIRONMENT))).toEqual({
    command: 'ADD',
    attachment: {
      containerId: '4f2d',
      netnsPath: '/var/run/netns/cni-1',
      ifName: 'eth0',
      pod: { namespace: 'shop', name: 'web-0', uid: 'u-1' },
      config: CONFIG,
    },
  });
});

test('DEL may come without a namespace', () => {
  const request = parseRequest(bytesOf({ ...ENVIRONMENT, CNI_COMMAND: 'DEL', CNI_NETNS: undefined }));
  expect(request).toMatchObject({ command: 'DEL', attachment: { netnsPath: '' } });
});

test("upstream's plugin configuration is accepted", () => {
  const config = {
    cniVersion: '0.4.0',
    name: 'terway-chainer',
    type: 'terway',
    eniip_virtual_type: 'datapathv2',
    bandwidth_mode: 'edt',
    host_stack_cidrs: ['169.254.20.10/32'],
    capabilities: { bandwidth: true },
    mtu: 1450,
    symmetric_routing: true,
    runtimeConfig: { bandwidth: { egressRate: 8000 } },
    debug: false,
  };
  expect(parseRequest(bytesOf(ENVIRONMENT, config))).toMatchObject({
    attachment: { config: { mtu: 1450, runtimeConfig: { bandwidth: { egressRate: 8000 } } } },
  });
});

test('limits are read as containerd writes them', () => {
  const config = {
    ...CONFIG,
    runtimeConfig: { bandwidth: { IngressRate: 8_000_000, IngressBurst: 2 ** 53, EgressRate: 0 } },
  };
  expect(parseRequest(bytesOf(ENVIRONMENT, config))).toMatchObject({
    attachment: { config: { runtimeConfig: { bandwidth: { ingressRate: 8_000_000, egressRate: 0 } } } },
  });
});

test('GC lists what is valid', () => {
  const config = { ...CONFIG, 'cni.dev/valid-attachments': [{ containerID: '4f2d', ifname: 'eth0' }] };
  expect(parseRequest(bytesOf({ CNI_COMMAND: 'GC' }, config))).toMatchObject({
    command: 'GC',
    valid: [{ containerId: '4f2d', ifName: 'eth0' }],
  });
  expect(failure(bytesOf({ CNI_COMMAND: 'GC' })).code).toBe(CNI_ERROR.invalidConfig);
});

describe('a mistake has the code of the specification and names what is wrong', () => {
  const cases: [string, Record<string, string | undefined>, unknown, number, RegExp][] = [
    ['no command', { CNI_COMMAND: undefined }, CONFIG, CNI_ERROR.invalidEnvironment, /CNI_COMMAND is not set/],
    ['an unknown command', { CNI_COMMAND: 'FETCH' }, CONFIG, CNI_ERROR.invalidEnvironment, /"FETCH"/],
    ['no container', { CNI_CONTAINERID: '' }, CONFIG, CNI_ERROR.invalidEnvironment, /CNI_CONTAINERID/],
    ['a container that is a path', { CNI_CONTAINERID: '../x' }, CONFIG, CNI_ERROR.invalidEnvironment, /"\.\.\/x"/],
    ['no namespace', { CNI_NETNS: '' }, CONFIG, CNI_ERROR.invalidEnvironment, /CNI_NETNS/],
    ['a long interface name', { CNI_IFNAME: 'a'.repeat(16) }, CONFIG, CNI_ERROR.invalidEnvironment, /15 characters/],
    ['an interface name with a slash', { CNI_IFNAME: 'a/b' }, CONFIG, CNI_ERROR.invalidEnvironment, /"a\/b"/],
    ['no pod', { CNI_ARGS: 'K8S_POD_NAMESPACE=shop' }, CONFIG, CNI_ERROR.invalidEnvironment, /K8S_POD_NAME/],
    ['arguments without =', { CNI_ARGS: 'abc' }, CONFIG, CNI_ERROR.invalidEnvironment, /"abc" is not KEY=VALUE/],
    ['no configuration', {}, '', CNI_ERROR.decodeFailure, /is empty/],
    ['a configuration that is not JSON', {}, '{"cniVersion"', CNI_ERROR.decodeFailure, /is not JSON/],
    ['no version', {}, { name: 'terway' }, CNI_ERROR.incompatibleVersion, /\(none\)/],
    ['a version of the future', {}, { ...CONFIG, cniVersion: '2.0.0' }, CNI_ERROR.incompatibleVersion, /"2.0.0"/],
    ['a configuration that is a list', {}, [], CNI_ERROR.invalidConfig, /top level/],
    ['an MTU that is a text', {}, { ...CONFIG, mtu: '1500' }, CNI_ERROR.invalidConfig, /mtu/],
  ];
  test.each(cases)('%s', (_, environment, config, code, message) => {
    const error = failure(bytesOf({ ...ENVIRONMENT, ...environment }, config));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    expect(error.message).not.toContain('\n');
  });
});

test('whatever the bytes, there is a request or a CniError', () => {
  const noise = fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes));
  const nearly = fc
    .record({
      command: fc.constantFrom('ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'x'),
      config: fc.json(),
      args: fc.string(),
    })
    .map(({ command, config, args }) => bytesOf({ ...ENVIRONMENT, CNI_COMMAND: command, CNI_ARGS: args }, config));
  fc.assert(
    fc.property(fc.oneof(noise, nearly), (bytes) => {
      try {
        parseRequest(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(CniError);
      }
      expect(CNI_VERSIONS).toContain(versionOf(bytes));
    }),
    { numRuns: 500 },
  );
});

test('an error is answered in the version that was asked for', () => {
  expect(versionOf(bytesOf(ENVIRONMENT, '{ "cniVersion" : "0.3.1", '))).toBe('0.3.1');
  expect(versionOf(bytesOf(ENVIRONMENT, {}))).toBe('1.1.0');
});
