import assert from 'node:assert/strict';
import { linkMac } from '../../../src/datapath/names.ts';
import { DatapathLab, run } from '../../../src/datapath/test-support/datapath-lab.ts';
import type { DatapathSettings, PodAttachment } from '../../../src/datapath/types.ts';
import {
  isUdp,
  netnsOf,
  pushFilter,
  type ScenarioGroup,
  type ShownFilter,
  shownFilters,
  withoutHandles,
} from './scenario.ts';

const CLASSIC: Partial<DatapathSettings> = { tagProgram: 'tc', layout: 'perPod' };

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');

/** Both filters of `lab.member(last, vlanId)`. */
function filtersOf(last: number, vlanId: number): Omit<ShownFilter, 'handle'>[] {
  const words = ['fd000000', '00000000', '00000000', hex(last, 8)];
  return [
    pushFilter('ipv4', [`0a0000${hex(last, 2)}/ffffffff at 12`], vlanId),
    pushFilter(
      'ipv6',
      words.map((word, at) => `${word}/ffffffff at ${8 + 4 * at}`),
      vlanId,
    ),
  ];
}

const egress = (lab: DatapathLab) => shownFilters(lab.node, 'eni1', 'egress');
const ingress = (lab: DatapathLab) => shownFilters(lab.node, 'eni1', 'ingress');
const byPreference = (filters: Omit<ShownFilter, 'handle'>[]) =>
  filters.toSorted((a, b) => a.preference - b.preference || (a.matches.join() < b.matches.join() ? -1 : 1));

function assertFilters(lab: DatapathLab, ...expected: Omit<ShownFilter, 'handle'>[][]): void {
  assert.deepEqual(byPreference(withoutHandles(egress(lab))), byPreference(expected.flat()));
}

/** One packet of each family, from the pod to an address outside. */
function packetsFrom(pod: PodAttachment, last: number) {
  const toMac = linkMac(pod.containerId, 'eth0', 'host');
  return [
    { toMac, source: `10.0.0.${last}`, destination: '10.9.9.9' },
    { toMac, source: `fd00::${last.toString(16)}`, destination: 'fd99::9' },
  ];
}

