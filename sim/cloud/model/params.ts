import * as z from 'zod';
import { MISSING } from './action.ts';

/** Types of request parameters. On the wire every value is text. In-process callers may pass typed values. */

const LONGEST_TEXT = 4096;

/** Lets an absent parameter reach the transformation, which decides what that means. */
const present = z.unknown().optional();

/** Any text. An empty value counts as absent, as in the gateway. */
export const text = z
  .unknown()
  .transform((value, context): string | undefined => {
    if (value === undefined || value === '') return undefined;
    if (typeof value === 'number' || typeof value === 'boolean') return String(value);
    if (typeof value === 'string' && value.length <= LONGEST_TEXT) return value;
    return refuse(context, 'expected text');
  })
  .optional();

export const requiredText = present.transform((value, context): string => {
  if (value === undefined || value === '') return refuse(context, MISSING);
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (typeof value === 'string' && value.length <= LONGEST_TEXT) return value;
  return refuse(context, 'expected text');
});

/** Text in which the empty value has a meaning (a tag's value). */
export const anyText = z
  .unknown()
  .transform((value, context): string | undefined => {
    if (value === undefined) return undefined;
    if (typeof value === 'number' || typeof value === 'boolean') return String(value);
    if (typeof value === 'string' && value.length <= LONGEST_TEXT) return value;
    return refuse(context, 'expected text');
  })
  .optional();

/** One of the given words, exactly as documented. */
export function word<const W extends readonly string[]>(...words: W) {
  return z
    .unknown()
    .transform((value, context): W[number] | undefined => {
      if (value === undefined || value === '') return undefined;
      const found = words.find((candidate) => candidate === value);
      return found ?? refuse(context, `expected one of ${words.join(', ')}`);
    })
    .optional();
}

export function integer(min = 0, max = Number.MAX_SAFE_INTEGER) {
  return z
    .unknown()
    .transform((value, context): number | undefined => {
      if (value === undefined || value === '') return undefined;
      const number = typeof value === 'string' && /^-?\d{1,15}$/.test(value) ? Number(value) : value;
      if (typeof number !== 'number' || !Number.isSafeInteger(number)) return refuse(context, 'expected an integer');
      return number >= min && number <= max ? number : refuse(context, `expected ${min} to ${max}`);
    })
    .optional();
}

export const boolean = z
  .unknown()
  .transform((value, context): boolean | undefined => {
    if (value === undefined || value === '') return undefined;
    if (typeof value === 'boolean') return value;
    const lower = typeof value === 'string' ? value.toLowerCase() : '';
    if (lower === 'true') return true;
    return lower === 'false' ? false : refuse(context, 'expected true or false');
  })
  .optional();

/** `X.1`, `X.2` …; empty when absent. Items are in numerical order, and gaps are accepted. */
export function list<T extends z.ZodType>(item: T, max: number) {
  return present
    .transform((value, context): unknown[] => {
      if (value === undefined || value === '') return [];
      const items = Array.isArray(value) ? value : numbered(value);
      if (items === undefined) return refuse(context, 'expected a list (Name.1, Name.2, …)');
      return items.length <= max ? items : refuse(context, `at most ${max} items`);
    })
    .pipe(z.array(item));
}

/** A parameter with a JSON array of texts, like `InstanceIds` of DescribeInstances; undefined when absent. */
export function jsonTextList(max: number) {
  return z
    .unknown()
    .transform((value, context): string[] | undefined => {
      if (value === undefined || value === '') return undefined;
      if (typeof value !== 'string') return refuse(context, 'expected a JSON array as text');
      let parsed: unknown;
      try {
        parsed = JSON.parse(value);
      } catch {
        return refuse(context, 'expected a JSON array');
      }
      const texts = z.array(z.string()).max(max).safeParse(parsed);
      return texts.success ? texts.data : refuse(context, `expected a JSON array of at most ${max} texts`);
    })
    .optional();
}

/** A list whose items are required texts. */
export function texts(max: number) {
  return list(requiredText, max);
}

/** `Tag.N.Key` and `Tag.N.Value`. Not checked here, because filters and assignments have different rules. */
export const tags = list(z.object({ Key: anyText, Value: anyText }), 20);

function refuse(context: z.RefinementCtx, message: string): never {
  context.addIssue({ code: 'custom', message });
  return z.NEVER;
}

function numbered(value: unknown): unknown[] | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const entries = Object.entries(value);
  if (!entries.every(([key]) => /^\d{1,4}$/.test(key))) return undefined;
  return entries.sort(([a], [b]) => Number(a) - Number(b)).map(([, item]: [string, unknown]) => item);
}
