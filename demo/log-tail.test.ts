import { expect, test } from 'vitest';
import { readableLog } from './log-tail.ts';

test('lines of a structured log read as sentences; others stay, stack frames go', () => {
  const log = [
    '{"level":"info","time":"2026-11-21T07:33:50.017Z","msg":"leading"}',
    '{"level":"warn","time":"2026-11-21T07:33:52.106Z","node":"node-2","attempts":3,"msg":"trunk not attached"}',
    'TypeError: sync is not a function',
    '    at runControllers (file:///dist/terway-controlplane.mjs:127:137144)',
    '',
  ].join('\n');
  expect(readableLog(log)).toEqual([
    '07:33:50 info  leading',
    '07:33:52 warn  trunk not attached node=node-2 attempts=3',
    'TypeError: sync is not a function',
  ]);
});

test('only the last lines', () => {
  const lines = Array.from({ length: 50 }, (_, at) => `line ${at}`);
  expect(readableLog(lines.join('\n')).at(0)).toBe('line 40');
  expect(readableLog(lines.join('\n')).at(-1)).toBe('line 49');
});
