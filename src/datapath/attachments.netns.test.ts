import { release } from 'node:os';
import { beforeAll, describe, expect, test } from 'vitest';
import * as z from 'zod';
import { linkMac } from './names.ts';
import { tokenBucket } from './netlink/traffic.ts';
import { buildTools, DatapathLab, type Frame, run } from './test-support/datapath-lab.ts';
import type { PodAttachment } from './types.ts';

beforeAll(buildTools);

const isUdp = ({ protocol }: Frame) => protocol === 17;
const nameOf = (pod: PodAttachment) => pod.netnsPath.slice('/run/netns/'.length);
const inPod = (pod: PodAttachment, ...args: string[]) => run('ip', '-n', nameOf(pod), ...args);
const linksSchema = z.array(
  z.object({ ifname: z.string(), mtu: z.number(), address: z.string(), flags: z.array(z.string()) }),
);

function link(netns: string, name: string) {
  const [found] = linksSchema.parse(JSON.parse(run('ip', '-n', netns, '-j', 'link', 'show', name)));
  return { mtu: found?.mtu, mac: found?.address, up: found?.flags.includes('UP') };
}

/** `route get` in a pod, without spaces at the end. */
function way(pod: PodAttachment, ...args: string[]): string {
  return (
    inPod(pod, 'route', 'get', ...args)
      .split('\n')[0]
      ?.trim() ?? ''
  );
}

describe('a policy-routed pod', () => {
  test('layout perPod has the links, addresses, routes and rules of upstream', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath({ layout: 'perPod' });
    const pod = lab.pod([lab.shared(5, { mtu: 1499 })]);
    const [attached] = await datapath.add(pod);
    const host = attached?.host?.name ?? '';
    expect(host).toMatch(/^cali[0-9a-f]{11}$/);
    expect(link(nameOf(pod), 'eth0')).toEqual({ mtu: 1499, mac: attached?.pod.mac, up: true });
    expect(link(lab.node, host)).toEqual({ mtu: 1499, mac: attached?.host?.mac, up: true });
    expect(inPod(pod, '-o', '-4', 'addr', 'show', 'eth0')).toContain('inet 10.1.0.5/32');
    expect(inPod(pod, '-o', '-6', 'addr', 'show', 'eth0')).toContain('inet6 fd01::5/128');
    expect(inPod(pod, 'route').trim()).toMatch(/^default via 169\.254\.1\.1 dev eth0 proto 84 onlink$/);
    expect(inPod(pod, '-6', 'route')).toContain('default via fe80::1 dev eth0 proto 84');
    expect(lab.ip('-o', '-4', 'addr', 'show', host)).toBe('');
    expect(lab.ip('-o', '-4', 'addr', 'show', 'eni2')).toContain('inet 192.168.0.10/32');
    const index = /^(\d+):/.exec(lab.ip('-o', 'link', 'show', 'eni2'))?.[1];
    const table = `${1000 + Number(index)}`;
    expect(lab.ip('route', 'show', 'table', table)).toContain('default via 10.1.0.253 dev eni2 proto 84 onlink');
    expect(lab.ip('route')).toContain(`10.1.0.5 dev ${host} proto 84 scope link`);
    expect(lab.ip('rule')).toContain('512:	from all to 10.1.0.5 lookup main proto 84');
    expect(lab.ip('rule')).toContain(`2048:	from 10.1.0.5 lookup ${table} proto 84`);
    expect(lab.ip('-6', 'rule')).toContain(`2048:	from fd01::5 lookup ${table} proto 84`);
    expect(await datapath.check(pod)).toEqual([]);
    expect(await datapath.sync(() => [pod])).toEqual({ repaired: [], removed: [], failed: [] });
    lab.ip('rule', 'del', 'pref', '2048');
    lab.ip('route', 'del', '10.1.0.5');
    expect((await datapath.sync(() => [pod])).repaired).toHaveLength(2);
    expect(await datapath.check(pod)).toEqual([]);
    await datapath.remove(pod);
    expect(lab.ip('rule')).not.toContain('10.1.0.5');
    expect(lab.ip('-o', 'link')).not.toContain('cali');
  });

  test('rules of an address that another sandbox has taken over stay', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath({ layout: 'perPod' });
    const old = lab.pod([lab.shared(5)]);
    const fresh = lab.pod([lab.shared(5)]);
    await datapath.add(old);
    await datapath.add(fresh);
    await datapath.remove(old);
    expect(await datapath.check(fresh)).toEqual([]);
  });
});

