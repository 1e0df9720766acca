import type { Screen } from './screen.ts';
import { formatDuration, shorten, wrap } from './text.ts';

const INDENT = '  ';
const MARK_WIDTH = 2;
const PROSE_WIDTH = 100;
const SPINNER = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const SPINNER_MS = 100;

/** The frame of a spinner that belongs to this moment. */
export function spinnerFrame(): string {
  return SPINNER[Math.floor(performance.now() / SPINNER_MS) % SPINNER.length] ?? '';
}

/** Tells the story: chapters, steps that take time, facts. */
export class Narrator {
  readonly screen: Screen;
  #chapters = 0;

  constructor(screen: Screen) {
    this.screen = screen;
  }

  /** Columns below the indentation. */
  get width(): number {
    return this.screen.width - INDENT.length;
  }

  title(text: string, subtitle: string): void {
    const { style } = this.screen;
    this.screen.print('', style.bold(text), ...this.#prose(subtitle, ''));
  }

  /** A numbered heading, and below it what happens and why it matters. */
  chapter(title: string, why: string): void {
    this.#chapters += 1;
    const { style } = this.screen;
    this.screen.print('', `${style.cyan(`${this.#chapters}`)} ${style.bold(title)}`, ...this.#prose(why, INDENT), '');
  }

  /** Indented lines that are given as they are to be. */
  lines(...lines: readonly string[]): void {
    this.screen.print(...lines.map((line) => (line === '' ? '' : INDENT + line)));
  }

  /** A paragraph that comments on what is above it. */
  note(text: string): void {
    this.screen.print(...this.#prose(text, INDENT));
  }

  /** Says that something has come true; `aside` is for what matters less. */
  done(text: string, aside = ''): void {
    const { style } = this.screen;
    const lines = wrap(text, this.#proseWidth(MARK_WIDTH)).map((line, at) => {
      return (at === 0 ? `${style.green('✓')} ` : ' '.repeat(MARK_WIDTH)) + line;
    });
    const last = lines.pop() ?? '';
    this.lines(...lines, aside === '' ? last : `${last}  ${style.dim(aside)}`);
  }

  fail(text: string): void {
    this.screen.print('', `${this.screen.style.red('✗')} ${text}`);
  }

  /**
   * Runs something that takes time and shows that it is under way, and what `detail` is told of it; then that it is done
   * and how long it took.
   */
  async step<T>(title: string, run: (detail: (line: string) => void) => Promise<T>): Promise<T> {
    const startMs = performance.now();
    const elapsed = () => formatDuration(performance.now() - startMs);
    const { screen } = this;
    let latest = '';
    let over = false;
    const end = screen.live(({ width }) => {
      const head = `${INDENT}${spinnerFrame()} ${title}  ${elapsed()}`;
      return latest === '' ? [head] : [head, screen.style.dim(shorten(`${INDENT}${INDENT}${latest}`, width))];
    });
    try {
      const result = await run((line) => {
        // What has been started goes on telling, when the story is elsewhere.
        if (over) return;
        latest = line;
        if (!screen.isLive) this.lines(`· ${line}`);
      });
      end();
      this.done(title, elapsed());
      return result;
    } finally {
      over = true;
      end();
    }
  }

  #prose(text: string, indent: string): string[] {
    return wrap(text, this.#proseWidth(0)).map((line) => indent + this.screen.style.dim(line));
  }

  #proseWidth(taken: number): number {
    return Math.min(PROSE_WIDTH, this.width - taken);
  }
}
