import type { WriteStream } from 'node:tty';
import { createStyle, wantsColours } from '../src/util/terminal/style.ts';
import type { Screen } from './screen.ts';
import { TerminalScreen } from './terminal-screen.ts';

/** Long enough for a line with all that there is to say about a pod. */
const LOG_WIDTH = 170;

/** Plain lines, one after another, for a log. */
class LogScreen implements Screen {
  readonly style = createStyle(false);
  readonly width = LOG_WIDTH;
  readonly isLive = false;
  readonly #write: (text: string) => void;

  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  print(...lines: string[]): void {
    for (const line of lines) this.#write(`${line}\n`);
  }

  live(): () => void {
    return () => undefined;
  }

  restore(): void {
    // Nothing was taken.
  }
}

/** A screen for the stream: live on a terminal, a log otherwise. */
export function createScreen(stream: WriteStream, environment: NodeJS.ProcessEnv): Screen {
  const isTerminal = stream.isTTY === true && environment['TERM'] !== 'dumb';
  if (!isTerminal) return new LogScreen((text) => void stream.write(text));
  return new TerminalScreen(stream, createStyle(wantsColours(true, environment)));
}
