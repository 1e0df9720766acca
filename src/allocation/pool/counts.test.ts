import { expect, test } from 'vitest';
import type { NodeAddress, NodeEni } from '../../crds/node.ts';
import { countAddresses } from './counts.ts';

function eni(id: string, vSwitchID: string, status: string, addresses: readonly Partial<NodeAddress>[]): NodeEni {
  const all = addresses.map(
    (one, at): NodeAddress => ({ ip: `${id}-${at}`, primary: at === 0, status: 'Valid', ...one }),
  );
  return { id, status, vSwitchID, ipv4: Object.fromEntries(all.map((address) => [address.ip, address])) };
}

test('addresses count by vSwitch, each once', () => {
  const pod = { podID: 'default/a', podUID: 'a' };
  const enis = [
    eni('1', 'v1', 'InUse', [pod, {}, { status: 'Deleting' }, { ...pod, status: 'Invalid' }]),
    eni('2', 'v1', 'InUse', [{}, pod]),
    eni('3', 'v2', 'Deleting', [{}, pod]),
  ];
  expect(Object.fromEntries(countAddresses(enis))).toEqual({
    v1: { idle: 2, bound: 2, releasing: 1, invalid: 1 },
    v2: { idle: 0, bound: 1, releasing: 1, invalid: 0 },
  });
});
