import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { beforeAll, describe, expect, test } from 'vitest';
import * as z from 'zod';
import { buildTools, DatapathLab, run } from './test-support/datapath-lab.ts';
import type { DatapathSettings, PodAttachment, PodInterface } from './types.ts';

/*
 * Traffic to an address of the node that the node hands to one of its pods: NodePorts and hostPorts. The rules stand for
 * those of kube-proxy and of the portmap plugin.
 */

beforeAll(buildTools);

const NODE_PORT = 30_080;
const POD_PORT = 8080;
const NODE_ADDRESS = { ipv4: '192.168.0.10', ipv6: 'fd10::10' };
/** Of another node, in the same subnet, and of somebody beyond the router. */
const NEIGHBOUR = { ipv4: '192.168.0.1', ipv6: 'fd10::1' };
const OUTSIDE = { ipv4: '203.0.113.9', ipv6: '2001:db8::9' };

type Addresses = Record<'ipv4' | 'ipv6', string>;

/** Answers each connection and each datagram with the address that it came from. */
const SERVER = `
  const net = require('net'), dgram = require('dgram');
  const tcp = net.createServer((socket) => socket.on('error', () => {}).end(socket.remoteAddress.replace('::ffff:', '')));
  tcp.listen(${POD_PORT}, '::', () => {
    const udp = dgram.createSocket('udp6');
    udp.on('message', (_, from) => udp.send(from.address.replace('::ffff:', ''), from.port, from.address));
    udp.bind(${POD_PORT}, '::', () => console.log('ready'));
  });
  process.stdin.resume().on('end', () => process.exit(0));`;

/** Asks by TCP and by UDP, both families; prints what was answered, or why nothing was. */
const CLIENT = `
  const net = require('net'), dgram = require('dgram');
  const [node, own] = JSON.parse(process.argv[1]);
  const tcp = (family) => new Promise((result) => {
    const socket = net.connect({ host: node[family], port: ${NODE_PORT}, ...(own && { localAddress: own[family] }), timeout: 6000 });
    let text = '';
    socket.on('data', (data) => { text += data; }).on('end', () => result(text));
    socket.on('timeout', () => { result('no answer'); socket.destroy(); }).on('error', (error) => result(error.code));
  });
  const udp = (family) => new Promise((result) => {
    const socket = dgram.createSocket(family === 'ipv4' ? 'udp4' : 'udp6');
    const end = (text) => { clearInterval(again); clearTimeout(over); result(text); socket.close(); };
    const ask = () => socket.send('x', ${NODE_PORT}, node[family]);
    const again = setInterval(ask, 1000), over = setTimeout(end, 6000, 'no answer');
    socket.on('message', (data) => end(String(data))).on('error', (error) => end(error.code));
    socket.bind(0, own?.[family], ask);
  });
  Promise.all([tcp('ipv4'), tcp('ipv6'), udp('ipv4'), udp('ipv6')]).then((all) => console.log(JSON.stringify(all)));`;

const nameOf = (pod: PodAttachment) => pod.netnsPath.slice('/run/netns/'.length);

const KINDS = ['member', 'shared', 'exclusive'] as const;

function interfaceOf(lab: DatapathLab, kind: (typeof KINDS)[number]): PodInterface {
  switch (kind) {
    case 'member':
      return lab.member(5, 101);
    case 'shared':
      return lab.shared(5);
    case 'exclusive':
      return lab.exclusive(5, true);
  }
}

/** A node whose own ENI is `up0`, with a neighbour and a router that forwards to the outside behind it. */
function makeNode(lab: DatapathLab): void {
  lab.eni('up0', 'swup', { mac: '00:16:3e:00:00:07', gateway: {} });
  const there = (...args: string[]) => run('ip', '-n', lab.switchNs, ...args);
  for (const { ipv4, ipv6 } of [NEIGHBOUR]) {
    there('addr', 'add', `${ipv4}/24`, 'dev', 'swup');
    there('addr', 'add', `${ipv6}/64`, 'dev', 'swup', 'nodad');
  }
  for (const address of Object.values(OUTSIDE)) there('addr', 'add', address, 'dev', 'lo');
  there('link', 'set', 'lo', 'up');
  lab.sh(lab.node, 'sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1');
  lab.ip('link', 'set', 'lo', 'up');
  lab.ip('addr', 'add', `${NODE_ADDRESS.ipv4}/24`, 'dev', 'up0');
  lab.ip('addr', 'add', `${NODE_ADDRESS.ipv6}/64`, 'dev', 'up0', 'nodad');
  lab.ip('link', 'set', 'up0', 'up');
  lab.ip('route', 'add', 'default', 'via', NEIGHBOUR.ipv4);
  lab.ip('-6', 'route', 'add', 'default', 'via', NEIGHBOUR.ipv6);
}

/** As a router would answer, which there is none of here. */
function knowGateways(lab: DatapathLab, pod: PodAttachment): void {
  for (const address of Object.values(lab.secondary.gateway)) {
    run(
      'ip',
      '-n',
      nameOf(pod),
      'neigh',
      'add',
      address,
      'lladdr',
      'ee:ff:ff:ff:ff:ff',
      'dev',
      'eth0',
      'nud',
      'permanent',
    );
  }
}

