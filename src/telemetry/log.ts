import { type DestinationStream, type Logger, pino } from 'pino';

/** The structured log; a child carries fields. */
export type Log = Logger;

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error';

/**
 * A log of JSON lines on standard output, or of readable lines when that is a terminal. Values under keys that hold secrets
 * never appear.
 */
export async function createLog(options: { level: LogLevel; pretty: boolean }): Promise<Log> {
  const settings = {
    level: options.level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: ['accessKeySecret', 'securityToken', '*.accessKeySecret', '*.securityToken'], censor: '******' },
  };
  if (!options.pretty) return pino(settings);
  // Only a terminal needs it; the image does without.
  const { default: pretty } = await import('pino-pretty').catch(() => ({ default: undefined }));
  if (pretty === undefined) return pino(settings);
  const stream: DestinationStream = pretty({ colorize: true, ignore: 'pid,hostname', translateTime: 'HH:MM:ss.l' });
  return pino(settings, stream);
}