describe('an exclusive ENI', () => {
  test('moves into the pod with a veth beside it, can be checked there (weak spot 8), and comes back', async () => {
    using lab = new DatapathLab();
    lab.ip('link', 'set', 'eni2', 'up');
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.exclusive(5, true)]);
    const [attached] = await datapath.add(pod);
    expect(lab.ip('-o', 'link')).not.toContain(lab.secondary.mac);
    expect(link(nameOf(pod), 'eth0')).toEqual({ mtu: 1500, mac: lab.secondary.mac, up: true });
    expect(attached?.pod).toEqual({ name: 'eth0', mac: lab.secondary.mac, mtu: 1500 });
    expect(way(pod, '10.9.9.9')).toContain('via 10.1.0.253 dev eth0');
    for (const destination of ['172.21.3.4', '192.168.0.10', '169.254.20.10']) {
      expect(way(pod, destination)).toContain('via 169.254.1.1 dev veth1');
    }
    expect(inPod(pod, '-6', 'route', 'get', 'fd77::1')).toContain('via fe80::1 dev veth1');
    expect(inPod(pod, '-o', '-4', 'addr', 'show', 'veth1')).toContain('inet 10.1.0.5/32');
    expect(lab.ip('-o', '-4', 'addr', 'show', attached?.host?.name ?? '')).toBe('');
    expect(await datapath.check(pod)).toEqual([]);
    // To and from the node: over the veth.
    await using inside = await lab.receiver(nameOf(pod), 'veth1');
    run('nsenter', `--net=/run/netns/${lab.node}`, 'bash', '-c', 'echo hello > /dev/udp/10.1.0.5/9 || true');
    lab.ip('addr', 'add', '192.168.0.10/32', 'dev', 'lo');
    run('nsenter', `--net=/run/netns/${lab.node}`, 'bash', '-c', 'echo hello > /dev/udp/10.1.0.5/9');
    await inside.collect(1, isUdp);
    await datapath.remove(pod);
    expect(lab.ip('-o', 'link')).toContain(lab.secondary.mac);
    expect(lab.ip('-o', 'link')).not.toContain('cali');
    expect(inPod(pod, '-o', 'link')).not.toContain('veth1');
    await datapath.add(pod);
    expect(await datapath.check(pod)).toEqual([]);
  });

  test('host stack CIDR 0.0.0.0/0 makes the node the default; without a host peer there is no veth', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath({ hostStackCidrs: ['0.0.0.0/0'] });
    const pod = lab.pod([lab.exclusive(5, true)]);
    await datapath.add(pod);
    expect(way(pod, '10.9.9.9')).toContain('via 169.254.1.1 dev veth1');
    expect(await datapath.check(pod)).toEqual([]);
    await datapath.remove(pod);
    const alone = lab.pod([lab.exclusive(6, false)]);
    const [attached] = await datapath.add(alone);
    expect(attached?.host).toBeUndefined();
    expect(way(alone, '10.9.9.9')).toContain('via 10.1.0.253 dev eth0');
    expect(await datapath.check(alone)).toEqual([]);
    expect(lab.ip('-o', 'link')).not.toContain('cali');
  });

  test('an ENI that appears late is waited for', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const trunk = { ...lab.trunk, mac: '00:16:3e:00:00:33' };
    const pod = lab.pod([lab.member(5, 101, { attachment: { kind: 'member', trunk, vlanId: 101 } })]);
    const adding = datapath.add(pod);
    const other = lab.pod([lab.member(6, 102)]);
    // Nobody else waits.
    await datapath.add(other);
    lab.eni('late', 'sw3', trunk);
    await adding;
    expect(await datapath.check(pod)).toEqual([]);
  });
});

