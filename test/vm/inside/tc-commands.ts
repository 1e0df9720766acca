import assert from 'node:assert/strict';
import { DatapathLab, run } from '../../../src/datapath/test-support/datapath-lab.ts';
import { isUdp, pushFilter, type ScenarioGroup, shownFilters, withoutHandles } from './scenario.ts';

const toMac = 'ee:ff:ff:ff:ff:ff';
const EGRESS = ['filter', 'add', 'dev', 'eni1', 'egress', 'protocol'];

function trunk(lab: DatapathLab): (...args: string[]) => string {
  const tc = (...args: string[]) => run('tc', '-n', lab.node, ...args);
  lab.ip('link', 'set', 'eni1', 'up');
  tc('qdisc', 'replace', 'dev', 'eni1', 'clsact');
  return tc;
}

/** The kernel alone, without our code: the behaviour that the other scenarios rely on. */
export const tcCommands: ScenarioGroup = {
  title: 'the commands of upstream',
  scenarios: {
    'push a tag by IPv4 and by IPv6 source': async () => {
      using lab = new DatapathLab();
      const tc = trunk(lab);
      tc(...`${EGRESS.join(' ')} ip pref 50001 u32 match ip src 10.0.0.5/32 action vlan push id 101 pipe`.split(' '));
      tc(
        ...`${EGRESS.join(' ')} ipv6 pref 50002 u32 match ip6 src fd00::5/128 action vlan push id 101 pipe`.split(' '),
      );
      assert.deepEqual(withoutHandles(shownFilters(lab.node, 'eni1', 'egress')), [
        pushFilter('ipv4', ['0a000005/ffffffff at 12'], 101),
        pushFilter(
          'ipv6',
          ['fd000000/ffffffff at 8', '00000000/ffffffff at 12', '00000000/ffffffff at 16', '00000005/ffffffff at 20'],
          101,
        ),
      ]);
      await using wire = await lab.receiver(lab.switchNs, 'sw1');
      const destinations = { ipv4: '10.9.9.9', ipv6: 'fd99::9' };
      lab.send(lab.node, 'eni1', [
        { toMac, source: '10.0.0.5', destination: destinations.ipv4 },
        { toMac, source: 'fd00::5', destination: destinations.ipv6 },
        { toMac, source: '10.0.0.6', destination: destinations.ipv4 },
      ]);
      const frames = await wire.collect(3, isUdp);
      assert.deepEqual(
        frames.map(({ vlan, source }) => [source, vlan]),
        [
          ['10.0.0.5', 101],
          ['fd00::5', 101],
          ['10.0.0.6', -1],
        ],
      );
    },

    'refuse both families at one preference, and a push without an id': async () => {
      using lab = new DatapathLab();
      const tc = trunk(lab);
      const ip = `${EGRESS.join(' ')} ip pref 50001 u32 match ip src 10.0.0.5/32 action vlan push id 101 pipe`;
      tc(...ip.split(' '));
      const ipv6 = `${EGRESS.join(' ')} ipv6 pref 50001 u32 match ip6 src fd00::5/128 action vlan push id 101 pipe`;
      assert.throws(() => tc(...ipv6.split(' ')));
      assert.throws(() => tc(...ip.replace('push id 101', 'push').split(' ')));
    },

    'remove a tag with any id, and a second tag': async () => {
      using lab = new DatapathLab();
      const tc = trunk(lab);
      const pop = 'filter add dev eni1 ingress protocol 802.1Q pref 20000 u32 match u32 0 0 action vlan pop reclassify';
      tc(...pop.split(' '));
      await using node = await lab.receiver(lab.node, 'eni1');
      const frame = { toMac: lab.trunk.mac, source: '10.9.9.9', destination: '10.0.0.5' };
      run('ip', '-n', lab.switchNs, 'link', 'set', 'sw1', 'up');
      lab.send(lab.switchNs, 'sw1', [
        { ...frame, vlans: [101] },
        { ...frame, vlans: [5, 6] },
      ]);
      // Receivers see a frame before the filters do, so the result shows only in the counters.
      await node.collect(1, ({ vlan }) => vlan === 101);
      await node.collect(1, ({ vlan }) => vlan === 5);
      const shown = tc('-s', 'filter', 'show', 'dev', 'eni1', 'ingress');
      assert.match(shown, /Sent \d+ bytes 3 pkt/);
    },
  },
};
