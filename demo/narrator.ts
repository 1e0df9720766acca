import { formatDuration, shorten, textWidth, wrap } from '../src/util/terminal/text.ts';
import type { Screen } from './screen.ts';

const INDENT = '  ';
const MARK_WIDTH = 2;
const ASIDE_GAP = '  ';
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
    const width = this.#proseWidth(MARK_WIDTH);
    const lines = wrap(text, width);
    const last = lines.at(-1) ?? '';
    const hasRoom = textWidth(last) + ASIDE_GAP.length + textWidth(aside) <= width;
    if (aside !== '' && hasRoom) lines[lines.length - 1] = `${last}${ASIDE_GAP}${style.dim(aside)}`;
    else if (aside !== '') lines.push(style.dim(aside));
    this.lines(...this.#marked(style.green('✓'), lines));
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
      const head = wrap(`${title}${ASIDE_GAP}${elapsed()}`, this.#proseWidth(MARK_WIDTH));
      const lines = this.#marked(spinnerFrame(), head).map((line) => INDENT + line);
      return latest === '' ? lines : [...lines, screen.style.dim(shorten(`${INDENT}${INDENT}${latest}`, width))];
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

  #marked(mark: string, lines: readonly string[]): string[] {
    return lines.map((line, at) => (at === 0 ? `${mark} ` : ' '.repeat(MARK_WIDTH)) + line);
  }

  #prose(text: string, indent: string): string[] {
    return wrap(text, this.#proseWidth(0)).map((line) => indent + this.screen.style.dim(line));
  }

  #proseWidth(taken: number): number {
    return Math.min(PROSE_WIDTH, this.width - taken);
  }
}
