import assert from 'node:assert/strict';
import { DatapathLab, run } from '../../../src/datapath/test-support/datapath-lab.ts';
import type { DatapathSettings, EniDevice, PodInterface } from '../../../src/datapath/types.ts';
import { isUdp, netnsOf, type ScenarioGroup } from './scenario.ts';

const TAG_PROGRAMS: Readonly<Record<DatapathSettings['tagProgram'], Partial<DatapathSettings>>> = {
  tc: { tagProgram: 'tc', layout: 'perPod' },
  ebpf: {},
};

function vlanDevice(lab: DatapathLab, last: number, vlanId: number, change: Partial<PodInterface> = {}): PodInterface {
  return { ...lab.member(last, vlanId), attachment: { kind: 'vlanDevice', trunk: lab.trunk, vlanId }, ...change };
}

const gatewayMac = 'ee:ff:ff:ff:ff:ff';

function wholeLife(settings: Partial<DatapathSettings>) {
  return async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath(settings);
    const pod = lab.pod([vlanDevice(lab, 5, 101, { mtu: 1400, extraRoutes: ['10.88.0.0/16'] })]);
    const netns = netnsOf(pod);
    const [attached] = await datapath.add(pod);
    assert.equal(attached?.host, undefined);
    assert.match(run('ip', '-n', netns, '-d', '-o', 'link', 'show', 'eth0'), /,UP,.* mtu 1400 .* vlan .*id 101 /);
    assert.match(run('ip', '-n', netns, '-o', 'addr', 'show', 'eth0'), /inet 10\.0\.0\.5\/24 .*\n.*inet6 fd00::5\/64 /);
    const routes = run('ip', '-n', netns, 'route');
    assert.match(routes, /^default via 10\.0\.0\.253 dev eth0 /m);
    assert.match(routes, /^10\.88\.0\.0\/16 via 10\.0\.0\.253 dev eth0 /m);
    assert.match(run('ip', '-n', netns, '-6', 'route'), /^default via fd00::fffd dev eth0 /m);
    assert.match(lab.ip('-o', 'link', 'show', 'eni1'), /,UP[,>]/);
    assert.doesNotMatch(lab.ip('-o', 'link'), /cali/);
    assert.deepEqual(await datapath.check(pod), []);
    assert.deepEqual(await datapath.add(pod), [attached]);
    assert.deepEqual(await datapath.sync(() => [pod]), { repaired: [], removed: [], failed: [] });

    await using wire = await lab.receiver(lab.switchNs, 'sw1');
    await using inside = await lab.receiver(netns, 'eth0');
    lab.send(netns, 'eth0', [{ toMac: gatewayMac, source: '10.0.0.5', destination: '10.9.9.9' }]);
    assert.deepEqual(
      (await wire.collect(1, isUdp)).map(({ vlan }) => vlan),
      [101],
    );
    const back = { toMac: lab.trunk.mac, source: '10.9.9.9', destination: '10.0.0.5' };
    lab.send(lab.switchNs, 'sw1', [
      { ...back, vlans: [999], payload: 'wrong' },
      { ...back, vlans: [101], payload: 'right' },
    ]);
    const arrived = await inside.collect(1, (frame) => isUdp(frame) && frame.destination === '10.0.0.5');
    assert.deepEqual(
      arrived.map(({ payload, vlan }) => [Buffer.from(payload, 'hex').toString(), vlan]),
      [['right', -1]],
    );

    await datapath.remove(pod);
    assert.doesNotMatch(run('ip', '-n', netns, '-o', 'link'), /eth0/);
    await datapath.remove(pod);
    assert.deepEqual((await datapath.sync(() => [])).failed, []);
    assert.deepEqual((await datapath.sync(() => [])).removed, []);
    // Removing the last pod must leave the trunk up.
    await datapath.add(pod);
    await datapath.remove(pod);
    await datapath.removeAll();
  };
}

