import * as z from 'zod';
import { parseJson } from '../tools/machine/lock.ts';

const lineSchema = z.looseObject({ level: z.string(), time: z.string(), msg: z.string() });

const STACK_FRAME = /^\s+at /;
const LINES = 10;

/**
 * The last lines of a structured log as a person reads them: time, level, message, fields. Other lines stay as they are,
 * without stack frames: those point into a bundle.
 */
export function readableLog(text: string): string[] {
  return text
    .split('\n')
    .filter((line) => line.trim() !== '' && !STACK_FRAME.test(line))
    .slice(-LINES)
    .map((line) => {
      const parsed = lineSchema.safeParse(parseJson(line));
      if (!parsed.success) return line;
      const { level, time, msg, ...fields } = parsed.data;
      const rest = Object.entries(fields).map(
        ([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
      );
      return [time.slice(11, 19), level.padEnd(5), msg, ...rest].join(' ');
    });
}
