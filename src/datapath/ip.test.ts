import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatIp } from '../util/ip.ts';
import { DatapathError } from './errors.ts';
import { addressBytes, canonicalAddress, cidrText, parseCidr } from './ip.ts';

describe('addresses', () => {
  test('bytes → text → bytes', () => {
    const sizes = fc.oneof(
      fc.uint8Array({ minLength: 4, maxLength: 4 }),
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
    );
    fc.assert(
      fc.property(sizes, (bytes) => {
        expect([...addressBytes(formatIp(bytes))]).toEqual([...bytes]);
      }),
    );
  });

  test.each([
    ['FD00:0:0::5', 'fd00::5'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['::ffff:10.0.0.1', '::ffff:a00:1'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
    ['1:0:2:3:4:5:6:7', '1:0:2:3:4:5:6:7'],
    ['10.0.0.5', '10.0.0.5'],
  ])('%s is %s', (text, canonical) => {
    expect(canonicalAddress(text)).toBe(canonical);
  });

  test.each(['', '10.0.0', '10.0.0.256', 'fd00::1%eth0', 'host', '1::2::3'])('%j is none', (text) => {
    expect(() => addressBytes(text)).toThrow(DatapathError);
  });

  test('networks', () => {
    expect(cidrText(parseCidr('10.1.2.3/16'))).toBe('10.1.0.0/16');
    expect(cidrText(parseCidr('0.0.0.0/0'))).toBe('0.0.0.0/0');
    expect(cidrText(parseCidr('fd00:1:2:3::9/62'))).toBe('fd00:1:2::/62');
    expect(cidrText(parseCidr('10.1.2.3'))).toBe('10.1.2.3/32');
    for (const bad of ['10.0.0.0/33', '10.0.0.0/x', '10.0.0.0/8/8', 'fd00::/129', '10.0.0.0/']) {
      expect(() => parseCidr(bad), bad).toThrow(DatapathError);
    }
  });
});
