import { readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { encodeTag } from './bpf/entries.ts';
import { buildTools, DatapathLab, type Frame, run } from './test-support/datapath-lab.ts';
import { delivered, fromPod, hostMac, isUdp, nameOf, text } from './test-support/pod-traffic.ts';
import type { DatapathSettings, PodAttachment } from './types.ts';

beforeAll(buildTools);

describe('tags', () => {
  test.each([
    ['IPv4', '10.0.0.5', '10.9.9.9', '0800'],
    ['IPv6', 'fd00::5', 'fd99::9', '86dd'],
  ])(
    'a NIC without VLAN offload has them in the bytes of its frames, both ways (%s)',
    async (...[, own, other, type]) => {
      using lab = new DatapathLab();
      for (const [netns, link] of [
        [lab.node, 'eni1'],
        [lab.switchNs, 'sw1'],
      ] as const) {
        lab.withoutVlanOffload(netns, link);
      }
      await using datapath = lab.datapath();
      const pod = lab.pod([lab.member(5, 101)]);
      await datapath.add(pod);
      lab.gateways();
      {
        await using wire = await lab.sent(lab.node, 'eni1');
        await using arriving = await lab.receiver(lab.switchNs, 'sw1');
        fromPod(lab, pod, [{ source: own, destination: other }]);
        const isTagged = (frame: Frame) => frame.payload.startsWith(`0065${type}`);
        expect(await wire.collect(1, isTagged)).toMatchObject([{ type: 0x81_00, vlan: -1 }]);
        expect(await arriving.collect(1, isUdp)).toMatchObject([{ vlan: 101, source: own }]);
      }
      const back = { toMac: lab.trunk.mac, source: other, destination: own };
      const send = () =>
        lab.send(lab.switchNs, 'sw1', [
          { ...back, vlans: [999], payload: 'wrong' },
          { ...back, vlans: [101, 6], payload: 'twice' },
          { ...back, payload: 'plain' },
          { ...back, vlans: [101], payload: 'right' },
        ]);
      await using wire = await lab.sent(lab.switchNs, 'sw1');
      expect(await delivered(lab, { netns: nameOf(pod), link: 'eth0' }, send, 'right')).toEqual(['right']);
      expect(await wire.collect(3, (frame) => frame.type === 0x81_00)).toHaveLength(3);
    },
  );

  test('weak spot 4: a wrong id, a second tag, no tag and an unknown destination are dropped on the way in', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.member(5, 101)]);
    const other = lab.pod([lab.member(6, 202)]);
    await datapath.add(pod);
    await datapath.add(other);
    for (const [source, destination] of [
      ['10.9.9.9', '10.0.0.5'],
      ['fd99::9', 'fd00::5'],
    ] as const) {
      const packet = (payload: string, vlans: number[]) => ({
        toMac: lab.trunk.mac,
        source,
        destination,
        payload,
        vlans,
      });
      const seen = await delivered(
        lab,
        { netns: nameOf(pod), link: 'eth0' },
        () =>
          lab.send(lab.switchNs, 'sw1', [
            packet('wrong id', [102]),
            packet('of another pod', [202]),
            packet('two tags', [101, 5]),
            packet('two tags again', [5, 101]),
            packet('no tag', []),
            packet('priority tag', [0]),
            { ...packet('unknown', [101]), destination: destination.replace(/5$/, '77') },
            packet('right', [101]),
          ]),
        'right',
      );
      expect(seen).toEqual(['right']);
    }
    expect(await datapath.verdicts()).toMatchObject({
      droppedWrongVlan: 4,
      droppedDoubleTag: 4,
      droppedMissingTag: 4,
      droppedNoEntry: 2,
      untagged: 2,
    });
  });

  test('4,000 addresses, each with its own tag on the wire', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.member(5, 101)]);
    await datapath.add(pod);
    const sources = Array.from({ length: 4000 }, (_, at) => `10.64.${at >> 8}.${at & 255}`);
    const vlanOf = new Map(sources.map((source, at) => [source, 1 + at]));
    const index = Number(/^(\d+):/.exec(lab.ip('-o', 'link', 'show', 'eni1'))?.[1]);
    const { kernel, programs } = await datapath.session();
    const entries = sources.map((address) =>
      encodeTag({ address, vlanId: vlanOf.get(address) ?? 0, trunkIndex: index, owner: 1n }),
    );
    await kernel.update(programs?.map('tag4') ?? -1, entries);
    await using wire = await lab.receiver(lab.switchNs, 'sw1');
    lab.send(
      lab.node,
      'eni1',
      sources.map((source) => ({ toMac: 'ee:ff:ff:ff:ff:ff', source, destination: '10.9.9.9' })),
    );
    const frames = await wire.collect(4000, isUdp);
    expect(frames.filter(({ vlan, source }) => vlan !== vlanOf.get(source))).toEqual([]);
    expect(new Set(frames.map(({ source }) => source)).size).toBe(4000);
  });

  test('weak spot 6: no untagged and no wrong frame while ids change and programs are replaced under load', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const ids = [101, 102];
    const pod = lab.pod([lab.member(5, 101)]);
    const withId = (vlanId: number): PodAttachment => ({ ...pod, interfaces: [lab.member(5, vlanId)] });
    await datapath.add(pod);
    lab.gateways();
    await using wire = await lab.receiver(lab.switchNs, 'sw1');
    const packet = { toMac: hostMac(pod), source: '10.0.0.5', destination: '10.9.9.9' };
    let sending = true;
    const sent = lab.sendInBackground(nameOf(pod), 'eth0', [packet], { count: 40_000 }).then(() => {
      sending = false;
    });
    let changes = 0;
    while (sending) {
      changes++;
      await datapath.add(withId(ids[changes % 2] ?? 0));
      // Another agent of a newer release takes over: its programs replace the old ones.
      if (changes % 10 === 0) {
        run('rm', '-r', `${lab.bpfDirectory}/programs`);
        await using next = lab.datapath();
        await next.sync(() => [withId(ids[changes % 2] ?? 0)]);
      }
    }
    await sent;
    const frames = await wire.collect(40_000, isUdp);
    // How many there are in the time of these packets depends on the machine.
    expect(changes).toBeGreaterThan(2);
    expect(new Set(frames.map(({ vlan }) => vlan))).toEqual(new Set(ids));
    expect((await datapath.verdicts()).droppedNoEntry).toBe(0);
  });

  test('maps of another layout are filled before the programs are switched to them', async () => {
    using lab = new DatapathLab();
    const pod = lab.pod([lab.member(5, 101)]);
    {
      await using old = lab.datapath();
      await old.add(pod);
    }
    lab.gateways();
    // As an older release would have pinned it, with entries of another size.
    const maps = join(lab.bpfDirectory, 'maps');
    renameSync(join(maps, 'tag4_4_16'), join(maps, 'tag4_4_8'));
    await using datapath = lab.datapath();
    await expect(datapath.add(lab.pod([lab.member(6, 102)]))).rejects.toThrow('first sync');
    await using wire = await lab.receiver(lab.switchNs, 'sw1');
    const packet = { toMac: hostMac(pod), source: '10.0.0.5', destination: '10.9.9.9' };
    const sent = lab.sendInBackground(nameOf(pod), 'eth0', [packet], { count: 20_000 });
    await wire.collect(100, isUdp);
    const report = await datapath.sync(() => [pod]);
    await sent;
    expect(report.failed).toEqual([]);
    expect(report.repaired.map(({ object }) => object)).toContain('filter');
    const frames = await wire.collect(20_000, isUdp);
    expect(new Set(frames.map(({ vlan }) => vlan))).toEqual(new Set([101]));
    expect(readdirSync(maps)).not.toContain('tag4_4_8');
    await datapath.add(lab.pod([lab.member(6, 102)]));
  });

  test('what a packet has to pass does not grow with the pods', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const lines = (output: string) => output.split('\n').length;
    const passed = () => ({
      rules: lines(lab.ip('rule')) + lines(lab.ip('-6', 'rule')),
      out: lines(run('tc', '-n', lab.node, 'filter', 'show', 'dev', 'eni1', 'egress')),
      in: lines(run('tc', '-n', lab.node, 'filter', 'show', 'dev', 'eni1', 'ingress')),
    });
    await datapath.add(lab.pod([lab.member(5, 101)]));
    const withOne = passed();
    for (let at = 0; at < 20; at += 1) await datapath.add(lab.pod([lab.member(10 + at, 300 + at)]));
    expect(passed()).toEqual(withOne);
  });

  test('in layout perPod, too: what decides comes before the rules of the pods', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath({ layout: 'perPod' });
    const pod = lab.pod([lab.member(5, 101)]);
    const other = lab.pod([lab.member(6, 102)]);
    const shared = lab.pod([lab.shared(7)]);
    for (const one of [pod, other, shared]) await datapath.add(one);
    lab.gateways();
    // Those of each pod are there for who looks for them, and nothing depends on them.
    for (const family of ['-4', '-6']) {
      const rules = lab.ip(family, 'rule').split('\n');
      const ofPods = rules.flatMap((rule) => /^(?:512:\s+from all to|2048:\s+from) (\S+)/.exec(rule)?.[0] ?? []);
      expect(ofPods).toHaveLength(6);
      for (const rule of ofPods) lab.ip(family, 'rule', 'del', ...rule.replace(/^(\d+):\s+/, 'pref $1 ').split(' '));
    }
    await using wire = await lab.receiver(lab.switchNs, 'sw1');
    await using second = await lab.receiver(lab.switchNs, 'sw2');
    await using inside = await lab.receiver(nameOf(other), 'eth0');
    const sources = [
      ['10.0.0.5', '10.9.9.9', '10.0.0.6'],
      ['fd00::5', 'fd99::9', 'fd00::6'],
    ] as const;
    for (const [source, outside, neighbour] of sources) {
      fromPod(lab, pod, [{ source, destination: outside }]);
      fromPod(lab, pod, [{ source, destination: neighbour }]);
      lab.send(lab.switchNs, 'sw1', [{ toMac: lab.trunk.mac, vlans: [102], source: outside, destination: neighbour }]);
    }
    fromPod(lab, shared, [{ source: '10.1.0.7', destination: '10.9.9.9' }]);
    expect((await wire.collect(2, isUdp)).map(({ vlan }) => vlan)).toEqual([101, 101]);
    expect((await second.collect(1, isUdp)).map(({ vlan, source }) => [vlan, source])).toEqual([[-1, '10.1.0.7']]);
    expect(new Set((await inside.collect(4, isUdp)).map(({ source }) => source))).toEqual(
      new Set(['10.0.0.5', '10.9.9.9', 'fd00::5', 'fd99::9']),
    );
    expect((await datapath.sync(() => [pod, other, shared])).repaired).toHaveLength(12);
  });

  test('a member whose tag entry is lost sends nothing, rather than without a tag', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.member(5, 101)]);
    const other = lab.pod([lab.member(6, 102)]);
    await datapath.add(pod);
    await datapath.add(other);
    lab.gateways();
    const { kernel, programs } = await datapath.session();
    await kernel.deleteEntries(programs?.map('tag4') ?? -1, [
      encodeTag({ address: '10.0.0.5', vlanId: 0, trunkIndex: 0, owner: 0n }).key,
    ]);
    const seen = await delivered(
      lab,
      { netns: lab.switchNs, link: 'sw1' },
      () => {
        fromPod(lab, pod, [{ source: '10.0.0.5', destination: '10.9.9.9', payload: 'lost' }]);
        fromPod(lab, other, [{ source: '10.0.0.6', destination: '10.9.9.9', payload: 'kept' }]);
      },
      'kept',
    );
    expect(seen).toEqual(['kept']);
    expect((await datapath.check(pod)).map(({ message }) => message)).toEqual([
      expect.stringContaining('tag of 10.0.0.5: VLAN 101'),
    ]);
    await datapath.sync(() => [pod, other]);
    expect(await datapath.check(pod)).toEqual([]);
  });

  test('weak spot 3: an address that moves from a trunk pod to a shared pod leaves without a tag, and back with one', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const onTrunk = lab.pod([lab.member(5, 101)]);
    const { ipv4, ipv6, ...rest } = lab.member(5, 0);
    const asShared = lab.pod([
      { ...rest, ...(ipv4 && { ipv4 }), ...(ipv6 && { ipv6 }), attachment: { kind: 'shared', eni: lab.trunk } },
    ]);
    await datapath.add(onTrunk);
    // The removal was missed: only the agent knows that the address has moved.
    await datapath.add(asShared);
    lab.gateways();
    await using wire = await lab.receiver(lab.switchNs, 'sw1');
    fromPod(lab, asShared, [
      { source: '10.0.0.5', destination: '10.9.9.9' },
      { source: 'fd00::5', destination: 'fd99::9' },
    ]);
    expect((await wire.collect(2, isUdp)).map(({ vlan }) => vlan)).toEqual([-1, -1]);
    await datapath.remove(onTrunk);
    expect(await datapath.check(asShared)).toEqual([]);
    await datapath.remove(asShared);
    await using first = await lab.receiver(lab.switchNs, 'sw1');
    await datapath.add(onTrunk);
    fromPod(lab, onTrunk, [{ source: '10.0.0.5', destination: '10.9.9.9' }]);
    expect((await first.collect(1, isUdp)).map(({ vlan }) => vlan)).toEqual([101]);
  });

  test('a trunk that was replaced by another device: sync moves everything to it', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.member(5, 101)]);
    await datapath.add(pod);
    lab.ip('link', 'del', 'eni1');
    const gone = await datapath.sync(() => [pod]);
    expect(gone.failed.map(({ message }) => message)).toEqual([expect.stringContaining(lab.trunk.mac)]);
    // Nothing but what was the device's: the pod is kept, and its packets do not take another way.
    expect(gone.removed.map(({ object }) => object)).toEqual(['rule', 'rule', 'rule', 'rule']);
    lab.ip('link', 'set', 'eni2', 'up');
    lab.ip('route', 'add', 'default', 'dev', 'eni2');
    {
      await using second = await lab.receiver(lab.switchNs, 'sw2');
      fromPod(lab, pod, [{ source: '10.0.0.5', destination: '10.9.9.9' }]);
      lab.send(lab.node, 'eni2', [
        { toMac: 'ee:ff:ff:ff:ff:ff', source: '10.1.0.1', destination: '10.9.9.9', payload: 'end' },
      ]);
      await second.collect(1, ({ payload }) => payload === text('end'));
      // Not even a question for the next hop.
      expect(second.frames.filter(({ type, source }) => type === 0x0806 || source === '10.0.0.5')).toEqual([]);
    }
    const trunk = { ...lab.trunk, mac: '00:16:3e:00:00:09' };
    lab.eni('eni9', 'sw9', trunk);
    const moved = { ...pod, interfaces: [lab.member(5, 101, { attachment: { kind: 'member', trunk, vlanId: 101 } })] };
    const report = await datapath.sync(() => [moved]);
    expect(report.failed).toEqual([]);
    expect(await datapath.check(moved)).toEqual([]);
    lab.ip('neigh', 'replace', '10.0.0.253', 'lladdr', 'ee:ff:ff:ff:ff:ff', 'dev', 'eni9', 'nud', 'permanent');
    await using wire = await lab.receiver(lab.switchNs, 'sw9');
    fromPod(lab, pod, [{ source: '10.0.0.5', destination: '10.9.9.9' }]);
    expect((await wire.collect(1, isUdp)).map(({ vlan }) => vlan)).toEqual([101]);
  });
});