/** An 802.1Q device on the trunk, moved into the pod. The kernels of the other tests may lack 8021q. */
export const vlanDevices: ScenarioGroup = {
  title: 'a VLAN device in the pod',
  scenarios: {
    'with the classic filters: made, used and removed': wholeLife(TAG_PROGRAMS.tc),
    'with the eBPF programs: made, used and removed': wholeLife(TAG_PROGRAMS.ebpf),

    'replaces a device with another id, and one that an earlier agent left on the node': async () => {
      using lab = new DatapathLab();
      await using datapath = lab.datapath();
      const pod = lab.pod([vlanDevice(lab, 5, 101)]);
      const netns = netnsOf(pod);
      const shown = () => run('ip', '-n', netns, '-d', '-o', 'link', 'show', 'eth0');
      await datapath.add(pod);
      const changed = { ...pod, interfaces: [vlanDevice(lab, 5, 202)] };
      await datapath.add(changed);
      assert.match(shown(), /vlan .*id 202 /);
      assert.deepEqual(await datapath.check(changed), []);
      await datapath.remove(changed);
      lab.ip('link', 'add', 'link', 'eni1', 'name', 'eni1.202', 'type', 'vlan', 'id', '202');
      await datapath.add(changed);
      assert.match(shown(), /vlan .*id 202 /);
      assert.doesNotMatch(lab.ip('-o', 'link'), /eni1\.202/);
      assert.deepEqual(await datapath.check(changed), []);
    },

    'the id of a live pod is refused to others': async () => {
      using lab = new DatapathLab();
      await using datapath = lab.datapath();
      const pod = lab.pod([vlanDevice(lab, 5, 101)]);
      const other = lab.pod([vlanDevice(lab, 6, 101)]);
      await datapath.add(pod);
      await assert.rejects(datapath.add(other), { name: 'DatapathError', message: /eth0 with VLAN 101 of eni1/ });
      assert.doesNotMatch(run('ip', '-n', netnsOf(other), '-o', 'link'), /eth0/);
      assert.deepEqual(await datapath.check(pod), []);
    },

    'a trunk whose name leaves no room for the id': async () => {
      using lab = new DatapathLab();
      // 15 characters, the longest name that a link can have.
      const long: EniDevice = { ...lab.trunk, mac: '00:16:3e:00:00:03' };
      lab.eni('enp100s10f0np0v', 'sw3', long);
      await using datapath = lab.datapath();
      const network = lab.member(5, 4094);
      const pod = lab.pod([{ ...network, attachment: { kind: 'vlanDevice', trunk: long, vlanId: 4094 } }]);
      await datapath.add(pod);
      assert.match(run('ip', '-n', netnsOf(pod), '-d', '-o', 'link', 'show', 'eth0'), /vlan .*id 4094 /);
      assert.deepEqual(await datapath.check(pod), []);
      await datapath.remove(pod);
      assert.doesNotMatch(run('ip', '-n', netnsOf(pod), '-o', 'link'), /eth0/);
    },

    'cannot spoof other pods, except those with a VLAN device, by writing its own tags': async () => {
      using lab = new DatapathLab();
      await using datapath = lab.datapath();
      const pod = lab.pod([vlanDevice(lab, 5, 101)]);
      const other = lab.pod([vlanDevice(lab, 6, 202)]);
      const member = lab.pod([lab.member(7, 303)]);
      for (const one of [pod, other, member]) await datapath.add(one);
      await using wire = await lab.receiver(lab.switchNs, 'sw1');
      const send = (source: string, payload: string, vlans: number[] = []) =>
        lab.tryToSend(netnsOf(pod), 'eth0', [{ toMac: gatewayMac, source, destination: '10.9.9.9', payload, vlans }]);
      send('10.0.0.6', 'spoofed');
      send('10.0.0.7', 'spoofed');
      send('10.0.0.6', 'two tags', [202]);
      send('10.0.0.5', 'own');
      await wire.collect(1, ({ payload }) => Buffer.from(payload, 'hex').toString() === 'own');
      // From here on the pod writes its tags itself.
      run('ip', '-n', netnsOf(pod), 'link', 'set', 'eth0', 'type', 'vlan', 'reorder_hdr', 'off');
      send('10.0.0.6', 'without reordering', [202]);
      send('10.0.0.7', 'without reordering', [303]);
      send('10.0.0.5', 'without reordering', [101]);
      run('ip', '-n', netnsOf(pod), 'link', 'set', 'eth0', 'type', 'vlan', 'reorder_hdr', 'on');
      send('10.0.0.5', 'last');
      await wire.collect(1, ({ payload }) => Buffer.from(payload, 'hex').toString() === 'last');
      assert.deepEqual(
        wire.frames
          .filter(isUdp)
          .map(({ vlan, source, payload }) => [vlan, source, Buffer.from(payload, 'hex').toString()]),
        [
          [101, '10.0.0.5', 'own'],
          // Not prevented: the program on the trunk checks that id and source belong together, and they do (docs/hardening.md).
          [202, '10.0.0.6', 'without reorderi'],
          [101, '10.0.0.5', 'without reorderi'],
          [101, '10.0.0.5', 'last'],
        ],
      );
    },

    'disappears with the namespace of its pod': async () => {
      using lab = new DatapathLab();
      await using datapath = lab.datapath();
      const pod = lab.pod([vlanDevice(lab, 5, 101)]);
      await datapath.add(pod);
      run('ip', 'netns', 'del', netnsOf(pod));
      await datapath.remove(pod);
      assert.deepEqual((await datapath.sync(() => [])).failed, []);
      assert.deepEqual(await datapath.sync(() => []), { repaired: [], removed: [], failed: [] });
    },
  },
};
