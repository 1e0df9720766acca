const FIRST_MS = 15_000;
const LAST_MS = 10 * 60_000;

/** ENIs to which the cloud refused addresses, and when each may be asked for more again; later with each refusal. */
export class Refusals {
  readonly #ofEni = new Map<string, { untilMs: number; count: number }>();

  note(eniId: string, nowMs: number): void {
    const count = (this.#ofEni.get(eniId)?.count ?? 0) + 1;
    this.#ofEni.set(eniId, { untilMs: nowMs + Math.min(LAST_MS, FIRST_MS * 2 ** (count - 1)), count });
  }

  /** It has given addresses, or is gone. */
  forget(eniId: string): void {
    this.#ofEni.delete(eniId);
  }

  mayTry(eniId: string, nowMs: number): boolean {
    return (this.#ofEni.get(eniId)?.untilMs ?? 0) <= nowMs;
  }
}