describe('between pods of a node', () => {
  const cases: { change: Partial<DatapathSettings>; local: boolean }[] = [
    { change: { isolateMembers: true }, local: false },
    { change: { isolateMembers: false }, local: true },
    { change: { layout: 'perPod' }, local: true },
  ];
  test.each(cases)(
    'weak spot 5: with $change, members reach each other on the node: $local',
    async ({ change, local }) => {
      using lab = new DatapathLab();
      await using datapath = lab.datapath(change);
      const [one, two, shared] = [
        lab.pod([lab.member(5, 101)]),
        lab.pod([lab.member(6, 102)]),
        lab.pod([lab.shared(7)]),
      ];
      for (const pod of [one, two, shared]) await datapath.add(pod);
      lab.gateways();
      await using wire = await lab.receiver(lab.switchNs, 'sw1');
      await using second = await lab.receiver(lab.switchNs, 'sw2');
      await using inTwo = await lab.receiver(nameOf(two), 'eth0');
      await using inShared = await lab.receiver(nameOf(shared), 'eth0');
      fromPod(lab, one, [{ source: '10.0.0.5', destination: '10.0.0.6', payload: 'to two' }]);
      fromPod(lab, one, [{ source: 'fd00::5', destination: 'fd00::6', payload: 'to two 6' }]);
      fromPod(lab, one, [{ source: '10.0.0.5', destination: '10.1.0.7', payload: 'to shared' }]);
      fromPod(lab, shared, [{ source: '10.1.0.7', destination: '10.0.0.6', payload: 'from shared' }]);
      const has = (payload: string) => (frame: Frame) => frame.payload === text(payload);
      if (local) {
        for (const payload of ['to two', 'to two 6', 'from shared']) await inTwo.collect(1, has(payload));
        await inShared.collect(1, has('to shared'));
        expect([...wire.frames, ...second.frames].filter(isUdp)).toEqual([]);
      } else {
        for (const payload of ['to two', 'to two 6', 'to shared']) {
          expect((await wire.collect(1, has(payload)))[0]?.vlan).toBe(101);
        }
        expect((await second.collect(1, has('from shared')))[0]?.vlan).toBe(-1);
        expect([...inTwo.frames, ...inShared.frames].filter(isUdp)).toEqual([]);
      }
      // The node itself reaches all of them.
      run('nsenter', `--net=/run/netns/${lab.node}`, 'bash', '-c', 'echo hello > /dev/udp/10.0.0.6/9');
      await inTwo.collect(1, (frame) => isUdp(frame) && frame.source === '192.168.0.10');
    },
  );

  test('shared pods reach each other directly', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const [one, two] = [lab.pod([lab.shared(5)]), lab.pod([lab.shared(6)])];
    for (const pod of [one, two]) await datapath.add(pod);
    await using inTwo = await lab.receiver(nameOf(two), 'eth0');
    fromPod(lab, one, [
      { source: '10.1.0.5', destination: '10.1.0.6' },
      { source: 'fd01::5', destination: 'fd01::6' },
    ]);
    await inTwo.collect(2, isUdp);
  });
});

describe('a single family', () => {
  test.each(['ipv4', 'ipv6'] as const)('%s only', async (family) => {
    using lab = new DatapathLab();
    const { nodeAddress } = lab.settings();
    const own = nodeAddress[family] ?? '';
    await using datapath = lab.datapath({ nodeAddress: family === 'ipv4' ? { ipv4: own } : { ipv6: own } });
    const { ipv4, ipv6, ...rest } = lab.member(5, 101);
    const pod = lab.pod([family === 'ipv4' ? { ...rest, ...(ipv4 && { ipv4 }) } : { ...rest, ...(ipv6 && { ipv6 }) }]);
    await datapath.add(pod);
    lab.gateways();
    await using wire = await lab.receiver(lab.switchNs, 'sw1');
    const packet =
      family === 'ipv4'
        ? { source: '10.0.0.5', destination: '10.9.9.9' }
        : { source: 'fd00::5', destination: 'fd99::9' };
    fromPod(lab, pod, [packet]);
    expect((await wire.collect(1, isUdp)).map(({ vlan }) => vlan)).toEqual([101]);
    expect(await datapath.check(pod)).toEqual([]);
    await datapath.remove(pod);
    expect((await datapath.sync(() => [])).failed).toEqual([]);
  });
});
