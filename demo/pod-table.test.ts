import { describe, expect, test } from 'vitest';
import { createStyle } from '../src/util/terminal/style.ts';
import { textWidth } from '../src/util/terminal/text.ts';
import { describeCalls } from './cloud-calls.ts';
import type { PodRow } from './pod-record.ts';
import { livePodTable, podColumns, podLine, wholePodTable } from './pod-table.ts';

const plain = createStyle(false);
const calls = { ofEni: (eniId: string) => (eniId === '' ? '' : 'Create 1, Attach 1') };

const BOUND: PodRow = {
  name: 'web-86dd5b8fc4-7zk9n',
  app: 'web',
  phase: 'Bind',
  node: 'node-2',
  address: '10.10.0.2',
  eniId: 'eni-bp12vid25wbahsh0rp35',
  trunkId: 'eni-bp1026xfsaosbp56rp35',
  vlan: '1',
  vSwitch: 'vsw-bp1pods-h',
  tookMs: 2104,
  served: true,
};
const PENDING: PodRow = {
  ...BOUND,
  name: 'database-0',
  phase: 'Pending',
  node: '',
  address: '',
  eniId: '',
  trunkId: '',
  vlan: '',
  vSwitch: '',
  tookMs: 30,
  served: false,
};
const MOVING: PodRow = { ...BOUND, name: 'database-1', phase: 'Detaching', node: 'node-2 → node-1', served: false };
const ROWS = [PENDING, MOVING, BOUND];

// 77 is what is left of a terminal of 80.
describe.each([77, 80, 100, 120, 140, 160, 200])('at %i columns', (width) => {
  const columns = podColumns(calls, plain);

  test('no line of the live table is longer', () => {
    for (const line of livePodTable(ROWS, columns, width, plain)) expect(textWidth(line)).toBeLessThanOrEqual(width);
  });

  test('the columns of the live table do not jump when phases and ENIs come', () => {
    const titles = (rows: PodRow[]) => livePodTable(rows, columns, width, plain)[0];
    expect(titles([{ ...BOUND, phase: 'Initial', eniId: '', address: '', trunkId: '', vlan: '' }])).toBe(
      titles([{ ...BOUND, phase: 'Bind' }]),
    );
  });

  test('what stays tells everything, in as many tables as it takes', () => {
    const text = wholePodTable([BOUND], columns, width, plain);
    for (const line of text) expect(textWidth(line)).toBeLessThanOrEqual(width);
    for (const { title } of columns) expect(text.filter((line) => line.split(/ {2,}/).includes(title))).not.toEqual([]);
  });
});

test('with room for all there is one table with nothing shortened', () => {
  expect(wholePodTable([BOUND], podColumns(calls, plain), 200, plain)).toEqual([
    'POD                   PHASE   NODE    ADDRESS    VSWITCH        MEMBER ENI                TRUNK                     VLAN    TIME  CLOUD CALLS',
    'web-86dd5b8fc4-7zk9n  ● Bind  node-2  10.10.0.2  vsw-bp1pods-h  eni-bp12vid25wbahsh0rp35  eni-bp1026xfsaosbp56rp35     1  2.10 s  Create 1, Attach 1',
  ]);
});

test('a name keeps both ends and an id its end: there they differ', () => {
  const [, line = ''] = livePodTable([BOUND], podColumns(calls, plain), 79, plain);
  expect(line).toMatch(/^web-\S+…\S*-7zk9n /);
  expect(line).toMatch(/…\S+h0rp35 /);
});

test('lines of a log', () => {
  expect(podLine(BOUND, calls)).toBe(
    'web-86dd5b8fc4-7zk9n  ● Bind       on node-2, 10.10.0.2, eni-bp12vid25wbahsh0rp35, VLAN 1, after 2.10 s, Create 1, Attach 1',
  );
  expect(podLine(PENDING, calls)).toBe('database-0            ◐ Pending');
});

test('calls of an ENI come in the order of its life', () => {
  const made = new Map([
    ['DeleteNetworkInterface', 1],
    ['AttachNetworkInterface', 2],
    ['CreateNetworkInterface', 1],
    ['DescribeNetworkInterfaces', 3],
  ]);
  expect(describeCalls(made)).toBe('Create 1, Attach 2, Delete 1');
  expect(describeCalls(undefined)).toBe('');
});
