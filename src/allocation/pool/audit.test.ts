import { expect, test } from 'vitest';
import type { NodeEni } from '../../crds/node.ts';
import { CLUSTER, eni as cloudEni } from '../test-support/fixtures.ts';
import { asShown, isSuspect } from './audit.ts';

const rules = { spec: {}, clusterId: CLUSTER };

test('a pod keeps its IPv6 address although Terway recorded it in another text', () => {
  const text = '2001:0db8:0:0::00fe';
  const eni: NodeEni = {
    id: 'eni-1',
    status: 'InUse',
    ipv6: { [text]: { ip: text, primary: false, status: 'Valid', podID: 'default/a', podUID: 'uid-a' } },
  };
  const shown = cloudEni('InUse', { instanceId: 'i-1', ipv4: [], ipv6: ['2001:db8::fe'] });
  expect(isSuspect(eni, shown, rules)).toBe(true);
  const corrected = asShown(eni, shown, 'i-1', rules);
  expect(corrected.ipv6).toEqual({
    '2001:db8::fe': { ip: '2001:db8::fe', primary: false, status: 'Valid', podID: 'default/a', podUID: 'uid-a' },
  });
  expect(isSuspect(corrected, shown, rules)).toBe(false);
});
