import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { DatapathError } from '../errors.ts';
import { buildTools, TOOLS } from '../test-support/datapath-lab.ts';
import { linkProgram, parseBpfObject } from './elf.ts';
import { decodeTag, decodeVeth, decodeVlan, encodeTag, encodeVeth, encodeVlan, VERDICTS } from './entries.ts';
import { PROGRAM_NAMES } from './programs.ts';

beforeAll(buildTools);

test('the object has the programs and maps, of the sizes that the entries have', () => {
  const object = parseBpfObject(readFileSync(TOOLS.object));
  expect(object.license).toBe('GPL');
  expect(object.programs.map(({ name }) => name)).toEqual(PROGRAM_NAMES);
  const tag = encodeTag({ address: '10.0.0.1', vlanId: 1, trunkIndex: 1, owner: 1n });
  const tag6 = encodeTag({ address: 'fd00::1', vlanId: 1, trunkIndex: 1, owner: 1n });
  const veth = encodeVeth({
    linkIndex: 1,
    mark: 1,
    markMask: 1,
    ipv4: undefined,
    ipv6: undefined,
    owner: 1n,
  });
  const vlan = encodeVlan({ trunkIndex: 1, vlanId: 1, ipv4: undefined, ipv6: undefined, owner: 1n });
  const sizes = new Map(object.maps.map(({ name, keySize, valueSize }) => [name, [keySize, valueSize]]));
  for (const [name, { key, value }] of Object.entries({ tag4: tag, tag6, veths: veth, vlans: vlan })) {
    expect(sizes.get(name), name).toEqual([key.length, value.length]);
  }
  expect(object.maps.find(({ name }) => name === 'verdicts')?.maxEntries).toBe(VERDICTS.length);
});

test('references to maps get the descriptors', () => {
  const object = parseBpfObject(readFileSync(TOOLS.object));
  const handles = new Map(object.maps.map(({ name }, at) => [name, 100 + at]));
  for (const program of object.programs) {
    const linked = linkProgram(program, handles);
    expect(program.references.length).toBeGreaterThan(0);
    for (const { offset, map } of program.references) {
      expect(linked.readUInt8(offset)).toBe(0x18);
      expect(linked.readUInt8(offset + 1) >> 4).toBe(1);
      expect(linked.readInt32LE(offset + 4)).toBe(handles.get(map));
    }
    expect(() => linkProgram(program, new Map())).toThrow('there is no map');
  }
});

test('what is no object, or a damaged one, is refused with a DatapathError', () => {
  const file = readFileSync(TOOLS.object);
  const tryIt = (bytes: Buffer) => {
    try {
      parseBpfObject(bytes);
    } catch (error) {
      expect(error).toBeInstanceOf(DatapathError);
    }
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => tryIt(Buffer.from(bytes))));
  fc.assert(fc.property(fc.nat(file.length), (length) => tryIt(file.subarray(0, length))));
  const damage = fc.array(fc.tuple(fc.nat(file.length - 1), fc.nat(255)), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(damage, (list) => {
      const damaged = Buffer.from(file);
      for (const [at, value] of list) damaged[at] = value;
      tryIt(damaged);
    }),
    { numRuns: 300 },
  );
  expect(() => parseBpfObject(Buffer.from('no ELF'))).toThrow('not a little-endian ELF file');
});

test('entries → bytes → entries', () => {
  for (const priority of ['guaranteed', 'burstable', 'best-effort'] as const) {
    const first = { address: '10.0.0.5', vlanId: 1, trunkIndex: 7, priority, owner: 1n };
    expect(decodeTag(encodeTag(first))).toEqual(first);
  }
  const tag = { address: 'fd00::5', vlanId: 4094, trunkIndex: 77, owner: 2n ** 63n };
  expect(decodeTag(encodeTag(tag))).toEqual(tag);
  const veth = {
    linkIndex: 9,
    mark: 0x3020,
    markMask: 0x30e0,
    ipv4: '10.0.0.5',
    ipv6: undefined,
    owner: 7n,
  };
  expect(decodeVeth(encodeVeth(veth))).toEqual(veth);
  const vlan = { trunkIndex: 77, vlanId: 12, ipv4: '10.0.0.5', ipv6: 'fd00::5', owner: 5n };
  expect(decodeVlan(encodeVlan(vlan))).toEqual(vlan);
});
