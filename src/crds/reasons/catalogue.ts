import type { ReasonEntry } from './entry.ts';
import { INTERFACE_REASONS } from './interface.ts';
import { NETWORKING_REASONS } from './networking.ts';
import { NODE_REASONS } from './node.ts';
import { POOL_REASONS } from './pool.ts';
import { WAITING_REASONS } from './waiting.ts';

/**
 * Every reason of a condition or event that the product writes. Conditions and events with any other reason do not
 * compile; docs/reference/reasons.md is generated from this.
 */
const CATALOGUE = {
  ...WAITING_REASONS,
  ...INTERFACE_REASONS,
  ...NETWORKING_REASONS,
  ...NODE_REASONS,
  ...POOL_REASONS,
} as const;

/** Reason of a condition or event, CamelCase. */
export type Reason = keyof typeof CATALOGUE;

/** The catalogue by name. */
export const REASONS: Readonly<Record<Reason, ReasonEntry>> = CATALOGUE;

/** The catalogue entry of a reason that was read; undefined for an unknown reason. */
export function reasonEntry(reason: string): ReasonEntry | undefined {
  return BY_TEXT.get(reason);
}

const BY_TEXT: ReadonlyMap<string, ReasonEntry> = new Map(Object.entries(CATALOGUE));
