import { beforeAll, describe, expect, test } from 'vitest';
import { encodeVlan } from './bpf/entries.ts';
import { buildTools, DatapathLab, run } from './test-support/datapath-lab.ts';
import { delivered, fromPod, isUdp, nameOf, text } from './test-support/pod-traffic.ts';

/* What a pod may send: its own sources, and with an 802.1Q device its own id. */

beforeAll(buildTools);

const hostLink = (lab: DatapathLab) => /cali\w+/.exec(lab.ip('-o', 'link'))?.[0] ?? '';

describe('sources', () => {
  test('what is not the address of the pod is dropped, ARP and neighbour discovery pass', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.member(5, 101)]);
    await datapath.add(pod);
    lab.gateways();
    const seen = await delivered(
      lab,
      { netns: lab.switchNs, link: 'sw1' },
      () =>
        fromPod(lab, pod, [
          { source: '10.0.0.6', destination: '10.9.9.9', payload: 'spoofed' },
          { source: '0.0.0.0', destination: '10.9.9.9', payload: 'nobody' },
          { source: 'fd00::6', destination: 'fd99::9', payload: 'spoofed 6' },
          { source: 'fe80::1234', destination: 'fd99::9', payload: 'link-local' },
          { source: '10.0.0.5', destination: '10.9.9.9', payload: 'own' },
        ]),
      'own',
    );
    expect(seen).toEqual(['own']);
    expect((await datapath.verdicts()).droppedSpoofedSource).toBe(3);
    // The kernel of the pod asks for another neighbour, and is heard.
    await using host = await lab.receiver(lab.node, hostLink(lab));
    run('ip', '-n', nameOf(pod), 'route', 'add', '10.77.0.1', 'dev', 'eth0');
    lab.ip('addr', 'add', '10.77.0.1/32', 'dev', 'lo');
    run('nsenter', `--net=${pod.netnsPath}`, 'sh', '-c', 'echo hello > /dev/udp/10.77.0.1/9 || true');
    run('nsenter', `--net=${pod.netnsPath}`, 'bash', '-c', 'echo hello > /dev/udp/10.77.0.1/9');
    await host.collect(1, (frame) => frame.type === 0x0806);
    await host.collect(1, (frame) => isUdp(frame) && frame.destination === '10.77.0.1');
  });
});

describe('tags', () => {
  test('that a pod writes itself are dropped: its own id, that of another pod, and two', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.member(5, 101)]);
    const other = lab.pod([lab.member(6, 102)]);
    for (const one of [pod, other]) await datapath.add(one);
    lab.gateways();
    const packet = (payload: string, vlans: number[], source = '10.0.0.5') => ({
      source,
      destination: '10.9.9.9',
      payload,
      vlans,
    });
    const seen = await delivered(
      lab,
      { netns: lab.switchNs, link: 'sw1' },
      () =>
        fromPod(lab, pod, [
          packet('own id', [101]),
          packet('another', [102]),
          packet('as another', [102], '10.0.0.6'),
          packet('within', [101, 102]),
          packet('around', [102, 101], '10.0.0.6'),
          packet('priority', [0]),
          packet('own', []),
        ]),
      'own',
    );
    // A tag of priority names no VLAN.
    expect(seen).toEqual(['priority', 'own']);
  });
});

describe('sources without programs', () => {
  test('the kernel drops what is not the address of the pod (IPv4)', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath({ tagProgram: 'tc', layout: 'perPod' });
    // What a trunk needs is not in every kernel; their veths are alike.
    const pod = lab.pod([lab.shared(5)]);
    const neighbour = lab.pod([lab.shared(6)]);
    for (const one of [pod, neighbour]) await datapath.add(one);
    lab.gateways();
    const seen = await delivered(
      lab,
      { netns: lab.switchNs, link: 'sw2' },
      () =>
        fromPod(lab, pod, [
          { source: '10.1.0.6', destination: '10.9.9.9', payload: 'neighbour' },
          { source: '10.77.0.1', destination: '10.9.9.9', payload: 'somebody' },
          { source: '192.168.0.10', destination: '10.9.9.9', payload: 'node' },
          { source: '10.1.0.5', destination: '10.9.9.9', payload: 'own' },
        ]),
      'own',
    );
    expect(seen).toEqual(['own']);
  });
});

test.each([
  ['none with a tag in the bytes', false],
  ['those with its own id beside the bytes and its own source', true],
])('of the frames of an 802.1Q device in a pod leave: %s', async (_, beside) => {
  using lab = new DatapathLab();
  await using datapath = lab.datapath();
  const pod = lab.pod([lab.member(5, 101)]);
  await datapath.add(pod);
  await using wire = await lab.receiver(lab.switchNs, 'sw1');
  // The device is not in every kernel. What it hands to the trunk has the tag beside the bytes, as what came in by a link
  // and is redirected; or in them when it has no reorder_hdr, as from a packet socket.
  lab.ip('link', 'add', 'in0', 'type', 'veth', 'peer', 'name', 'in1');
  for (const link of ['in0', 'in1']) lab.ip('link', 'set', link, 'up');
  const redirect = 'u32 match u32 0 0 action mirred egress redirect dev eni1';
  lab.sh(lab.node, `tc qdisc add dev in1 clsact && tc filter add dev in1 ingress protocol all ${redirect}`);
  const frame = (payload: string, vlans: number[], source: string) => ({
    toMac: 'ee:ff:ff:ff:ff:ff',
    vlans,
    payload,
    source,
    destination: source.includes(':') ? 'fd99::9' : '10.9.9.9',
  });
  const send = (...frames: ReturnType<typeof frame>[]) => lab.tryToSend(lab.node, beside ? 'in0' : 'eni1', frames);
  send(frame('no device', [101], '10.0.0.5'), frame('no device', [303], '10.0.0.7'));
  const trunkIndex = Number(/^(\d+):/.exec(lab.ip('-o', 'link', 'show', 'eni1'))?.[1]);
  const { kernel, programs } = await datapath.session();
  const device = { trunkIndex, vlanId: 303, ipv4: '10.0.0.7', ipv6: 'fd00::7', owner: 1n };
  await kernel.update(programs?.map('vlans') ?? -1, [encodeVlan(device)]);
  send(
    frame('of a member', [101], '10.0.0.5'),
    frame('of a member', [101], 'fd00::5'),
    frame('of nobody', [304], '10.0.0.7'),
    frame('of another', [303], '10.0.0.5'),
    frame('of another', [303], 'fd00::5'),
    frame('link-local', [303], 'fe80::7'),
    frame('within', [303, 101], '10.0.0.5'),
    frame('around', [101, 303], '10.0.0.7'),
    frame('priority', [0], '10.0.0.7'),
    frame('own', [303], '10.0.0.7'),
    frame('own', [303], 'fd00::7'),
    frame('end', [], '10.0.0.99'),
  );
  await wire.collect(1, ({ payload }) => payload === text('end'));
  const own = [
    [303, '10.0.0.7'],
    [303, 'fd00::7'],
  ];
  const tagged = wire.frames.filter(({ vlan }) => vlan !== -1);
  expect(tagged.map(({ vlan, source }) => [vlan, source])).toEqual(beside ? own : []);
});
