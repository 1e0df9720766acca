import { beforeAll, describe, expect, test } from 'vitest';
import { hostLinkName, linkMac } from './names.ts';
import { buildTools, DatapathLab, run } from './test-support/datapath-lab.ts';
import { routerMessage } from './test-support/packets.ts';
import type { PodAttachment } from './types.ts';

/* Who may tell the node its routes by router advertisements: no pod, and whoever did before there were pods. */

beforeAll(buildTools);

const nameOf = (pod: PodAttachment) => pod.netnsPath.slice('/run/netns/'.length);
const hostMac = (pod: PodAttachment) => linkMac(pod.containerId, 'eth0', 'host');
const ALL_NODES = { mac: '33:33:00:00:00:01', address: 'ff02::1' };
const ROUTER = 'fe80::bad';

/** Routes of the node that nobody here made, without the kernel's own. */
const learnt = (lab: DatapathLab) => lab.ip('-6', 'route', 'show', 'table', 'all', 'proto', 'ra');

/** Sends each message that only a router sends: advertisement, redirect, and the question for a router. */
function poseAsRouter(lab: DatapathLab, pod: PodAttachment): void {
  for (const type of [133, 134, 137] as const) {
    for (const toMac of [ALL_NODES.mac, hostMac(pod)]) {
      lab.sendBytes(nameOf(pod), 'eth0', [
        routerMessage({ type, toMac, source: ROUTER, destination: ALL_NODES.address }),
      ]);
    }
  }
}

describe('a pod that poses as a router', () => {
  test.each([
    ['with IPv4 only', false, {}],
    ['with both families', true, {}],
    ['with IPv4 only, layout perPod', false, { layout: 'perPod' }],
  ] as const)(
    '%s leaves the routes of the node as they are, and is not heard beyond its veth',
    async (_, ipv6, change) => {
      using lab = new DatapathLab();
      await using datapath = lab.datapath({ ...change, nodeAddress: { ipv4: '192.168.0.10' } });
      const network = lab.member(5, 101);
      const { ipv6: address, ...ipv4Only } = network;
      expect(address).toBeDefined();
      const pod = lab.pod([ipv6 ? network : ipv4Only]);
      const other = lab.pod([lab.shared(6)]);
      for (const one of [pod, other]) await datapath.add(one);
      const host = hostLinkName(pod, 'eth0');
      await using wire = await lab.receiver(lab.switchNs, 'sw1');
      await using inOther = await lab.receiver(nameOf(other), 'eth0');
      lab.gateways();
      poseAsRouter(lab, pod);
      // The node comes to this one after all before it.
      lab.send(nameOf(pod), 'eth0', [{ toMac: hostMac(pod), source: '10.0.0.5', destination: '10.9.9.9' }]);
      await wire.collect(1, ({ protocol }) => protocol === 17);
      expect(learnt(lab)).toBe('');
      expect(lab.sh(lab.node, `cat /proc/sys/net/ipv6/conf/${host}/accept_ra`)).toBe('0\n');
      const isRouters = ({ source }: { source: string }) => source === ROUTER;
      expect([...wire.frames, ...inOther.frames].filter(isRouters)).toEqual([]);
    },
  );

  test('is not heard either where the filter is away', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath({ nodeAddress: { ipv4: '192.168.0.10' } });
    const { ipv6: _, ...ipv4Only } = lab.member(5, 101);
    const pod = lab.pod([ipv4Only]);
    await datapath.add(pod);
    const host = hostLinkName(pod, 'eth0');
    run('tc', '-n', lab.node, 'qdisc', 'del', 'dev', host, 'clsact');
    await using inNode = await lab.receiver(lab.node, host);
    poseAsRouter(lab, pod);
    lab.send(nameOf(pod), 'eth0', [{ toMac: hostMac(pod), source: '10.0.0.5', destination: '10.9.9.9' }]);
    await inNode.collect(1, ({ protocol }) => protocol === 17);
    expect(learnt(lab)).toBe('');
  });
});

describe('a router that the node listens to', () => {
  const router = { mac: 'ee:ff:ff:ff:ff:ff', address: 'fe80::1:1' };

  /** A node with one link of its own, and what the router says, as often as wanted. */
  async function advertised(lab: DatapathLab, link: string, other: string) {
    lab.ip('link', 'set', link, 'up');
    const say = () =>
      lab.sendBytes(lab.switchNs, other, [
        routerMessage({ type: 134, toMac: ALL_NODES.mac, source: router.address, destination: ALL_NODES.address }),
      ]);
    await until(() => {
      say();
      return learnt(lab).includes(`default via ${router.address} dev ${link}`);
    });
    return say;
  }

  test.each([
    ['of the node', 'up0', (lab: DatapathLab) => lab.eni('up0', 'swup', { mac: '00:16:3e:00:00:07', gateway: {} })],
    ['that pods use as well', 'eni2', () => undefined],
  ] as const)('on a link %s stays its router when the first pod with IPv6 comes', async (_, link, prepare) => {
    using lab = new DatapathLab();
    prepare(lab);
    const other = link === 'up0' ? 'swup' : 'sw2';
    if (link === 'eni2') lab.ip('addr', 'add', '192.168.0.10/24', 'dev', 'eni2');
    const say = await advertised(lab, link, other);
    const pod = lab.pod([lab.shared(5)]);
    {
      await using datapath = lab.datapath({ nodeAddress: { ipv4: '192.168.0.10' } });
      await datapath.add(pod);
      expect(lab.sh(lab.node, 'cat /proc/sys/net/ipv6/conf/all/forwarding')).toBe('1\n');
      expect(learnt(lab)).toContain(`default via ${router.address} dev ${link}`);
      expect(await datapath.sync(() => [pod])).toEqual({ repaired: [], removed: [], failed: [] });
    }
    // It is heard later, too.
    lab.ip('-6', 'route', 'del', 'default', 'dev', link);
    await until(() => {
      say();
      return learnt(lab).includes(`default via ${router.address} dev ${link}`);
    });
  });

  test('loses nothing where the add fails afterwards', async () => {
    using lab = new DatapathLab();
    lab.eni('up0', 'swup', { mac: '00:16:3e:00:00:07', gateway: {} });
    await advertised(lab, 'up0', 'swup');
    await using datapath = lab.datapath({ nodeAddress: { ipv4: '192.168.0.10' } });
    const pod = lab.pod([lab.shared(5), lab.shared(6, { name: 'eth1' })]);
    await expect(datapath.add(pod)).rejects.toThrow('more than one default route');
    expect(learnt(lab)).toContain(`default via ${router.address} dev up0`);
    expect(lab.sh(lab.node, 'cat /proc/sys/net/ipv6/conf/up0/accept_ra')).toBe('1\n');
  });
});

async function until(condition: () => boolean): Promise<void> {
  await expect.poll(condition, { timeout: 30_000, interval: 50 }).toBe(true);
}
