import { expect, test } from 'vitest';
import type { NodeAddress, TerwayNode } from '../../crds/node.ts';
import { withCanonicalTexts } from './address-texts.ts';

const bound: NodeAddress = { ip: '', primary: false, status: 'Valid', podID: 'default/a', podUID: 'uid-a' };
const idle: NodeAddress = { ip: '', primary: false, status: 'Valid' };

function node(ipv6: Record<string, NodeAddress>): TerwayNode {
  const addresses = Object.entries(ipv6).map(([ip, address]) => [ip, { ...address, ip }]);
  const eni = { id: 'eni-1', status: 'InUse', ipv6: Object.fromEntries(addresses) };
  return { metadata: { name: 'node-1' }, spec: {}, status: { networkInterfaces: { [eni.id]: eni } } };
}

test('an address has one text, as key and as value, and stays with its pod', () => {
  const texts = { '2001:0db8:0:0::00fe': bound, '2001:DB8::FF': idle };
  expect(withCanonicalTexts(node(texts))).toEqual(node({ '2001:db8::fe': bound, '2001:db8::ff': idle }));
});

test('one that is recorded in two texts stays with its pod, whichever comes first', () => {
  const expected = node({ '2001:db8::fe': bound });
  expect(withCanonicalTexts(node({ '2001:0db8::fe': bound, '2001:db8::fe': idle }))).toEqual(expected);
  expect(withCanonicalTexts(node({ '2001:db8::fe': idle, '2001:0db8::fe': bound }))).toEqual(expected);
});

test('a record whose texts are right is left as it is', () => {
  const known = node({ '2001:db8::fe': bound });
  expect(withCanonicalTexts(known)).toBe(known);
});
