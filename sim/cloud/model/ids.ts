/**
 * Identifiers that look like the cloud's and repeat from run to run. Each is a bijection of a counter, so that they never collide,
 * mixed with the seed, so that accounts differ.
 */

const MASK_64 = (1n << 64n) - 1n;
const MASK_24 = (1 << 24) - 1;

/** The characters after the dash with which ids of a region begin. */
const REGION_CODES: Readonly<Record<string, string>> = {
  'cn-hangzhou': 'bp1',
  'cn-beijing': '2ze',
  'cn-shanghai': 'uf6',
  'cn-shenzhen': 'wz9',
  'cn-hongkong': 'j6c',
  'ap-southeast-1': 't4n',
};

export type IdPrefix = 'eni' | 'i' | 'vpc' | 'vsw' | 'sg' | 'sgr' | 'rg' | 'vrt' | 'vtb';

/** Source of ids, MAC addresses and request ids of one account. */
export class IdGenerator {
  readonly #seed: bigint;
  readonly #regionCode: string;
  #nextId = 1n;
  #nextRequest = 1n;
  #nextMac = 0;

  constructor(seed: number, regionId: string) {
    this.#seed = mix64(BigInt(seed >>> 0) + 0x9e3779b97f4a7c15n);
    this.#regionCode = REGION_CODES[regionId] ?? 'bp1';
  }

  /** Such as `eni-bp1` and 17 characters of [0-9a-z]. */
  next(prefix: IdPrefix): string {
    const unique = mix64(this.#nextId ^ this.#seed);
    this.#nextId += 1n;
    const suffix = (this.#seed % 1679616n).toString(36).padStart(4, '0');
    return `${prefix}-${this.#regionCode}${unique.toString(36).padStart(13, '0')}${suffix}`;
  }

  /** `00:16:3e:` and 24 bits; unique for 16 million ENIs. */
  nextMac(): string {
    // 0x9e3779 is odd, hence a bijection modulo 2^24.
    const low = (Math.imul(this.#nextMac, 0x9e3779) + Number(this.#seed & 0xffffffn)) & MASK_24;
    this.#nextMac += 1;
    const hex = low.toString(16).padStart(6, '0');
    return `00:16:3e:${hex.slice(0, 2)}:${hex.slice(2, 4)}:${hex.slice(4, 6)}`;
  }

  /** A RequestId in the form of an upper-case UUID. */
  nextRequestId(): string {
    const high = mix64(this.#nextRequest ^ this.#seed)
      .toString(16)
      .padStart(16, '0');
    const low = mix64(this.#nextRequest + this.#seed)
      .toString(16)
      .padStart(16, '0');
    this.#nextRequest += 1n;
    return `${high.slice(0, 8)}-${high.slice(8, 12)}-5${high.slice(13)}-A${low.slice(1, 4)}-${low.slice(4)}`.toUpperCase();
  }
}

/** A bijection of 64-bit integers (the finalizer of splitmix64). */
function mix64(input: bigint): bigint {
  let value = input & MASK_64;
  value = ((value ^ (value >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK_64;
  value = ((value ^ (value >> 27n)) * 0x94d049bb133111ebn) & MASK_64;
  return value ^ (value >> 31n);
}
