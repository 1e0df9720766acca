import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatIp } from '../../util/ip.ts';
import { type Family, hostPrefix, IPV4, IPV6, parseCidr } from '../ip.ts';
import { Attributes, MalformedMessageError, MessageWriter } from './attributes.ts';
import { createVeth, decodeLink } from './link.ts';
import { decodeAnswer, encodeRequest } from './message.ts';
import {
  addAddress,
  addNeighbour,
  addRoute,
  addRule,
  decodeAddress,
  decodeNeighbour,
  decodeRoute,
  decodeRule,
} from './network.ts';
import {
  decodeFilter,
  decodeQdisc,
  ETH_P,
  type FilterPlace,
  setPopFilter,
  setProgramFilter,
  setPushFilter,
  setTokenBucket,
  tokenBucket,
} from './traffic.ts';

const family = fc.constantFrom<Family>(IPV4, IPV6);
const addressOf = (of: Family) =>
  fc.uint8Array({ minLength: of === IPV4 ? 4 : 16, maxLength: of === IPV4 ? 4 : 16 }).map(formatIp);
const address = family.chain(addressOf);
const cidrOf = (of: Family) =>
  fc.tuple(addressOf(of), fc.integer({ min: 0, max: hostPrefix(of) })).map(([text, length]) => {
    const { network, prefixLength } = parseCidr(`${text}/${length}`);
    return `${network}/${prefixLength}`;
  });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const index = fc.integer({ min: 1, max: 0x7fffffff });
const mac = fc.uint8Array({ minLength: 6, maxLength: 6 }).map((bytes) =>
  Buffer.from(bytes)
    .toString('hex')
    .replace(/..(?=.)/g, '$&:'),
);
const optional = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: undefined });

describe('what is encoded is decoded again', () => {
  test('attributes', () => {
    const value = fc.uint8Array({ maxLength: 300 });
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.tuple(fc.integer({ min: 1, max: 0x3fff }), value), { selector: ([type]) => type }),
        (list) => {
          const writer = new MessageWriter();
          writer.nest(7, () => {
            for (const [type, bytes] of list) writer.bytes(type, bytes);
          });
          const nested = Attributes.parse(writer.finish()).nested(7);
          expect(nested.types).toEqual(list.map(([type]) => type));
          for (const [type, bytes] of list) expect([...(nested.bytes(type) ?? [])]).toEqual([...bytes]);
        },
      ),
    );
  });

  test('addresses', () => {
    const arbitrary = family.chain((of) =>
      fc.record({
        linkIndex: index,
        address: addressOf(of),
        prefixLength: fc.integer({ min: 0, max: hostPrefix(of) }),
        protocol: fc.integer({ min: 0, max: 255 }),
        scope: fc.integer({ min: 0, max: 255 }),
      }),
    );
    fc.assert(
      fc.property(arbitrary, (value) => {
        expect(decodeAddress(addAddress(value).payload)).toEqual(value);
      }),
    );
  });

  test('routes', () => {
    const arbitrary = family.chain((of) =>
      fc.record({
        linkIndex: index,
        table: u32,
        destination: cidrOf(of),
        gateway: optional(addressOf(of)),
        protocol: fc.integer({ min: 0, max: 255 }),
      }),
    );
    fc.assert(
      fc.property(arbitrary, (value) => {
        expect(decodeRoute(addRoute(value, 'replace').payload)).toEqual(value);
      }),
    );
  });

  test('rules', () => {
    const arbitrary = family.chain((of) =>
      fc.record({
        family: fc.constant(of),
        priority: u32,
        table: u32,
        mark: optional(fc.record({ value: u32, mask: u32 })),
        from: optional(cidrOf(of)),
        to: optional(cidrOf(of)),
        outLink: optional(fc.stringMatching(/^[a-z][a-z0-9]{0,14}$/)),
        protocol: fc.integer({ min: 0, max: 255 }),
      }),
    );
    fc.assert(
      fc.property(arbitrary, (value) => {
        expect(decodeRule(addRule(value).payload)).toEqual(value);
      }),
    );
  });

  test('neighbours', () => {
    fc.assert(
      fc.property(fc.record({ linkIndex: index, address, mac }), (value) => {
        expect(decodeNeighbour(addNeighbour(value, 'replace').payload)).toEqual(value);
      }),
    );
  });

  test('token buckets', () => {
    fc.assert(
      fc.property(index, fc.integer({ min: 1, max: 1e11 }), (linkIndex, rate) => {
        const bucket = tokenBucket(rate, 1500);
        const { tbf } = decodeQdisc(setTokenBucket(linkIndex, bucket).payload);
        expect(tbf).toEqual({ bytesPerSecond: rate, limit: bucket.limit });
      }),
    );
  });

  test('push filters', () => {
    const place: FilterPlace = {
      linkIndex: 7,
      direction: 'egress',
      preference: 50_001,
      protocol: ETH_P.ipv4,
      handle: 0x80000801,
    };
    fc.assert(
      fc.property(address, fc.integer({ min: 1, max: 4094 }), (source, vlanId) => {
        const decoded = decodeFilter(setPushFilter(place, source, vlanId, 'replace').payload);
        expect(decoded).toEqual({
          linkIndex: 7,
          preference: 50_001,
          protocol: ETH_P.ipv4,
          handle: 0x80000801,
          action: { kind: 'push', source, vlanId },
        });
      }),
    );
    expect(decodeFilter(setPopFilter(place, 'replace').payload)?.action).toEqual({ kind: 'pop' });
    const program = setProgramFilter(place, { handle: 3, name: 'trunk_egress' }, 'replace');
    expect(decodeFilter(program.payload)?.action).toEqual({ kind: 'bpf', name: 'trunk_egress', programId: 0 });
  });
});