describe('a pod with several interfaces', () => {
  test('each has its table and rules, one has the default route, extra routes are there, packets take their way', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([
      lab.member(5, 101),
      lab.shared(6, { name: 'eth1', defaultRoute: false, extraRoutes: ['10.200.0.0/16', 'fd55::/64'] }),
    ]);
    const attached = await datapath.add(pod);
    lab.gateways();
    expect(attached.map(({ pod: { name } }) => name)).toEqual(['eth0', 'eth1']);
    expect(attached[1]?.routes).toEqual([
      { destination: '10.200.0.0/16', gateway: '169.254.1.1' },
      { destination: 'fd55::/64', gateway: 'fe80::1' },
    ]);
    expect(way(pod, '10.9.9.9')).toContain('dev eth0');
    expect(way(pod, '10.200.1.1')).toContain('dev eth1');
    expect(way(pod, '10.9.9.9', 'from', '10.1.0.6')).toContain('dev eth1 table 1002');
    expect(way(pod, '10.9.9.9', 'oif', 'eth1')).toContain('dev eth1 table 1002');
    expect(inPod(pod, 'rule').match(/^512:.*proto 84$/gm)).toHaveLength(4);
    await using first = await lab.receiver(lab.switchNs, 'sw1');
    await using second = await lab.receiver(lab.switchNs, 'sw2');
    const bind = (source: string) => run('nsenter', `--net=${pod.netnsPath}`, process.execPath, '-e', udpFrom(source));
    bind('10.0.0.5');
    bind('10.1.0.6');
    expect((await first.collect(1, isUdp)).map(({ vlan, source }) => [vlan, source])).toEqual([[101, '10.0.0.5']]);
    expect((await second.collect(1, isUdp)).map(({ vlan, source }) => [vlan, source])).toEqual([[-1, '10.1.0.6']]);
    expect(await datapath.check(pod)).toEqual([]);
    expect(await datapath.sync(() => [pod])).toEqual({ repaired: [], removed: [], failed: [] });
    await datapath.remove(pod);
    expect(inPod(pod, 'rule')).not.toContain('proto 84');
    expect(lab.ip('-o', 'link')).not.toContain('cali');
  });

  test('a member and an exclusive ENI', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.member(5, 101), lab.exclusive(6, false, { name: 'eth1', defaultRoute: false })]);
    await datapath.add(pod);
    expect(way(pod, '10.9.9.9', 'from', '10.1.0.6')).toContain('via 10.1.0.253 dev eth1 table 1002');
    expect(await datapath.check(pod)).toEqual([]);
    await datapath.remove(pod);
    expect(lab.ip('-o', 'link')).toContain(lab.secondary.mac);
  });

  test('two default routes are refused before anything is made', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.member(5, 101), lab.shared(6, { name: 'eth1' })]);
    await expect(datapath.add(pod)).rejects.toThrow('more than one default route');
    expect(lab.ip('-o', 'link')).not.toContain('cali');
  });
});

function udpFrom(source: string): string {
  return `const s = require('dgram').createSocket('udp4'); s.bind(0, '${source}', () => s.send('x', 9, '10.9.9.9', () => s.close()))`;
}

describe('bandwidth', () => {
  const qdiscs = (netns: string, name: string) => run('tc', '-n', netns, 'qdisc', 'show', 'dev', name);

  test('a pod on a shared ENI has them, too', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.shared(5, { ingressBytesPerSecond: 12_500_000, egressBytesPerSecond: 1_250_000 })]);
    const [attached] = await datapath.add(pod);
    expect(qdiscs(lab.node, attached?.host?.name ?? '')).toContain('rate 100Mbit');
    expect(qdiscs(nameOf(pod), 'eth0')).toContain('rate 10Mbit');
    expect(await datapath.check(pod)).toEqual([]);
  });

  test('token buckets on both ends, changed in place, taken away', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.member(5, 101, { ingressBytesPerSecond: 12_500_000, egressBytesPerSecond: 1_250_000 })]);
    const [attached] = await datapath.add(pod);
    const host = attached?.host?.name ?? '';
    expect(qdiscs(lab.node, host)).toContain('rate 100Mbit burst 12500b lat 25ms');
    expect(qdiscs(nameOf(pod), 'eth0')).toContain('rate 10Mbit burst 3000b lat 25ms');
    expect(await datapath.check(pod)).toEqual([]);
    const faster = { ...pod, interfaces: [lab.member(5, 101, { ingressBytesPerSecond: 25_000_000 })] };
    expect((await datapath.check(faster)).map(({ object }) => object)).toEqual(['qdisc', 'qdisc']);
    await datapath.add(faster);
    expect(qdiscs(lab.node, host)).toContain('rate 200Mbit');
    expect(qdiscs(nameOf(pod), 'eth0')).not.toContain('tbf');
    expect(await datapath.check(faster)).toEqual([]);
    await datapath.add({ ...pod, interfaces: [lab.member(5, 101)] });
    expect(qdiscs(lab.node, host)).not.toContain('tbf');
    expect(qdiscs(lab.node, host)).toContain('clsact');
  });

  test('10 Gbyte/s fit, and the formula is that of the reference', () => {
    expect(tokenBucket(1_000_000, 1500)).toEqual({ bytesPerSecond: 1_000_000, burst: 3000, limit: 28_000 });
    expect(tokenBucket(10_000_000_000, 1500)).toEqual({ bytesPerSecond: 1e10, burst: 10_000_000, limit: 260_000_000 });
  });
});

