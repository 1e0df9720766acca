import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DAEMON_FIELDS, fieldsOfOthers } from './field-owners.ts';

const OURS = 'terway-controlplane';
const entry = (manager: string, spec: object, rest: object = {}) => ({
  manager,
  operation: 'Update',
  apiVersion: 'network.alibabacloud.com/v1beta1',
  time: '2026-01-01T00:00:00Z',
  fieldsType: 'FieldsV1',
  fieldsV1: { 'f:spec': spec },
  ...rest,
});
const ENI = { 'f:eni': { '.': {}, 'f:vSwitchOptions': {} } };

test.each<[string, unknown, string[]]>([
  ['nobody', [], []],
  ['nobody, in an object of a test', undefined, []],
  ['us', [entry(OURS, { ...ENI, 'f:pool': {}, 'f:nodeCap': {} })], []],
  [
    'Terway’s daemon',
    [
      entry(OURS, { '.': {}, 'f:nodeCap': {} }),
      entry('terwayd', { ...ENI, 'f:pool': {}, 'f:flavor': {}, 'f:datapath': {} }),
    ],
    [...DAEMON_FIELDS],
  ],
  ['both', [entry(OURS, ENI), entry('terwayd', { 'f:eni': { 'f:enableTrunk': {} } })], ['eni']],
  ['a person', [entry(OURS, ENI), entry('kubectl-edit', { 'f:pool': { 'f:maxPoolSize': {} } })], ['pool']],
  ['a person who applies', [entry('kubectl', { 'f:flavor': {} }, { operation: 'Apply' })], ['flavor']],
  [
    'somebody else, in the status',
    [{ manager: 'x', subresource: 'status', fieldsV1: { 'f:status': { 'f:eni': {} } } }],
    [],
  ],
  ['somebody without a name', [{ fieldsV1: { 'f:spec': ENI } }], ['eni']],
  ['nobody since a reset', [{}], []],
  ['entries of another shape', [7, null, { manager: 1 }, { manager: 'x', fieldsV1: 'y' }, entry('x', ENI)], ['eni']],
])('fields written by %s', (_, managedFields, fields) => {
  expect(fieldsOfOthers(managedFields, OURS).all).toEqual(fields);
});

test('of what the API server has joined, nobody knows whose it was', () => {
  const joined = entry('ancient-changes', { 'f:eni': {}, 'f:pool': {} });
  const entries = [joined, entry('kubectl-edit', { 'f:eni': { 'f:tag': {} } }), entry(OURS, { 'f:flavor': {} })];
  expect(fieldsOfOthers(entries, OURS)).toEqual({ all: ['eni', 'pool'], forgotten: ['pool'] });
});

test('anything at all can be asked for', () => {
  fc.assert(fc.property(fc.jsonValue(), (value) => void fieldsOfOthers(value, OURS)));
});
