import { DatapathError } from './errors.ts';

/**
 * The meaning of a packet's mark: the highest bit of the mask says "from a pod with a member ENI", the others hold the number of
 * the ENI, from 1. The kernel's rules are the record of these numbers; this class only caches them.
 */
export class Marks {
  readonly mask: number;
  readonly memberBit: number;
  readonly #numberBits: number[];
  readonly #numbers = new Map<number, number>();

  /** @throws DatapathError when the mask has fewer than two bits */
  constructor(mask: number) {
    const bits = Array.from({ length: 32 }, (_, at) => (1 << at) >>> 0).filter((bit) => (mask & bit) !== 0);
    const memberBit = bits.pop();
    if (memberBit === undefined || bits.length === 0) {
      throw new DatapathError('mark mask', `0x${mask.toString(16)} needs two bits or more`);
    }
    this.mask = mask >>> 0;
    this.memberBit = memberBit;
    this.#numberBits = bits;
  }

  /** The bits that number the ENI. */
  get numberMask(): number {
    return (this.mask & ~this.memberBit) >>> 0;
  }

  /** The mark that stands for a number. */
  markOf(number: number): number {
    return this.#numberBits.reduce((mark, bit, at) => (((number >> at) & 1) === 1 ? (mark | bit) >>> 0 : mark), 0);
  }

  numberOf(mark: number): number {
    return this.#numberBits.reduce((number, bit, at) => ((mark & bit) === 0 ? number : number | (1 << at)), 0);
  }

  /** Adopts the number of an existing rule: this mark looks up this ENI's table. */
  learn(linkIndex: number, mark: number): void {
    const number = this.numberOf(mark);
    if (number !== 0 && ![...this.#numbers.values()].includes(number)) this.#numbers.set(linkIndex, number);
  }

  /**
   * The mark of an ENI.
   *
   * @throws DatapathError when all numbers are in use
   */
  of(linkIndex: number): number {
    const known = this.#numbers.get(linkIndex);
    if (known !== undefined) return this.markOf(known);
    const used = new Set(this.#numbers.values());
    let number = 1;
    while (used.has(number)) number++;
    if (number >= 2 ** this.#numberBits.length) {
      throw new DatapathError(
        'mark of an ENI',
        `mask 0x${this.mask.toString(16)} has numbers for ${used.size} ENIs only`,
      );
    }
    this.#numbers.set(linkIndex, number);
    return this.markOf(number);
  }

  /** ENIs that have a number. */
  indexes(): number[] {
    return [...this.#numbers.keys()];
  }

  /** Frees the number: its rules are gone. */
  forget(linkIndex: number): void {
    this.#numbers.delete(linkIndex);
  }
}
