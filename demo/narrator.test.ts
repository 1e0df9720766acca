import { expect, test } from 'vitest';
import { createStyle } from '../src/util/terminal/style.ts';
import { Narrator } from './narrator.ts';
import type { Screen } from './screen.ts';

function onScreen(width: number) {
  const printed: string[] = [];
  const screen: Screen = {
    style: createStyle(false),
    width,
    isLive: false,
    print: (...lines) => printed.push(...lines),
    live: () => () => undefined,
    restore: () => undefined,
  };
  return { narrator: new Narrator(screen), printed };
}

test('what has come true, and beside it how long it took', () => {
  const { narrator, printed } = onScreen(40);
  narrator.done('three nodes', '1.50 s');
  expect(printed).toEqual(['  ✓ three nodes  1.50 s']);
});

test('beside it or, where there is no room, below it: no line is longer than the screen', () => {
  const { narrator, printed } = onScreen(24);
  narrator.done('three nodes of 18 col', '1.50 s');
  narrator.done('exactly as wide as it', '1.50 s');
  expect(printed).toEqual(['  ✓ three nodes of 18', '    col  1.50 s', '  ✓ exactly as wide as', '    it  1.50 s']);
  const { narrator: other, printed: lines } = onScreen(24);
  other.done('eighteen columns ab', '1.50 s');
  expect(lines).toEqual(['  ✓ eighteen columns ab', '    1.50 s']);
});
