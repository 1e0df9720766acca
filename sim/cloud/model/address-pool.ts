import {
  formatIpv4,
  formatIpv6,
  type Ipv4Block,
  type Ipv6Block,
  ipv4BlockContains,
  ipv6BlockHas,
  parseIpv4,
  parseIpv4Block,
  parseIpv6,
  parseIpv6Block,
} from './cidr.ts';

/** Number of addresses in an IPv4 prefix (/28) of an ENI. */
const PREFIX_SIZE = 16;
/** Prefix length of an IPv6 prefix of an ENI. */
const IPV6_PREFIX_LENGTH = 80;
/** Number of bits below an IPv6 prefix. Block 0 is reserved for single addresses. */
const IPV6_PREFIX_HOST_BITS = 48n;

/** An address or prefix that was taken, or why none was. */
export type Taken = { ok: true; text: string } | { ok: false; refusal: 'exhausted' | 'invalid' | 'taken' };

/**
 * IPv4 addresses of one vSwitch. The first address and the last three addresses of the block are reserved, as documented.
 * Allocation is deterministic and goes through the whole block before it reuses an address, so that a freed address is not
 * handed out at once. (The cloud picks at random; assumed to be equivalent for a client.)
 */
export class Ipv4Pool {
  readonly #block: Ipv4Block;
  readonly #first: number;
  readonly #last: number;
  readonly #taken = new Set<number>();
  #cursor: number;

  /** `cidrBlock` must be a valid block of at least eight addresses. */
  constructor(cidrBlock: string) {
    const block = parseIpv4Block(cidrBlock);
    if (block === undefined || block.size < 8) throw new RangeError(`not a vSwitch block: ${cidrBlock}`);
    this.#block = block;
    this.#first = block.base + 1;
    this.#last = block.base + block.size - 4;
    this.#cursor = this.#first;
  }

  /** AvailableIpAddressCount. Never below zero. */
  get freeCount(): number {
    return this.#last - this.#first + 1 - this.#taken.size;
  }

  /** Takes the next free address. */
  allocate(): Taken {
    if (this.freeCount <= 0) return refuse('exhausted');
    while (this.#taken.has(this.#cursor)) this.#advance();
    const address = this.#cursor;
    this.#taken.add(address);
    this.#advance();
    return take(formatIpv4(address));
  }

  /** Takes the given address. */
  claim(text: string): Taken {
    const address = parseIpv4(text);
    if (address === undefined || address < this.#first || address > this.#last) return refuse('invalid');
    if (this.#taken.has(address)) return refuse('taken');
    this.#taken.add(address);
    return take(text);
  }

  /** Takes the lowest aligned /28 without any taken or reserved address. */
  allocatePrefix(): Taken {
    const start = Math.ceil(this.#first / PREFIX_SIZE) * PREFIX_SIZE;
    for (let base = start; base + PREFIX_SIZE - 1 <= this.#last; base += PREFIX_SIZE) {
      if (this.#rangeFree(base)) return this.#takeRange(base);
    }
    return refuse('exhausted');
  }

  claimPrefix(text: string): Taken {
    const block = parseIpv4Block(text);
    if (block === undefined || block.size !== PREFIX_SIZE || !ipv4BlockContains(this.#block, block))
      return refuse('invalid');
    if (block.base < this.#first || block.base + PREFIX_SIZE - 1 > this.#last) return refuse('invalid');
    return this.#rangeFree(block.base) ? this.#takeRange(block.base) : refuse('taken');
  }

  release(text: string): void {
    const address = parseIpv4(text);
    if (address !== undefined) this.#taken.delete(address);
  }

  releasePrefix(text: string): void {
    const block = parseIpv4Block(text);
    if (block === undefined) return;
    for (let offset = 0; offset < PREFIX_SIZE; offset++) this.#taken.delete(block.base + offset);
  }

  #advance(): void {
    this.#cursor = this.#cursor >= this.#last ? this.#first : this.#cursor + 1;
  }

  #rangeFree(base: number): boolean {
    for (let offset = 0; offset < PREFIX_SIZE; offset++) if (this.#taken.has(base + offset)) return false;
    return true;
  }

  #takeRange(base: number): Taken {
    for (let offset = 0; offset < PREFIX_SIZE; offset++) this.#taken.add(base + offset);
    return take(`${formatIpv4(base)}/28`);
  }
}

/** IPv6 addresses and /80 prefixes of one vSwitch (a /64). */
export class Ipv6Pool {
  readonly #block: Ipv6Block;
  readonly #taken = new Set<bigint>();
  readonly #takenPrefixes = new Set<bigint>();
  #cursor = 0x10n;
  #prefixCursor = 1n;

  constructor(cidrBlock: string) {
    const block = parseIpv6Block(cidrBlock);
    if (block === undefined || block.prefixLength > 64) throw new RangeError(`not a vSwitch IPv6 block: ${cidrBlock}`);
    this.#block = block;
  }

  allocate(): Taken {
    while (this.#taken.has(this.#cursor)) this.#cursor += 1n;
    const offset = this.#cursor;
    this.#cursor += 1n;
    this.#taken.add(offset);
    return take(formatIpv6(this.#block.base + offset));
  }

  claim(text: string): Taken {
    const value = parseIpv6(text);
    if (value === undefined || !ipv6BlockHas(this.#block, value)) return refuse('invalid');
    const offset = value - this.#block.base;
    if (this.#taken.has(offset) || this.#takenPrefixes.has(offset >> IPV6_PREFIX_HOST_BITS)) return refuse('taken');
    this.#taken.add(offset);
    return take(formatIpv6(value));
  }

  allocatePrefix(): Taken {
    while (this.#takenPrefixes.has(this.#prefixCursor) || this.#hasAddressIn(this.#prefixCursor)) {
      this.#prefixCursor += 1n;
    }
    const index = this.#prefixCursor;
    this.#prefixCursor += 1n;
    this.#takenPrefixes.add(index);
    return take(this.#prefixText(index));
  }

  claimPrefix(text: string): Taken {
    const block = parseIpv6Block(text);
    if (block === undefined || block.prefixLength !== IPV6_PREFIX_LENGTH || !ipv6BlockHas(this.#block, block.base)) {
      return refuse('invalid');
    }
    const index = (block.base - this.#block.base) >> IPV6_PREFIX_HOST_BITS;
    if (this.#takenPrefixes.has(index) || this.#hasAddressIn(index)) return refuse('taken');
    this.#takenPrefixes.add(index);
    return take(this.#prefixText(index));
  }

  release(text: string): void {
    const value = parseIpv6(text);
    if (value !== undefined) this.#taken.delete(value - this.#block.base);
  }

  releasePrefix(text: string): void {
    const block = parseIpv6Block(text);
    if (block !== undefined) this.#takenPrefixes.delete((block.base - this.#block.base) >> IPV6_PREFIX_HOST_BITS);
  }

  #prefixText(index: bigint): string {
    return `${formatIpv6(this.#block.base + (index << IPV6_PREFIX_HOST_BITS))}/${IPV6_PREFIX_LENGTH}`;
  }

  #hasAddressIn(index: bigint): boolean {
    for (const offset of this.#taken) if (offset >> IPV6_PREFIX_HOST_BITS === index) return true;
    return false;
  }
}

function take(text: string): Taken {
  return { ok: true, text };
}

function refuse(refusal: 'exhausted' | 'invalid' | 'taken'): Taken {
  return { ok: false, refusal };
}