describe('malformed input', () => {
  const decoders = [
    decodeAnswer,
    decodeLink,
    decodeAddress,
    decodeRoute,
    decodeRule,
    decodeNeighbour,
    decodeQdisc,
    decodeFilter,
  ];
  const onlyTyped = (decode: (bytes: Buffer) => unknown, bytes: Buffer) => {
    try {
      decode(bytes);
    } catch (error) {
      expect(error).toBeInstanceOf(MalformedMessageError);
    }
  };

  test.each(decoders)('%o throws nothing but MalformedMessageError', (decode) => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => onlyTyped(decode, Buffer.from(bytes))),
      {
        numRuns: 1000,
      },
    );
  });

  test('neither do they when a real message is damaged', () => {
    const peer = { name: 'eth0', mac: '02:00:00:00:00:02', netns: '/x' };
    const place: FilterPlace = { linkIndex: 7, direction: 'egress', preference: 1, protocol: 3, handle: 1 };
    const messages = [
      createVeth({ name: 'cali1', mac: '02:00:00:00:00:01', mtu: 1500, group: 0, peer }).payload,
      setPushFilter(place, '10.0.0.1', 7, 'replace').payload,
      setTokenBucket(7, tokenBucket(1000, 1500)).payload,
      addRoute({ linkIndex: 1, table: 910, destination: '10.0.0.5/32', gateway: undefined, protocol: 84 }, 'replace')
        .payload,
    ];
    fc.assert(
      fc.property(fc.constantFrom(...messages), fc.nat(), fc.nat(255), fc.nat(), (message, at, value, length) => {
        const damaged = Buffer.from(message);
        damaged[at % damaged.length] = value;
        for (const decode of decoders) onlyTyped(decode, damaged.subarray(0, 1 + (length % damaged.length)));
      }),
      { numRuns: 2000 },
    );
  });
});

describe('answers', () => {
  test('a refusal carries the number and the words of the kernel', () => {
    const text = new MessageWriter().attrText(1, 'Nexthop has invalid gateway').finish();
    const head = Buffer.alloc(16 + 4 + 16);
    head.writeUInt32LE(head.length + text.length, 0);
    head.writeUInt16LE(2, 4);
    head.writeUInt16LE(0x300, 6);
    head.writeInt32LE(-22, 16);
    expect(decodeAnswer(Buffer.concat([head, text]))).toEqual({
      kind: 'refused',
      errno: 22,
      message: 'Nexthop has invalid gateway',
    });
  });

  test('a request has its header', () => {
    const bytes = encodeRequest({ type: 24, flags: 0x600, payload: Buffer.from([1, 2, 3, 4]) }, 9);
    expect(bytes.toString('hex')).toBe('14000000180001060900000000000000' + '01020304');
  });
});

describe('the classic tag filters as bytes', () => {
  // What `tc` of iproute2 6.1 sends for these commands, without its header and on link 3.
  test.each([
    {
      command: 'egress protocol ip pref 50001 u32 match ip src 10.0.0.5/32 action vlan push id 101 pipe',
      request: setPushFilter(
        { linkIndex: 3, direction: 'egress', preference: 50_001, protocol: ETH_P.ipv4, handle: 0 },
        ...(['10.0.0.5', 101, 'exclusive'] as const),
      ),
      bytes:
        '000000000300000000000000f3ffffff080051c30800010075333200640002003c0007003800010009000100766c616e00000000' +
        '280002801c000200000000000000000003000000000000000000000002000000060003006500000024000500010001000000000000000000' +
        '00000000ffffffff0a0000050c00000000000000',
    },
    {
      command: 'egress protocol ipv6 pref 50002 u32 match ip6 src fd00::5/128 action vlan push id 102 pipe',
      request: setPushFilter(
        { linkIndex: 3, direction: 'egress', preference: 50_002, protocol: ETH_P.ipv6, handle: 0 },
        ...(['fd00::5', 102, 'exclusive'] as const),
      ),
      bytes:
        '000000000300000000000000f3ffffff86dd52c30800010075333200940002003c0007003800010009000100766c616e00000000' +
        '280002801c000200000000000000000003000000000000000000000002000000060003006600000054000500010004000000000000000000' +
        '00000000fffffffffd0000000800000000000000ffffffff000000000c00000000000000ffffffff000000001000000000000000ffffffff' +
        '000000051400000000000000',
    },
    {
      command: 'ingress protocol 802.1Q pref 20000 u32 match u32 0 0 action vlan pop reclassify',
      request: setPopFilter(
        { linkIndex: 3, direction: 'ingress', preference: 20_000, protocol: ETH_P.vlan, handle: 0 },
        'exclusive',
      ),
      bytes:
        '000000000300000000000000f2ffffff8100204e08000100753332005c000200340007003000010009000100766c616e00000000' +
        '200002801c000200000000000000000001000000000000000000000001000000240005000100010000000000000000000000000000000000' +
        '000000000000000000000000',
    },
  ])('$command', ({ request, bytes }) => {
    expect({ type: request.type, flags: request.flags }).toEqual({ type: 44, flags: 0x600 });
    expect(request.payload.toString('hex')).toBe(bytes);
  });
});