describe('probe', () => {
  test('says what this kernel has, and leaves nothing', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const before = lab.state();
    const results = await datapath.probe();
    expect(results.filter(({ required, available }) => required && !available)).toEqual([]);
    for (const feature of ['veth', 'clsact', 'cls_bpf', 'eBPF programs', 'vlan push helper', 'tbf', 'capabilities']) {
      expect(results.find((result) => result.feature === feature)?.available, feature).toBe(true);
    }
    expect(results.every(({ message }) => message !== '' && !message.includes('\n'))).toBe(true);
    expect(results.find(({ feature }) => feature === 'bpffs')?.available).toBe(false);
    // As this kernel is: Linux has it since 6.6.
    const [major = 0, minor = 0] = release().split('.').map(Number);
    expect(results.find(({ feature }) => feature === 'TCX')?.available).toBe(major > 6 || (major === 6 && minor >= 6));
    expect(lab.state()).toBe(before);
  });
});

describe('large packets', () => {
  test('1500 bytes without fragmentation and segmentation offload pass the tags in both directions', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.member(5, 101)]);
    await datapath.add(pod);
    lab.gateways();
    // The other side is a node of the same kind, wire to wire, whose pod has the same VLAN id.
    using far = new DatapathLab();
    for (const side of [lab, far]) run('ip', '-n', side.switchNs, 'link', 'del', 'sw1');
    run('ip', '-n', lab.node, 'link', 'add', 'wire', 'type', 'veth', 'peer', 'name', 'wire', 'netns', far.node);
    const near = { ...lab.trunk, mac: '00:16:3e:00:00:a1' };
    const distant = { ...far.trunk, mac: '00:16:3e:00:00:a2' };
    lab.ip('link', 'set', 'wire', 'address', near.mac);
    far.ip('link', 'set', 'wire', 'address', distant.mac);
    await using other = far.datapath({ nodeAddress: { ipv4: '192.168.0.11', ipv6: 'fd10::11' } });
    const one = {
      ...pod,
      interfaces: [lab.member(5, 101, { attachment: { kind: 'member', trunk: near, vlanId: 101 } })],
    };
    const two = far.pod([far.member(6, 101, { attachment: { kind: 'member', trunk: distant, vlanId: 101 } })]);
    await datapath.add(one);
    await other.add(two);
    for (const [side, mac] of [
      [lab, distant.mac],
      [far, near.mac],
    ] as const) {
      side.ip('neigh', 'replace', '10.0.0.253', 'lladdr', mac, 'dev', 'wire', 'nud', 'permanent');
    }
    await using inside = await far.receiver(nameOf(two), 'eth0');
    const toMac = linkMac(one.containerId, 'eth0', 'host');
    lab.send(nameOf(one), 'eth0', [{ toMac, source: '10.0.0.5', destination: '10.0.0.6', size: 1472 }]);
    expect((await inside.collect(1, isUdp)).map(({ size }) => size)).toEqual([1514]);
    const bytes = 50_000_000;
    const server = `require('net').createServer(s => { let n = 0; s.on('data', d => { n += d.length; }); s.on('end', () => { s.end(String(n)); process.exit(0); }); }).listen(7000, () => console.log('up'))`;
    const client = `const s = require('net').connect(7000, '10.0.0.6'); s.end(Buffer.alloc(${bytes})); s.on('data', d => process.stdout.write(d))`;
    const script = `nsenter --net=${two.netnsPath} "$0" -e "$1" > "$3/up" & until [ -s "$3/up" ]; do :; done; nsenter --net=${one.netnsPath} "$0" -e "$2"; wait`;
    expect(run('sh', '-c', script, process.execPath, server, client, lab.directory)).toBe(`${bytes}`);
    const verdicts = [await datapath.verdicts(), await other.verdicts()];
    for (const verdict of verdicts) {
      expect(verdict).toMatchObject({
        droppedNoEntry: 0,
        droppedWrongVlan: 0,
        droppedMissingTag: 0,
        droppedDoubleTag: 0,
      });
      expect(verdict.tagged).toBeGreaterThan(10);
    }
    // Segments travelled together: far fewer packets than bytes / 1448.
    expect(verdicts[0]?.tagged).toBeLessThan(bytes / 1448 / 2);
  });
});
