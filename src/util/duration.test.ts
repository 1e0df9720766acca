import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseGoDurationMs } from './duration.ts';

describe('a Go duration', () => {
  // From the table in Go's time_test.go, and what users write.
  test.each([
    ['0', 0],
    ['5s', 5000],
    ['30s', 30_000],
    ['1478s', 1_478_000],
    ['5.0s', 5000],
    ['5.6s', 5600],
    ['5.s', 5000],
    ['.5s', 500],
    ['1.0s', 1000],
    ['1.004s', 1004],
    ['100.00100s', 100_001],
    ['10ms', 10],
    ['1us', 0.001],
    ['1µs', 0.001],
    ['1μs', 0.001],
    ['1ns', 0.000001],
    ['3h30m', 12_600_000],
    ['10.5s4m', 250_500],
    ['1h2m3s4ms', 3_723_004],
    ['720h', 2_592_000_000],
    // The longest that Go has is 2562047h47m16.854775807s.
    ['2562047h', 9_223_369_200_000],
  ])('%s', (text, ms) => {
    expect(parseGoDurationMs(text)).toBeCloseTo(ms, 9);
  });

  test.each([
    '',
    '3',
    '-',
    's',
    '.',
    '-.',
    '.s',
    '+.s',
    '1d',
    '10x',
    '-5m',
    '+5m',
    '5 m',
    ' 5m',
    '5m ',
    '1h30',
    '1,5h',
    '٣s',
    '1e3s',
    'Infinitys',
    '00',
    '5M',
    '2562048h',
    '99999999999999h',
  ])('is not %j', (text) => {
    expect(parseGoDurationMs(text)).toBeUndefined();
  });

  test('that is composed of parts parses as their sum', () => {
    const units = [
      ['h', 3_600_000],
      ['m', 60_000],
      ['s', 1000],
      ['ms', 1],
    ] as const;
    const part = fc.record({ count: fc.nat(100_000), thousandths: fc.nat(999), unit: fc.constantFrom(...units) });
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 6 }), (parts) => {
        const text = parts
          .map(({ count, thousandths, unit: [name] }) => `${count}.${String(thousandths).padStart(3, '0')}${name}`)
          .join('');
        const ms = parts.reduce(
          (sum, { count, thousandths, unit: [, size] }) => sum + (count + thousandths / 1000) * size,
          0,
        );
        expect(parseGoDurationMs(text)).toBeCloseTo(ms, 3);
      }),
    );
  });

  test('is a finite, non-negative number, or undefined', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[0-9.hmsuµn ]{0,12}$/), (text) => {
        const ms = parseGoDurationMs(text);
        if (ms !== undefined) expect(Number.isFinite(ms) && ms >= 0).toBe(true);
      }),
    );
  });
});