/** One NodePort as kube-proxy has it in nftables mode. */
function withNftables(lab: DatapathLab, pod: Addresses, masqueraded: boolean): void {
  const mark = masqueraded ? 'meta mark set meta mark or 0x4000' : 'counter';
  const dnat = (protocol: string) => [
    `fib daddr type local meta nfproto ipv4 ${protocol} dport ${NODE_PORT} ${mark} dnat ip to ${pod.ipv4}:${POD_PORT}`,
    `fib daddr type local meta nfproto ipv6 ${protocol} dport ${NODE_PORT} ${mark} dnat ip6 to [${pod.ipv6}]:${POD_PORT}`,
  ];
  const rules = [...dnat('tcp'), ...dnat('udp')].join('\n');
  lab.sh(
    lab.node,
    `nft -f - <<END
table inet proxy {
  chain services {
    ${rules}
  }
  chain prerouting { type nat hook prerouting priority -100
    jump services
  }
  chain output { type nat hook output priority -100
    jump services
  }
  chain postrouting { type nat hook postrouting priority 100
    meta mark & 0x4000 == 0 return
    meta mark set meta mark ^ 0x4000
    masquerade fully-random
  }
}
END`,
  );
}

/** The same in iptables mode. */
function withIptables(lab: DatapathLab, pod: Addresses, masqueraded: boolean): void {
  for (const [iptables, to] of [
    ['iptables', `${pod.ipv4}:${POD_PORT}`],
    ['ip6tables', `[${pod.ipv6}]:${POD_PORT}`],
  ] as const) {
    const lines = [
      '-N PORTS',
      ...['PREROUTING', 'OUTPUT'].map((chain) => `-A ${chain} -m addrtype --dst-type LOCAL -j PORTS`),
    ];
    for (const protocol of ['tcp', 'udp']) {
      const match = `-A PORTS -p ${protocol} -m ${protocol} --dport ${NODE_PORT}`;
      if (masqueraded) lines.push(`${match} -j MARK --or-mark 0x4000`);
      lines.push(`${match} -j DNAT --to-destination ${to}`);
    }
    lines.push('-A POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN');
    lines.push('-A POSTROUTING -j MARK --xor-mark 0x4000', '-A POSTROUTING -j MASQUERADE --random-fully');
    for (const line of lines) run('ip', 'netns', 'exec', lab.node, iptables, '-w', '-t', 'nat', ...line.split(' '));
  }
}

async function serving(lab: DatapathLab, pod: PodAttachment): Promise<AsyncDisposable> {
  const child = lab.start(nameOf(pod), process.execPath, '-e', SERVER);
  await once(createInterface({ input: child.stdout }), 'line');
  return {
    async [Symbol.asyncDispose]() {
      const closed = once(child, 'close');
      child.stdin.end();
      await closed;
    },
  };
}

/** What TCP and UDP in both families are answered with. */
async function ask(lab: DatapathLab, netns: string, own?: Addresses): Promise<string[]> {
  const words = JSON.stringify(own === undefined ? [NODE_ADDRESS] : [NODE_ADDRESS, own]);
  const child = lab.start(netns, process.execPath, '-e', CLIENT, words);
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  return z.array(z.string()).parse(JSON.parse(String(line)));
}

const twice = ({ ipv4, ipv6 }: Addresses) => [ipv4, ipv6, ipv4, ipv6];

describe.each<{ layout: string; change: Partial<DatapathSettings> }>([
  { layout: 'marks', change: {} },
  { layout: 'marks without isolation', change: { isolateMembers: false } },
  { layout: 'perPod', change: { layout: 'perPod' } },
])('ports of the node, layout $layout', ({ change }) => {
  describe.each([
    ['nftables', withNftables],
    ['iptables', withIptables],
  ] as const)('%s', (_, withProxy) => {
    test.each(KINDS)('pods of kind %s answer whoever is masqueraded', async (kind) => {
      using lab = new DatapathLab();
      makeNode(lab);
      await using datapath = lab.datapath(change);
      const pod = lab.pod([interfaceOf(lab, kind)]);
      const other = lab.pod([lab.member(6, 102)]);
      for (const one of [pod, other]) await datapath.add(one);
      lab.gateways();
      const address = kind === 'member' ? { ipv4: '10.0.0.5', ipv6: 'fd00::5' } : { ipv4: '10.1.0.5', ipv6: 'fd01::5' };
      withProxy(lab, address, true);
      await using _server = await serving(lab, pod);
      const clients = {
        neighbour: ask(lab, lab.switchNs, NEIGHBOUR),
        outside: ask(lab, lab.switchNs, OUTSIDE),
        'the node': ask(lab, lab.node),
        'another pod': ask(lab, nameOf(other)),
        'the pod itself': ask(lab, nameOf(pod)),
      };
      for (const [client, answers] of Object.entries(clients)) {
        expect(await answers, client).toEqual(twice(NODE_ADDRESS));
      }
      if (kind === 'member') expect((await datapath.verdicts()).droppedNoEntry).toBe(0);
    });

    test.each(KINDS)('pods of kind %s see whoever is not masqueraded, and answer', async (kind) => {
      using lab = new DatapathLab();
      makeNode(lab);
      await using datapath = lab.datapath(change);
      const pod = lab.pod([interfaceOf(lab, kind)]);
      await datapath.add(pod);
      lab.gateways();
      if (kind === 'exclusive') knowGateways(lab, pod);
      const address = kind === 'member' ? { ipv4: '10.0.0.5', ipv6: 'fd00::5' } : { ipv4: '10.1.0.5', ipv6: 'fd01::5' };
      withProxy(lab, address, false);
      await using _server = await serving(lab, pod);
      const clients = [
        ['neighbour', NEIGHBOUR, ask(lab, lab.switchNs, NEIGHBOUR)],
        ['outside', OUTSIDE, ask(lab, lab.switchNs, OUTSIDE)],
        ['the node', NODE_ADDRESS, ask(lab, lab.node)],
      ] as const;
      for (const [client, own, answers] of clients) expect(await answers, client).toEqual(twice(own));
    });
  });
});
