import type { NodeEni } from '../../crds/node.ts';
import { addressesOf, isBound, isIdle } from './view.ts';

/** What addresses of shared ENIs do. */
export const ADDRESS_STATES = ['idle', 'bound', 'releasing', 'invalid'] as const;
export type AddressState = (typeof ADDRESS_STATES)[number];
export type AddressCounts = Record<AddressState, number>;

/** Addresses of ENIs by vSwitch and state. Pure. */
export function countAddresses(enis: readonly NodeEni[]): Map<string, AddressCounts> {
  const counts = new Map<string, AddressCounts>();
  for (const eni of enis) {
    const { vSwitchID = '' } = eni;
    const sum = counts.get(vSwitchID) ?? { idle: 0, bound: 0, releasing: 0, invalid: 0 };
    counts.set(vSwitchID, sum);
    for (const address of addressesOf(eni)) {
      // Of an ENI that goes nothing is given to pods any more.
      const isIdleHere = isIdle(address) && eni.status !== 'Deleting';
      sum[address.status === 'Invalid' ? 'invalid' : isBound(address) ? 'bound' : isIdleHere ? 'idle' : 'releasing'] +=
        1;
    }
  }
  return counts;
}
