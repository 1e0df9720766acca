/**
 * The frames between the agent and its helper `terway-kernel`; native/kernel/frame.h describes them.
 */

/** Numbers of operations; the same list as in native/kernel/main.c. */
export const OPERATION = {
  netlink: 1,
  sysctl: 2,
  close: 3,
  mapCreate: 4,
  pin: 5,
  get: 6,
  mapLookup: 7,
  mapUpdate: 8,
  mapDelete: 9,
  mapDump: 10,
  programLoad: 11,
  info: 12,
  mountBpffs: 13,
  netnsNew: 14,
  /** Does nothing. */
  hello: 15,
  watch: 16,
  tcxQuery: 17,
  tcxAttach: 18,
  tcxDetach: 19,
} as const;

export type Operation = keyof typeof OPERATION;

/** A field of a request: a number, a text, or bytes. */
export type Field = number | string | Uint8Array;

/** One request as it goes to the helper. */
export function encodeFrame(id: number, operation: number, fields: readonly Field[]): Buffer {
  const parts = fields.map((field) => {
    if (typeof field === 'number') return word(field);
    const bytes = typeof field === 'string' ? Buffer.from(`${field}\0`) : field;
    return Buffer.concat([word(bytes.length), bytes]);
  });
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  const head = Buffer.alloc(12);
  head.writeUInt32LE(size + 8, 0);
  head.writeUInt32LE(id >>> 0, 4);
  head.writeUInt16LE(operation, 8);
  return Buffer.concat([head, ...parts]);
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}

/** An answer of the helper. */
export interface HelperAnswer {
  id: number;
  /** 0 when it was done. */
  errno: number;
  data: Buffer;
}

/** Assembles answers from the chunks that the pipe delivers. */
export class AnswerDecoder {
  #chunks: Buffer[] = [];
  #size = 0;

  /** @returns the answers that are complete now. */
  push(chunk: Buffer): HelperAnswer[] {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    const answers: HelperAnswer[] = [];
    for (;;) {
      const wanted = this.#wanted();
      if (wanted === undefined || this.#size < wanted) return answers;
      const all = this.#joined();
      const frame = all.subarray(0, wanted);
      this.#chunks = [all.subarray(wanted)];
      this.#size -= wanted;
      answers.push({ id: frame.readUInt32LE(4), errno: frame.readUInt32LE(8), data: Buffer.from(frame.subarray(12)) });
    }
  }

  /** Size of the next frame, once its head is here. Joins no more than that needs. */
  #wanted(): number | undefined {
    if (this.#size < 12) return undefined;
    const first = this.#chunks[0];
    const head = first !== undefined && first.length >= 4 ? first : this.#joined();
    return Math.max(12, head.readUInt32LE(0) + 4);
  }

  #joined(): Buffer {
    const [first] = this.#chunks;
    const all = this.#chunks.length === 1 && first !== undefined ? first : Buffer.concat(this.#chunks);
    this.#chunks = [all];
    return all;
  }
}
