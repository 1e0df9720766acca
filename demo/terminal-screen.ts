import type { Style } from '../src/util/terminal/style.ts';
import { textWidth } from '../src/util/terminal/text.ts';
import type { Screen, View } from './screen.ts';

const HIDE_CURSOR = '\u001b[?25l';
const SHOW_CURSOR = '\u001b[?25h';
const ERASE_LINE_END = '\u001b[K';
const ERASE_BELOW = '\u001b[J';
/** Synchronized output: the terminal shows the frame as a whole. Unknown to some, who ignore it. */
const BEGIN_FRAME = '\u001b[?2026h';
const END_FRAME = '\u001b[?2026l';

const REDRAW_MS = 100;
const WIDEST = 200;

/** What the screen needs of a terminal. */
export interface Terminal {
  readonly columns: number;
  readonly rows: number;
  write(text: string): boolean;
  on(event: 'resize', listener: () => void): unknown;
  off(event: 'resize', listener: () => void): unknown;
}

/** A terminal: lines that stay scroll up, and below them is one region that is drawn in place. */
export class TerminalScreen implements Screen {
  readonly style: Style;
  readonly isLive = true;
  readonly #terminal: Terminal;
  #draw: ((view: View) => string[]) | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** The region's lines as the terminal has them; the cursor is at the start of the line below. */
  #shown: string[] = [];
  readonly #redraw = () => this.#show(this.#frame());
  readonly #onExit = () => this.restore();

  constructor(terminal: Terminal, style: Style) {
    this.#terminal = terminal;
    this.style = style;
  }

  /** One less than the terminal has: a full line would leave the cursor in the margin, where terminals differ. */
  get width(): number {
    return Math.min(WIDEST, (this.#terminal.columns || 80) - 1);
  }

  print(...lines: string[]): void {
    const text = lines.map((line) => `${line}${ERASE_LINE_END}\n`).join('');
    this.#write(this.#toTop() + text + ERASE_BELOW);
    this.#shown = [];
    if (this.#draw !== undefined) this.#redraw();
  }

  live(draw: (view: View) => string[]): () => void {
    this.#end();
    this.#draw = draw;
    this.#write(HIDE_CURSOR);
    process.once('exit', this.#onExit);
    this.#terminal.on('resize', this.#redraw);
    this.#timer = setInterval(this.#redraw, REDRAW_MS);
    this.#redraw();
    return () => {
      if (this.#draw === draw) this.#end();
    };
  }

  restore(): void {
    this.#end();
  }

  #end(): void {
    if (this.#draw === undefined) return;
    this.#draw = undefined;
    clearInterval(this.#timer);
    process.off('exit', this.#onExit);
    this.#terminal.off('resize', this.#redraw);
    this.#write(this.#toTop() + ERASE_BELOW + SHOW_CURSOR);
    this.#shown = [];
  }

  #frame(): string[] {
    const height = (this.#terminal.rows || 24) - 1;
    const lines = this.#draw?.({ width: this.width, height }) ?? [];
    if (lines.length <= height) return lines;
    return [...lines.slice(0, height - 1), this.style.dim(`… ${lines.length - height + 1} more`)];
  }

  #show(lines: string[]): void {
    // A terminal that shows what it should is left alone, so that text can be selected in it.
    if (lines.length === this.#shown.length && lines.every((line, at) => line === this.#shown[at])) return;
    const text = lines.map((line) => `${line}${ERASE_LINE_END}\n`).join('');
    this.#write(this.#toTop() + text + ERASE_BELOW);
    this.#shown = lines;
  }

  /** To where the region begins. A terminal that has become narrower has wrapped lines of it. */
  #toTop(): string {
    const columns = this.#terminal.columns || 80;
    const rows = this.#shown.reduce((sum, line) => sum + Math.max(1, Math.ceil(textWidth(line) / columns)), 0);
    return rows === 0 ? '\r' : `\r\u001b[${rows}A`;
  }

  #write(text: string): void {
    this.#terminal.write(BEGIN_FRAME + text + END_FRAME);
  }
}
