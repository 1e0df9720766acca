import type { ReasonEntry } from './entry.ts';
import { INTERFACE_REASONS } from './interface.ts';
import { NETWORKING_REASONS } from './networking.ts';
import { NODE_REASONS } from './node.ts';
import { WAITING_REASONS } from './waiting.ts';

/**
 * Every reason of a condition or event that the product writes. What is not a key here does not compile where conditions
 * are set and events are sent; docs/reference/reasons.md is generated from it.
 */
const CATALOGUE = { ...WAITING_REASONS, ...INTERFACE_REASONS, ...NETWORKING_REASONS, ...NODE_REASONS } as const;

/** Reason of a condition or event, CamelCase. */
export type Reason = keyof typeof CATALOGUE;

/** The catalogue by name. */
export const REASONS: Readonly<Record<Reason, ReasonEntry>> = CATALOGUE;

/** What the catalogue says of a reason that was read; undefined for one of another version or hand. */
export function reasonEntry(reason: string): ReasonEntry | undefined {
  return BY_TEXT.get(reason);
}

const BY_TEXT: ReadonlyMap<string, ReasonEntry> = new Map(Object.entries(CATALOGUE));