/** The product with `tagProgram: 'tc'`, inspected with other tools. */
export const tagFilters: ScenarioGroup = {
  title: 'the classic tag filters',
  scenarios: {
    'each pod has two filters, changed in place; one filter removes tags': async () => {
      using lab = new DatapathLab();
      await using datapath = lab.datapath(CLASSIC);
      const first = lab.pod([lab.member(5, 101)]);
      const second = lab.pod([lab.member(6, 202)]);
      await datapath.add(first);
      assertFilters(lab, filtersOf(5, 101));
      const before = egress(lab);
      await datapath.add(first);
      assert.deepEqual(egress(lab), before);
      await datapath.add(second);
      assertFilters(lab, filtersOf(5, 101), filtersOf(6, 202));
      await datapath.remove(first);
      assertFilters(lab, filtersOf(6, 202));
      const old = egress(lab);
      const changed = { ...second, interfaces: [lab.member(6, 303)] };
      await datapath.add(changed);
      assertFilters(lab, filtersOf(6, 303));
      assert.deepEqual(
        egress(lab).map(({ handle }) => handle),
        old.map(({ handle }) => handle),
      );
      await using restarted = lab.datapath(CLASSIC);
      await restarted.add(changed);
      assertFilters(lab, filtersOf(6, 303));
      assert.deepEqual(withoutHandles(ingress(lab)), [
        { protocol: '802.1Q', preference: 20_000, matches: ['00000000/00000000 at 0'], action: 'vlan pop reclassify' },
      ]);
      assert.deepEqual(await restarted.check(changed), []);
      assert.deepEqual(await restarted.sync(() => [changed]), { repaired: [], removed: [], failed: [] });
      await restarted.removeAll();
      assert.deepEqual([...egress(lab), ...ingress(lab)], []);
    },

    'filters of deleted pods are removed, foreign filters stay': async () => {
      using lab = new DatapathLab();
      await using datapath = lab.datapath(CLASSIC);
      const live = lab.pod([lab.member(5, 101)]);
      await datapath.add(live);
      const add = (text: string) => run('tc', '-n', lab.node, 'filter', 'add', 'dev', 'eni1', ...text.split(' '));
      // Left by an earlier agent: dual stack, IPv4 only, IPv6 only.
      add('egress protocol ip pref 50001 u32 match ip src 10.0.0.7/32 action vlan push id 7 pipe');
      add('egress protocol ipv6 pref 50002 u32 match ip6 src fd00::7/128 action vlan push id 7 pipe');
      add('egress protocol ip pref 50001 u32 match ip src 10.0.0.8/32 action vlan push id 8 pipe');
      add('egress protocol ipv6 pref 50002 u32 match ip6 src fd00::9/128 action vlan push id 9 pipe');
      // Foreign filters: with our preference but another match or action, and with a tag at another preference.
      add('egress protocol ip pref 50001 u32 match ip src 10.0.0.7/32 classid 1:1');
      add('egress protocol ip pref 50001 u32 match ip dst 10.0.0.7/32 action vlan push id 7 pipe');
      add('egress protocol ip pref 777 u32 match ip src 10.0.0.5/32 action vlan push id 7 pipe');
      // Not at 777: the kernel lists the u32 filters of one preference at both hooks.
      add('ingress protocol 802.1Q pref 778 u32 match u32 0 0 action vlan pop reclassify');
      const others = egress(lab).filter(
        ({ preference, matches, action }) =>
          preference === 777 || action === undefined || / at 16$/.test(matches[0] ?? ''),
      );
      assert.equal(others.length, 3);
      const dry = await datapath.sync(() => [live], { dryRun: true });
      assert.equal(dry.removed.length, 4);
      const report = await datapath.sync(() => [live]);
      assert.deepEqual(report.failed, []);
      assert.equal(report.removed.length, 4);
      assertFilters(lab, filtersOf(5, 101), withoutHandles(others));
      assert.deepEqual(
        ingress(lab).map(({ preference }) => preference),
        [778, 20_000],
      );
      assert.deepEqual(await datapath.sync(() => [live]), { repaired: [], removed: [], failed: [] });
      // Without any pod, our filters go and the foreign ones stay.
      await datapath.remove(live);
      assert.deepEqual((await datapath.sync(() => [])).failed, []);
      assertFilters(lab, withoutHandles(others));
      assert.deepEqual(
        ingress(lab).map(({ preference }) => preference),
        [778],
      );
    },

    'an IPv6 filter at the IPv4 preference, as older agents made it, is removed with its pod': async () => {
      using lab = new DatapathLab();
      await using datapath = lab.datapath(CLASSIC);
      const { ipv4: _, ...ipv6Only } = lab.member(5, 101);
      const pod = lab.pod([ipv6Only]);
      lab.ip('link', 'set', 'eni1', 'up');
      run('tc', '-n', lab.node, 'qdisc', 'add', 'dev', 'eni1', 'clsact');
      const legacy = 'egress protocol ipv6 pref 50001 u32 match ip6 src fd00::5/128 action vlan push id 101 pipe';
      run('tc', '-n', lab.node, 'filter', 'add', 'dev', 'eni1', ...legacy.split(' '));
      await datapath.add(pod);
      assert.deepEqual(await datapath.check(pod), []);
      await datapath.remove(pod);
      assertFilters(lab);
      run('tc', '-n', lab.node, 'filter', 'add', 'dev', 'eni1', ...legacy.split(' '));
      const report = await datapath.sync(() => []);
      assert.deepEqual(report.failed, []);
      assert.deepEqual(egress(lab), []);
    },

    'the next sync restores deleted filters': async () => {
      using lab = new DatapathLab();
      await using datapath = lab.datapath(CLASSIC);
      const pods = [lab.pod([lab.member(5, 101)]), lab.pod([lab.member(6, 202)])];
      for (const pod of pods) await datapath.add(pod);
      run('tc', '-n', lab.node, 'qdisc', 'del', 'dev', 'eni1', 'clsact');
      assert.equal((await datapath.check(pods[0] as PodAttachment)).length, 4);
      const report = await datapath.sync(() => pods);
      assert.deepEqual(report.failed, []);
      assertFilters(lab, filtersOf(5, 101), filtersOf(6, 202));
      assert.equal(ingress(lab).length, 1);
      run('tc', '-n', lab.node, 'filter', 'del', 'dev', 'eni1', 'egress', 'protocol', 'ip', 'pref', '50001');
      assert.equal((await datapath.sync(() => pods)).repaired.length, 2);
      assertFilters(lab, filtersOf(5, 101), filtersOf(6, 202));
    },

    'packets of every pod leave with its id, and replies reach it': async () => {
      using lab = new DatapathLab();
      await using datapath = lab.datapath(CLASSIC);
      const members = Array.from({ length: 8 }, (_, at) => ({ last: 10 + at, vlanId: 4094 - at * 500 }));
      const pods = members.map(({ last, vlanId }) => lab.pod([lab.member(last, vlanId)]));
      await Promise.all(pods.map((pod) => datapath.add(pod)));
      lab.gateways();
      await using wire = await lab.receiver(lab.switchNs, 'sw1');
      members.forEach(({ last }, at) => {
        const pod = pods[at] as PodAttachment;
        lab.send(netnsOf(pod), 'eth0', packetsFrom(pod, last));
      });
      const out = await wire.collect(2 * pods.length, isUdp);
      assert.deepEqual(
        out.map(({ source, vlan }) => `${source} ${vlan}`).toSorted(),
        members
          .flatMap(({ last, vlanId }) => [`10.0.0.${last} ${vlanId}`, `fd00::${last.toString(16)} ${vlanId}`])
          .toSorted(),
      );
      const { last, vlanId } = members[3] ?? { last: 0, vlanId: 0 };
      await using inside = await lab.receiver(netnsOf(pods[3] as PodAttachment), 'eth0');
      const back = { toMac: lab.trunk.mac, vlans: [vlanId] };
      lab.send(lab.switchNs, 'sw1', [
        { ...back, source: '10.9.9.9', destination: `10.0.0.${last}` },
        { ...back, source: 'fd99::9', destination: `fd00::${last.toString(16)}` },
      ]);
      const arrived = await inside.collect(2, isUdp);
      assert.deepEqual(
        arrived.map(({ vlan }) => vlan),
        [-1, -1],
      );
    },

    'a pod cannot send with the address of its neighbour (IPv4)': async () => {
      using lab = new DatapathLab();
      await using datapath = lab.datapath(CLASSIC);
      const pod = lab.pod([lab.member(5, 101)]);
      const neighbour = lab.pod([lab.member(6, 202)]);
      for (const one of [pod, neighbour]) await datapath.add(one);
      lab.gateways();
      await using wire = await lab.receiver(lab.switchNs, 'sw1');
      const [own] = packetsFrom(pod, 5);
      if (own === undefined) throw new Error('no packet');
      lab.send(netnsOf(pod), 'eth0', [{ ...own, source: '10.0.0.6' }, { ...own, source: '10.77.0.1' }, own]);
      await wire.collect(1, ({ source }) => source === '10.0.0.5');
      assert.deepEqual(
        wire.frames.filter(isUdp).map(({ source, vlan }) => [source, vlan]),
        [['10.0.0.5', 101]],
      );
    },

    'a NIC without VLAN offload has the tags in the bytes of its frames, both ways': async () => {
      using lab = new DatapathLab();
      lab.withoutVlanOffload(lab.node, 'eni1');
      lab.withoutVlanOffload(lab.switchNs, 'sw1');
      await using datapath = lab.datapath(CLASSIC);
      const pod = lab.pod([lab.member(5, 101)]);
      await datapath.add(pod);
      lab.gateways();
      await using wire = await lab.sent(lab.node, 'eni1');
      await using inside = await lab.receiver(netnsOf(pod), 'eth0');
      lab.send(netnsOf(pod), 'eth0', packetsFrom(pod, 5));
      const tagged = await wire.collect(2, ({ type, vlan }) => type === 0x81_00 && vlan === -1);
      assert.deepEqual(
        tagged.map(({ payload }) => payload.slice(0, 8)),
        ['00650800', '006586dd'],
      );
      lab.send(lab.switchNs, 'sw1', [
        { toMac: lab.trunk.mac, vlans: [101], source: '10.9.9.9', destination: '10.0.0.5' },
        { toMac: lab.trunk.mac, vlans: [101], source: 'fd99::9', destination: 'fd00::5' },
      ]);
      const arrived = await inside.collect(2, isUdp);
      assert.deepEqual(
        arrived.map(({ source, vlan }) => [source, vlan]),
        [
          ['10.9.9.9', -1],
          ['fd99::9', -1],
        ],
      );
    },

    'a changed id: every packet has the old or the new one, none is untagged': async () => {
      using lab = new DatapathLab();
      await using datapath = lab.datapath(CLASSIC);
      const pod = lab.pod([lab.member(5, 101)]);
      await datapath.add(pod);
      lab.gateways();
      await using wire = await lab.receiver(lab.switchNs, 'sw1');
      const count = 800;
      const sending = lab.sendInBackground(netnsOf(pod), 'eth0', packetsFrom(pod, 5), { count, intervalUs: 500 });
      await wire.collect(1, isUdp);
      for (let round = 0; round < 10; round++) {
        await datapath.add({ ...pod, interfaces: [lab.member(5, round % 2 === 0 ? 202 : 101)] });
      }
      await sending;
      const frames = await wire.collect(2 * count, isUdp);
      assert.deepEqual(new Set(frames.map(({ vlan }) => vlan)), new Set([101, 202]));
    },

    'cannot provide N2: packets with a wrong id, two tags or no tag are delivered': async () => {
      using lab = new DatapathLab();
      await using datapath = lab.datapath(CLASSIC);
      const pod = lab.pod([lab.member(5, 101)]);
      await datapath.add(pod);
      await using inside = await lab.receiver(netnsOf(pod), 'eth0');
      const packet = { toMac: lab.trunk.mac, source: '10.9.9.9', destination: '10.0.0.5' };
      lab.send(lab.switchNs, 'sw1', [
        { ...packet, vlans: [101], payload: 'right' },
        { ...packet, vlans: [999], payload: 'wrong' },
        { ...packet, vlans: [5, 6], payload: 'twice' },
        { ...packet, payload: 'plain' },
      ]);
      const arrived = await inside.collect(4, isUdp);
      assert.deepEqual(
        arrived.map(({ payload }) => Buffer.from(payload, 'hex').toString()),
        ['right', 'wrong', 'twice', 'plain'],
      );
    },
  },
};
