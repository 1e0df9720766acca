/**
 * Netlink's building blocks: native-endian integers (all machines that run this are little endian), structures padded
 * to four bytes, and attributes of length, type and value (include/uapi/linux/netlink.h).
 */

/** Bytes from the kernel, or from a broken pipe to it, that are no netlink message. */
export class MalformedMessageError extends Error {
  constructor(message: string) {
    super(`malformed netlink message: ${message}`);
    this.name = 'MalformedMessageError';
  }
}

/** The type without the flags for nested and network byte order. */
const TYPE_MASK = 0x3fff;
/** In the type of an attribute of attributes. */
export const NESTED = 0x8000;

const aligned = (size: number) => (size + 3) & ~3;

/** Builds structures and attributes one after another. */
export class MessageWriter {
  #bytes = Buffer.alloc(256);
  #size = 0;
  /** Where the descriptor of a namespace has to be written, counted from the first byte written here. */
  descriptorAt: number | undefined;

  #grow(size: number): number {
    const at = this.#size;
    this.#size += size;
    if (this.#size > this.#bytes.length) {
      const larger = Buffer.alloc(this.#size * 2);
      this.#bytes.copy(larger, 0, 0, at);
      this.#bytes = larger;
    }
    return at;
  }

  u8(value: number): this {
    const at = this.#grow(1);
    this.#bytes.writeUInt8(value, at);
    return this;
  }

  u16(value: number): this {
    const at = this.#grow(2);
    this.#bytes.writeUInt16LE(value, at);
    return this;
  }

  u32(value: number): this {
    const at = this.#grow(4);
    this.#bytes.writeUInt32LE(value >>> 0, at);
    return this;
  }

  raw(bytes: Uint8Array): this {
    const at = this.#grow(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }

  /** An attribute with this value. */
  bytes(type: number, value: Uint8Array): this {
    this.u16(value.length + 4).u16(type);
    this.raw(value);
    this.#grow(aligned(value.length) - value.length);
    return this;
  }

  attrU8(type: number, value: number): this {
    return this.bytes(type, Uint8Array.of(value));
  }

  attrU16(type: number, value: number): this {
    const bytes = Buffer.alloc(2);
    bytes.writeUInt16LE(value);
    return this.bytes(type, bytes);
  }

  attrU32(type: number, value: number): this {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value >>> 0);
    return this.bytes(type, bytes);
  }

  /** A text with its final NUL. */
  attrText(type: number, value: string): this {
    return this.bytes(type, Buffer.from(`${value}\0`));
  }

  /** An attribute whose value the helper fills in. There can be one in a message. */
  attrDescriptor(type: number): this {
    this.attrU32(type, 0);
    this.descriptorAt = this.#size - 4;
    return this;
  }

  /** A nested attribute; `plain` omits the flag for nesting, as traffic control does. */
  nest(type: number, content: () => void, plain = false): this {
    const start = this.#grow(4);
    content();
    this.#bytes.writeUInt16LE(this.#size - start, start);
    this.#bytes.writeUInt16LE(plain ? type : type | NESTED, start + 2);
    return this;
  }

  finish(): Buffer {
    return Buffer.from(this.#bytes.subarray(0, this.#size));
  }
}

/** Attributes by their type; of several with one type the last counts, as in the kernel. */
export class Attributes {
  readonly #values: ReadonlyMap<number, Buffer>;

  constructor(values: ReadonlyMap<number, Buffer>) {
    this.#values = values;
  }

  /**
   * Splits `bytes` into attributes.
   *
   * @throws MalformedMessageError when a length does not fit.
   */
  static parse(bytes: Buffer): Attributes {
    const values = new Map<number, Buffer>();
    let at = 0;
    while (bytes.length - at >= 4) {
      const length = bytes.readUInt16LE(at);
      if (length < 4 || length > bytes.length - at) {
        throw new MalformedMessageError(`attribute of ${length} bytes where ${bytes.length - at} are left`);
      }
      values.set(bytes.readUInt16LE(at + 2) & TYPE_MASK, bytes.subarray(at + 4, at + length));
      at += aligned(length);
    }
    return new Attributes(values);
  }

  get types(): number[] {
    return [...this.#values.keys()];
  }

  bytes(type: number): Buffer | undefined {
    return this.#values.get(type);
  }

  u8(type: number): number | undefined {
    return this.#sized(type, 1)?.readUInt8(0);
  }

  u16(type: number): number | undefined {
    return this.#sized(type, 2)?.readUInt16LE(0);
  }

  u32(type: number): number | undefined {
    return this.#sized(type, 4)?.readUInt32LE(0);
  }

  text(type: number): string | undefined {
    const value = this.#values.get(type);
    if (value === undefined) return undefined;
    const end = value.indexOf(0);
    return value.toString('utf8', 0, end === -1 ? value.length : end);
  }

  /** Empty when the attribute is absent. */
  nested(type: number): Attributes {
    return Attributes.parse(this.#values.get(type) ?? Buffer.alloc(0));
  }

  #sized(type: number, size: number): Buffer | undefined {
    const value = this.#values.get(type);
    if (value !== undefined && value.length < size) {
      throw new MalformedMessageError(`attribute ${type} has ${value.length} bytes instead of ${size}`);
    }
    return value;
  }
}

/**
 * Reads a fixed structure at the front of a payload.
 *
 * @throws MalformedMessageError when the payload is shorter.
 */
export function splitPayload(payload: Buffer, structSize: number): { struct: Buffer; attributes: Attributes } {
  if (payload.length < structSize) {
    throw new MalformedMessageError(`${payload.length} bytes where a structure of ${structSize} begins`);
  }
  return {
    struct: payload.subarray(0, structSize),
    attributes: Attributes.parse(payload.subarray(aligned(structSize))),
  };
}
