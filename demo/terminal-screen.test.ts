import { EventEmitter } from 'node:events';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createStyle } from '../src/util/terminal/style.ts';
import { TerminalScreen } from './terminal-screen.ts';

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

/** As much of a terminal as the screen uses: rows, a cursor, and lines that scroll. */
class FakeTerminal extends EventEmitter {
  columns = 20;
  rows = 6;
  isCursorVisible = true;
  lines: string[] = [''];
  #row = 0;

  write(text: string): boolean {
    for (const [token] of text.replaceAll('\u001b', '␛').matchAll(/␛\[[?\d]*[a-zA-Z]|\n|\r|[^␛\n\r]+/g))
      this.#apply(token);
    return true;
  }

  /** What stands there, without the empty lines at the end. */
  get text(): string {
    return this.lines.join('\n').trimEnd();
  }

  #apply(token: string): void {
    const up = /^␛\[(\d+)A$/.exec(token);
    if (up !== null) this.#row -= Number(up[1]);
    else if (token === '␛[J') this.lines = [...this.lines.slice(0, this.#row), ''];
    else if (token === '␛[?25l') this.isCursorVisible = false;
    else if (token === '␛[?25h') this.isCursorVisible = true;
    else if (token === '\n') {
      this.#row += 1;
      this.lines[this.#row] ??= '';
    } else if (!token.startsWith('␛') && token !== '\r') this.lines[this.#row] = token;
  }
}

function open() {
  const terminal = new FakeTerminal();
  return { terminal, screen: new TerminalScreen(terminal, createStyle(false)) };
}

test('a live region is drawn in place, below lines that stay, and leaves nothing', () => {
  const { terminal, screen } = open();
  let region = ['one', 'two'];
  screen.print('heading');
  const end = screen.live(() => region);
  expect(terminal.text).toBe('heading\none\ntwo');
  region = ['three'];
  vi.advanceTimersByTime(100);
  expect(terminal.text).toBe('heading\nthree');
  screen.print('a fact');
  expect(terminal.text).toBe('heading\na fact\nthree');
  end();
  expect(terminal.text).toBe('heading\na fact');
});

test('the cursor is hidden only while something is live', () => {
  const { terminal, screen } = open();
  const end = screen.live(() => ['…']);
  expect(terminal.isCursorVisible).toBe(false);
  end();
  expect(terminal.isCursorVisible).toBe(true);
  screen.live(() => ['…']);
  screen.restore();
  screen.restore();
  expect(terminal.isCursorVisible).toBe(true);
  expect(terminal.listenerCount('resize')).toBe(0);
});

test('what does not change is not written again', () => {
  const { terminal, screen } = open();
  const end = screen.live(() => ['calm']);
  const write = vi.spyOn(terminal, 'write');
  vi.advanceTimersByTime(1000);
  expect(write).not.toHaveBeenCalled();
  end();
});

test('a region that is higher than the terminal is cut', () => {
  const { terminal, screen } = open();
  const end = screen.live(() => ['1', '2', '3', '4', '5', '6', '7']);
  expect(terminal.text).toBe('1\n2\n3\n4\n… 3 more');
  end();
});

test('a resize draws anew at once, and counts the lines that the terminal has wrapped', () => {
  const { terminal, screen } = open();
  const end = screen.live(({ width }) => ['x'.repeat(width)]);
  expect(terminal.text).toBe('x'.repeat(19));
  const write = vi.spyOn(terminal, 'write');
  terminal.columns = 10;
  terminal.emit('resize');
  expect(write.mock.calls[0]?.[0]).toContain('\u001b[2A');
  expect(write.mock.calls[0]?.[0]).toContain('x'.repeat(9));
  end();
});
