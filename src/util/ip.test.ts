import fc from 'fast-check';
import { expect, test } from 'vitest';
import { cidrContains, formatIp, gatewayOf, parseCidr, parseIp } from './ip.ts';

test.each([
  ['10.0.0.0/24', '10.0.0.253'],
  ['10.10.0.0/16', '10.10.255.253'],
  ['10.0.0.77/20', '10.0.15.253'],
  ['10.0.0.4/30', '10.0.0.5'],
  ['10.0.0.4/31', undefined],
  ['10.0.0.4/32', undefined],
  ['fd00:10:0:1::/64', 'fd00:10:0:1:ffff:ffff:ffff:fffd'],
  ['10.0.0.0', undefined],
  ['x/24', undefined],
])('the gateway of %s is %s', (cidr, gateway) => {
  expect(gatewayOf(cidr)).toBe(gateway);
});

test('a block contains the addresses with its prefix, including its gateway', () => {
  expect(cidrContains('10.1.0.0/20', '10.1.15.255')).toBe(true);
  expect(cidrContains('10.1.0.0/20', '10.1.16.0')).toBe(false);
  expect(cidrContains('10.1.0.0/20', 'fd00::1')).toBe(false);
  const bytes = fc.oneof(
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
  );
  fc.assert(
    fc.property(bytes, fc.nat(128), (address, length) => {
      const cidr = `${formatIp(address)}/${Math.min(length, address.length * 8)}`;
      expect(cidrContains(cidr, formatIp(address))).toBe(true);
      const gateway = gatewayOf(cidr);
      if (gateway !== undefined) expect(cidrContains(cidr, gateway)).toBe(true);
    }),
  );
});

test('any text is an address, a block or neither', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.ipV4(), fc.ipV6(), fc.stringMatching(/^[0-9a-f:.%/]{0,40}$/)), (text) => {
      const ip = parseIp(text);
      if (ip !== undefined) expect(parseIp(formatIp(ip.bytes))?.bytes).toEqual(ip.bytes);
      const block = parseCidr(text);
      if (block !== undefined) expect(block.first).toHaveLength(block.family === 4 ? 4 : 16);
    }),
  );
});

test('an IPv6 address has one canonical text, the one that URLs use', () => {
  const groups = fc
    .array(fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.nat(0xffff)), { minLength: 8, maxLength: 8 })
    .map((words) => words.map((word) => word.toString(16)).join(':'));
  const dotted = fc.tuple(fc.constantFrom('::', '::ffff:', '0::', '64:ff9b::', '1:2:3:4:5:6:'), fc.ipV4());
  fc.assert(
    fc.property(
      fc.oneof(
        fc.ipV6(),
        groups,
        dotted.map(([head, tail]) => head + tail),
      ),
      (text) => {
        const { hostname } = new URL(`http://[${text}]`);
        expect(`[${formatIp(parseIp(text)?.bytes ?? Buffer.alloc(4))}]`).toBe(hostname);
      },
    ),
  );
});

test.each([
  '010.0.0.1',
  '10.0.0.08',
  '0x0a.0.0.1',
  '10.1',
  '167772161',
  '10.0.0.1.',
  '10.0.0.0.1',
  ' 10.0.0.1',
  '10.0.0.1\n',
  'fe80::1%eth0',
  'fe80::1%1',
  '::10.1',
  '::010.0.0.1',
  '::ffff:0x0a.0.0.1',
  '::ffff:10.0.0.256',
  '1:2:3:4:5:6:7:8::',
  '12345::',
  ':1::',
  '[::1]',
  '::1/128',
])('%j is not an address, and not in any block', (text) => {
  expect(parseIp(text)).toBeUndefined();
  expect(parseCidr(`${text}/8`)).toBeUndefined();
  expect(cidrContains('0.0.0.0/0', text)).toBe(false);
  expect(cidrContains('::/0', text)).toBe(false);
});

test.each([
  '10.0.0.0/',
  '10.0.0.0/33',
  '10.0.0.0/-1',
  '10.0.0.0/+8',
  '10.0.0.0/8.0',
  '10.0.0.0/8/8',
  'fd00::/129',
  '/8',
])('%j is not a block', (text) => {
  expect(parseCidr(text)).toBeUndefined();
  expect(gatewayOf(text)).toBeUndefined();
});
