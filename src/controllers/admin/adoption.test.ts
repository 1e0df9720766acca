import { expect, test } from 'vitest';
import { ownershipTags } from '../../allocation/identity.ts';
import { CLUSTER, eni } from '../../allocation/test-support/fixtures.ts';
import { TAG_CREATOR, TAG_CREATOR_POOL } from '../../crds/names.ts';
import { type NodeEni, nodeSchema } from '../../crds/node.ts';
import { poolAdoptees } from './adoption.ts';

const THEIRS = { [TAG_CREATOR]: TAG_CREATOR_POOL };
const OURS = ownershipTags({ clusterId: CLUSTER, owner: 'node/node-1', ownerUid: 'u', clientToken: 't' });

/** What is said of an ENI that a node records so, with these tags; undefined: the cloud does not have it. */
function said(record: Partial<NodeEni>, tags: Record<string, string> | undefined) {
  const id = 'eni-1';
  const networkInterfaces = { [id]: { id, status: 'InUse', networkInterfaceType: 'Secondary', ...record } };
  const node = nodeSchema.parse({ metadata: { name: 'node-1' }, status: { networkInterfaces } });
  const listed = tags === undefined ? [] : [eni('InUse', { id, tags })];
  return poolAdoptees([node], new Map(listed.map((one) => [one.id, one])), CLUSTER);
}

const row = { kind: 'Pool', name: 'node-1', eniIDs: ['eni-1'] };

test('shared ENIs of Terway are adopted, and those of this control plane are none of it', () => {
  expect(said({}, THEIRS)).toEqual([{ ...row, state: 'adopted' }]);
  expect(said({}, OURS)).toEqual([]);
  expect(said({ networkInterfaceType: 'Trunk' }, THEIRS)).toEqual([]);
});

test.each<[string, Partial<NodeEni>, Record<string, string> | undefined, string]>([
  ['one that the configuration leaves out', { unschedulable: true }, THEIRS, 'eni_tag_filter or eni_tag_block_list'],
  ['one of somebody else', { unschedulable: true }, {}, 'its tags do not say'],
  ['one on its way', { status: 'Attaching' }, THEIRS, 'is Attaching in the record'],
  ['one that is being given up', { status: 'Deleting' }, THEIRS, 'is Deleting in the record'],
  ['one that is gone', {}, undefined, 'no longer exists'],
])('%s is hindered', (_, record, tags, words) => {
  expect(said(record, tags)).toEqual([{ ...row, state: 'hindered', hindrance: expect.stringContaining(words) }]);
});

test('a row for each node and state', () => {
  const ids = ['eni-1', 'eni-2', 'eni-3'];
  const record = (id: string) => [
    id,
    { id, status: 'InUse', networkInterfaceType: 'Secondary', ...(id === 'eni-3' ? { unschedulable: true } : {}) },
  ];
  const status = { networkInterfaces: Object.fromEntries(ids.map(record)) };
  const node = nodeSchema.parse({ metadata: { name: 'node-1' }, status });
  const listed = new Map(ids.map((id) => [id, eni('InUse', { id, tags: THEIRS })]));
  expect(poolAdoptees([node], listed, CLUSTER).map(({ eniIDs, state }) => [eniIDs, state])).toEqual([
    [['eni-1', 'eni-2'], 'adopted'],
    [['eni-3'], 'hindered'],
  ]);
});
