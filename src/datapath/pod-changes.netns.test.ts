import { beforeAll, describe, expect, test } from 'vitest';
import type { LinuxDatapath } from './linux-datapath.ts';
import { buildTools, DatapathLab, run } from './test-support/datapath-lab.ts';
import { delivered, fromPod, nameOf } from './test-support/pod-traffic.ts';
import type { PodAttachment } from './types.ts';

/* After ADD a pod's namespace is its own: a VPN, a chained plugin or an init container changes it, and is not undone. */

beforeAll(buildTools);

/** What a sync leaves in the pod, and what it says of it. */
async function leftBy(lab: DatapathLab, datapath: LinuxDatapath, pod: PodAttachment): Promise<string[]> {
  const before = lab.state(pod);
  const report = await datapath.sync(() => [pod]);
  expect(report.repaired).toEqual([]);
  expect(report.removed).toEqual([]);
  expect(report.failed).toEqual([]);
  expect(lab.state(pod)).toBe(before);
  for (const deviation of report.inPods ?? []) expect(deviation).toMatchObject({ pod: `default/${pod.name}` });
  return (report.inPods ?? []).map(({ message }) => message);
}

describe('what a pod or a chained plugin changes in the pod is told and left', () => {
  test.each<[string, (pod: string) => void, RegExp]>([
    [
      'a default route through a tunnel',
      (pod) => {
        run('ip', '-n', pod, 'link', 'add', 'tun0', 'type', 'veth', 'peer', 'name', 'tun1');
        run('ip', '-n', pod, 'link', 'set', 'tun0', 'up');
        run('ip', '-n', pod, 'route', 'replace', 'default', 'dev', 'tun0');
      },
      /route 0\.0\.0\.0\/0 .* is missing/,
    ],
    ['an MTU', (pod) => run('ip', '-n', pod, 'link', 'set', 'eth0', 'mtu', '1380'), /link eth0 .* is up with mtu 1380/],
    [
      'the limit of the bandwidth plugin',
      (pod) => run('tc', '-n', pod, ...'qdisc add dev eth0 root tbf rate 10mbit burst 32kbit latency 25ms'.split(' ')),
      /no limit on eth0 .* is 1250000/,
    ],
    [
      'an address',
      (pod) => run('ip', '-n', pod, 'addr', 'del', '10.0.0.5/32', 'dev', 'eth0'),
      /address 10\.0\.0\.5\/32/,
    ],
    [
      'the name of the interface',
      (pod) => {
        run('ip', '-n', pod, 'link', 'set', 'eth0', 'down');
        run('ip', '-n', pod, 'link', 'set', 'eth0', 'name', 'wan0');
      },
      /is called wan0 in the pod/,
    ],
  ])('%s', async (_, change, told) => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.member(5, 101)]);
    await datapath.add(pod);
    change(nameOf(pod));
    expect((await leftBy(lab, datapath, pod)).join('\n')).toMatch(told);
  });

  test('an address that it adds: it cannot send with it', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.member(5, 101)]);
    await datapath.add(pod);
    lab.gateways();
    for (const address of ['10.0.0.6/32', 'fd00::6/128']) {
      run('ip', '-n', nameOf(pod), 'addr', 'add', address, 'dev', 'eth0');
    }
    const seen = await delivered(
      lab,
      { netns: lab.switchNs, link: 'sw1' },
      () =>
        fromPod(lab, pod, [
          { source: '10.0.0.6', destination: '10.9.9.9', payload: 'added' },
          { source: 'fd00::6', destination: 'fd99::9', payload: 'added' },
          { source: '10.0.0.5', destination: '10.9.9.9', payload: 'own' },
        ]),
      'own',
    );
    expect(seen).toEqual(['own']);
  });

  test('a MAC address: the veth that is in use is not made anew', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.member(5, 101)]);
    const [attached] = await datapath.add(pod);
    const index = () => /^(\d+):/.exec(lab.ip('-o', 'link', 'show', 'dev', attached?.host?.name ?? ''))?.[1];
    const before = index();
    run('ip', '-n', nameOf(pod), 'link', 'set', 'eth0', 'address', '02:00:00:00:00:99');
    expect((await leftBy(lab, datapath, pod)).join()).toContain('has MAC 02:00:00:00:00:99 in the pod');
    expect(index()).toBe(before);
    await datapath.add(pod);
    expect(index()).toBe(before);
  });

  test('the side of the node is mended meanwhile', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.member(5, 101)]);
    await datapath.add(pod);
    run('ip', '-n', nameOf(pod), 'link', 'set', 'eth0', 'mtu', '1380');
    lab.ip('route', 'flush', 'table', '911');
    const { repaired, inPods } = await datapath.sync(() => [pod]);
    expect(repaired.map(({ object }) => object)).toEqual(['route']);
    expect(inPods).toHaveLength(1);
    expect(lab.ip('route', 'show', 'table', '911')).toContain('10.0.0.5');
    expect(run('ip', '-n', nameOf(pod), '-o', 'link', 'show', 'eth0')).toContain('mtu 1380');
  });
});

describe('an ENI that a pod had', () => {
  test.each([
    ['with another MAC address', () => [['link', 'set', 'eth0', 'address', '02:00:00:00:00:99']]],
    [
      'whose MAC address the pod gave to a link of its own',
      () => [
        ['link', 'set', 'eth0', 'address', '02:00:00:00:00:99'],
        ['link', 'add', 'decoy', 'address', '00:16:3e:00:00:02', 'type', 'veth', 'peer', 'name', 'decoy1'],
      ],
    ],
  ])('%s goes back to the node under the address of the ENI', async (_, commands) => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.exclusive(5, false)]);
    await datapath.add(pod);
    for (const command of commands()) run('ip', '-n', nameOf(pod), ...command);
    await datapath.remove(pod);
    const links = lab.ip('-o', 'link');
    expect(links).toContain(lab.secondary.mac);
    expect(links).not.toContain('decoy1');
    expect(links.match(/@if/g)).toHaveLength(2);
    await datapath.add(lab.pod([lab.exclusive(6, false)]));
  });
});
