import * as z from 'zod';
import type { WriteRecord } from '../../kube/model/journal.ts';
import type { CloudCall } from '../cloud-link.ts';
import type { SeededWorld } from './seeded-world.ts';

const specSchema = z.object({ holderIdentity: z.string(), leaseDurationSeconds: z.number() });

/** I9: the cloud is called by the process that holds the lease, as the API server knows it, while nobody else may take it. */
export class LeaseWitness {
  readonly #seeded: SeededWorld;
  readonly #problems: string[] = [];
  readonly #unsubscribe: () => void;
  #holder = '';
  /** From then on, others may take the lease. */
  #endsMs = 0;

  constructor(seeded: SeededWorld) {
    this.#seeded = seeded;
    this.#unsubscribe = seeded.world.kube.subscribe((write) => this.#onWrite(write));
  }

  /** Violations since the last call. */
  look(): string[] {
    return this.#problems.splice(0);
  }

  end(): void {
    this.#unsubscribe();
  }

  #onWrite({ resource, after }: WriteRecord): void {
    if (!resource.startsWith('leases.') || after === undefined) return;
    const { holderIdentity, leaseDurationSeconds } = specSchema.parse(after['spec']);
    this.#holder = holderIdentity;
    this.#endsMs = this.#seeded.world.clock.monotonicMs() + leaseDurationSeconds * 1000;
  }

  /** A replica sends a call. */
  onSend({ replica, action }: CloudCall): void {
    const overMs = this.#seeded.world.clock.monotonicMs() - this.#endsMs;
    if (replica !== this.#holder)
      this.#problems.push(`I9: ${replica} sends ${action}, and ${this.#holder} has the lease`);
    else if (overMs >= 0)
      this.#problems.push(`I9: ${replica} sends ${action} ${overMs / 1000} s after its lease has ended`);
  }
}
