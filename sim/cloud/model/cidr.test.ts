import { isIPv6 } from 'node:net';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatIpv4, formatIpv6, parseIpv4, parseIpv4Block, parseIpv6, parseIpv6Block } from './cidr.ts';

test('addresses survive formatting and parsing', () => {
  fc.assert(
    fc.property(fc.nat(0xffffffff), (value) => {
      expect(parseIpv4(formatIpv4(value))).toBe(value);
    }),
  );
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }), fc.bigInt({ min: 0n, max: 128n }), (bits, shift) => {
      const value = (bits >> shift) << shift;
      const text = formatIpv6(value);
      expect(isIPv6(text)).toBe(true);
      expect(parseIpv6(text)).toBe(value);
    }),
  );
});

test('IPv6 is formatted according to RFC 5952', () => {
  const canonical = (text: string) => formatIpv6(parseIpv6(text) ?? -1n);
  expect(canonical('2001:DB8:0:0:1:0:0:1')).toBe('2001:db8::1:0:0:1');
  expect(canonical('0:0:0:0:0:0:0:0')).toBe('::');
  expect(canonical('2001:db8:0:1:1:1:1:1')).toBe('2001:db8:0:1:1:1:1:1');
});

test('text that is not an address or block is not parsed', () => {
  for (const text of ['', '1.2.3', '256.1.1.1', '01.2.3.4', '1.2.3.4.5', ' 1.2.3.4', '::1'])
    expect(parseIpv4(text)).toBeUndefined();
  for (const text of [
    '',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7:8::',
    'g::',
    '::1.2.3.4',
  ]) {
    expect(parseIpv6(text), text).toBeUndefined();
  }
  for (const text of ['10.0.0.1/8', '10.0.0.0/33', '10.0.0.0', '10.0.0.0/', '/8'])
    expect(parseIpv4Block(text)).toBeUndefined();
  for (const text of ['fd00::1/64', 'fd00::/129', 'fd00::']) expect(parseIpv6Block(text)).toBeUndefined();
});
