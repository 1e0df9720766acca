import { describe, expect, test } from 'vitest';
import { createStyle } from '../src/util/terminal/style.ts';
import { textWidth } from '../src/util/terminal/text.ts';
import { echoExchange, framesOf, type PodOnWire, tagProblems } from './frame-checks.ts';
import { frameRows, frameTable } from './frame-table.ts';
import type { SeenFrame } from './frame-watch.ts';

const plain = createStyle(false);
const A: PodOnWire = { name: 'web-a', address: '10.10.0.1', eniId: 'eni-a', vlan: '1', trunkId: 'eni-trunk1' };
const B: PodOnWire = { name: 'web-b', address: '10.10.0.2', eniId: 'eni-b', vlan: '7', trunkId: 'eni-trunk2' };
const NODES: Record<string, string> = { 'eni-trunk1': 'node-1', 'eni-trunk2': 'node-2' };

function frame(from: PodOnWire, to: PodOnWire, direction: SeenFrame['direction'], fields: Partial<SeenFrame> = {}) {
  const at = direction === 'fromNode' ? from : to;
  const seen: SeenFrame = {
    type: 'frame',
    capture: 1,
    direction,
    verdict: 'forwarded',
    reason: '',
    eni: at.eniId,
    device: at.trunkId,
    vlan: Number(at.vlan),
    srcMac: '02:00:00:00:00:01',
    dstMac: 'ee:ff:ff:ff:ff:ff',
    etherType: 0x0800,
    src: from.address,
    dst: to.address,
    protocol: 1,
    srcPort: 5,
    dstPort: 5,
    icmpType: from === A ? 8 : 0,
    length: 98,
    seenMs: 100,
    ...fields,
  };
  return seen;
}

/** An echo from A to B and its reply. */
const ECHO = [
  frame(A, B, 'fromNode', { seenMs: 100 }),
  frame(A, B, 'toNode', { seenMs: 100.25 }),
  frame(B, A, 'fromNode', { seenMs: 100.5 }),
  frame(B, A, 'toNode', { seenMs: 101.125 }),
];

test('an exchange is there when all four frames are', () => {
  expect(echoExchange(ECHO, A.address, B.address)).toEqual(ECHO);
  expect(echoExchange([...ECHO, ...ECHO], A.address, B.address)).toEqual(ECHO);
  expect(echoExchange(ECHO.slice(0, 3), A.address, B.address)).toBeUndefined();
});

test('frames of pods are packets among them', () => {
  const others = [
    frame(A, { ...B, address: '10.10.0.99' }, 'fromNode'),
    frame(A, B, 'fromNode', { etherType: 0x0806 }),
  ];
  expect(framesOf([...others, ...ECHO], [A, B])).toEqual(ECHO);
});

describe('tags', () => {
  test('are right', () => {
    expect(tagProblems(ECHO, [A, B])).toEqual([]);
  });

  test.each<[string, Partial<SeenFrame>, string]>([
    ['the id of another', { vlan: 7 }, 'a frame 10.10.0.1 → 10.10.0.2 with VLAN id 7 should have that of web-a, 1'],
    ['no id', { vlan: 0, eni: '' }, 'a frame 10.10.0.1 → 10.10.0.2 with VLAN id 0 belongs to no pod (no ENI)'],
    [
      'another trunk',
      { device: 'eni-x' },
      'a frame 10.10.0.1 → 10.10.0.2 with VLAN id 1 of web-a was on eni-x, not on its trunk',
    ],
    [
      'another’s address',
      { src: '10.9.9.9' },
      'a frame 10.9.9.9 → 10.10.0.2 with VLAN id 1 is not of web-a, which has 10.10.0.1',
    ],
    [
      'a refusal',
      { verdict: 'refused', reason: 'security-group-ingress' },
      'a frame 10.10.0.1 → 10.10.0.2 with VLAN id 1 of web-a was refused: security-group-ingress',
    ],
  ])('%s', (_, fields, problem) => {
    expect(tagProblems([frame(A, B, 'fromNode', fields)], [A, B])).toEqual([problem]);
  });
});

test('a table of frames', () => {
  const rows = frameRows(ECHO, (eniId) => NODES[eniId] ?? '?');
  expect(frameTable(rows, 120, plain)).toEqual([
    '   TIME  DIRECTION     ENI    VLAN  SOURCE → DESTINATION   WHAT',
    '0.00 ms  node-1 → VPC  eni-a     1  10.10.0.1 → 10.10.0.2  request',
    '0.25 ms  VPC → node-2  eni-b     7  10.10.0.1 → 10.10.0.2  request',
    '0.50 ms  node-2 → VPC  eni-b     7  10.10.0.2 → 10.10.0.1  reply',
    '1.13 ms  VPC → node-1  eni-a     1  10.10.0.2 → 10.10.0.1  reply',
  ]);
});

test.each([77, 97])('at %i columns no line of it is longer, and id and tag are there', (width) => {
  const long = { eni: 'eni-bp12vid25wbahsh0rp35', verdict: 'refused', reason: 'security-group-ingress' } as const;
  const rows = frameRows([frame(A, B, 'fromNode', long)], () => 'node-1');
  const [titles = '', line = ''] = frameTable(rows, width, plain);
  for (const each of [titles, line]) expect(textWidth(each)).toBeLessThanOrEqual(width);
  expect(titles).toMatch(/ENI +VLAN/);
  expect(line).toContain('security-group-ingress');
});
