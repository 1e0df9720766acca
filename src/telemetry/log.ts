import { type DestinationStream, type Logger, pino } from 'pino';

/** A structured log; a child adds fields. */
export type Log = Logger;

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error';

/**
 * A log of JSON lines on standard output, or of readable lines when that is a terminal. Values of secret keys are redacted.
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
  // Only a terminal needs it, and the image does not contain it.
  const { default: pretty } = await import('pino-pretty').catch(() => ({ default: undefined }));
  if (pretty === undefined) return pino(settings);
  const stream: DestinationStream = pretty({ colorize: true, ignore: 'pid,hostname', translateTime: 'HH:MM:ss.l' });
  return pino(settings, stream);
}
