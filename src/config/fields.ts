import * as z from 'zod';
import { parseGoDurationMs } from '../util/duration.ts';

/** A Go duration such as `15s`, read as milliseconds. */
export function duration(defaultText: string) {
  return z
    .string('must be a Go duration such as 15s or 2m')
    .default(defaultText)
    .transform((text, context) => {
      const ms = parseGoDurationMs(text);
      if (ms === undefined || ms <= 0) {
        context.addIssue({ code: 'custom', message: `"${text}" is not a positive Go duration such as 15s or 2m` });
        return z.NEVER;
      }
      return ms;
    });
}

/** `HOST:PORT`, or `0`, which reads as undefined. */
export const bindAddress = z
  .string()
  .regex(/^(0|.*:\d{1,5})$/, 'must be HOST:PORT, or 0 to turn it off')
  .transform((text, context) => {
    if (text === '0') return undefined;
    const colon = text.lastIndexOf(':');
    const port = Number(text.slice(colon + 1));
    if (port > 65_535) {
      context.addIssue({ code: 'custom', message: `${port} is not a port; the highest is 65535` });
      return z.NEVER;
    }
    return { host: text.slice(0, colon).replace(/^\[|\]$/g, '') || '0.0.0.0', port };
  });
