import { beforeAll, describe, expect, test } from 'vitest';
import { linkMac } from './names.ts';
import { buildTools, DatapathLab } from './test-support/datapath-lab.ts';

beforeAll(buildTools);

describe('a pod on a trunk', () => {
  test('its packets leave the trunk with its VLAN id and come back with it', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.member(5, 101)]);
    const netns = pod.netnsPath.slice('/run/netns/'.length);
    const [attached] = await datapath.add(pod);
    lab.gateways();
    await using wire = await lab.receiver(lab.switchNs, 'sw1');
    await using inside = await lab.receiver(netns, 'eth0');
    const toMac = linkMac(pod.containerId, 'eth0', 'host');
    lab.send(netns, 'eth0', [
      { toMac, source: '10.0.0.5', destination: '10.9.9.9' },
      { toMac, source: 'fd00::5', destination: 'fd99::9' },
    ]);
    const out = await wire.collect(2, ({ protocol }) => protocol === 17);
    expect(out.map(({ vlan, source }) => ({ vlan, source }))).toEqual([
      { vlan: 101, source: '10.0.0.5' },
      { vlan: 101, source: 'fd00::5' },
    ]);
    lab.send(lab.switchNs, 'sw1', [
      { toMac: lab.trunk.mac, vlans: [101], source: '10.9.9.9', destination: '10.0.0.5' },
      { toMac: lab.trunk.mac, vlans: [101], source: 'fd99::9', destination: 'fd00::5' },
    ]);
    const back = await inside.collect(2, ({ protocol }) => protocol === 17);
    expect(back.map(({ vlan }) => vlan)).toEqual([-1, -1]);
    expect(attached?.host?.mac).toBe(toMac);
    expect(await datapath.check(pod)).toEqual([]);
    expect(await datapath.verdicts()).toMatchObject({ untagged: 2, droppedNoEntry: 0, droppedSpoofedSource: 0 });
    await datapath.remove(pod);
  });
});
