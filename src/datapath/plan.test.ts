import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../util/clock.ts';
import { openDatapath } from './datapath.ts';
import { DatapathError } from './errors.ts';
import { Marks } from './marks.ts';
import { hostLinkName, linkMac, ownerOf } from './names.ts';
import type { KernelObject } from './objects.ts';
import { planEni, planNode } from './plan-node.ts';
import { planPod } from './plan-pod.ts';
import { ResolvedEnis } from './resolved-enis.ts';
import type { Attachment, DatapathSettings, PodAttachment } from './types.ts';

const TRUNK = { mac: '00:16:3e:00:00:01', gateway: { ipv4: '10.0.0.253' } };

const settings: DatapathSettings = {
  nodeAddress: { ipv4: '192.168.0.10' },
  serviceCidrs: ['172.21.0.0/20'],
  hostStackCidrs: [],
  layout: 'marks',
  markMask: 0x30e0,
  masqueradeMark: 0x4000,
  isolateMembers: true,
  tagProgram: 'ebpf',
  bpfDirectory: '/sys/fs/bpf/terway',
};

function podWith(attachment: Attachment): PodAttachment {
  return {
    namespace: 'default',
    name: 'web-0',
    uid: 'u',
    containerId: 'c',
    netnsPath: '/run/netns/x',
    interfaces: [
      {
        name: 'eth0',
        ipv4: { address: '10.0.0.5', subnet: '10.0.0.0/24' },
        mtu: 1500,
        defaultRoute: true,
        extraRoutes: [],
        attachment,
      },
    ],
  };
}

function plan(attachment: Attachment, change: Partial<DatapathSettings> = {}): KernelObject[] {
  const enis = new ResolvedEnis({ ...settings, ...change }, new Marks(settings.markMask));
  enis.set({ device: TRUNK, name: 'eth1', index: 3 });
  return planPod(podWith(attachment), enis);
}

describe('names', () => {
  test("the host's end has the name that Calico gives it", () => {
    // printf default.web-0 | sha1sum; with eth1 behind for the second
    expect(hostLinkName({ namespace: 'default', name: 'web-0' }, 'eth0')).toBe('cali0d7763386da');
    expect(hostLinkName({ namespace: 'default', name: 'web-0' }, 'eth1')).toBe('cali3a5a323e811');
  });

  test('MAC addresses are local, unicast and differ', () => {
    const all = ['host', 'pod'].flatMap((end) =>
      ['eth0', 'eth1'].map((name) => linkMac('c', name, end === 'host' ? 'host' : 'pod')),
    );
    expect(new Set(all).size).toBe(4);
    for (const mac of all) expect(Number.parseInt(mac.slice(0, 2), 16) & 3).toBe(2);
    expect(ownerOf('a')).not.toBe(ownerOf('b'));
  });
});

describe('marks', () => {
  test('five bits: one for members, fifteen ENIs', () => {
    const marks = new Marks(0x30e0);
    expect([marks.memberBit, marks.numberMask]).toEqual([0x2000, 0x10e0]);
    const values = Array.from({ length: 15 }, (_, at) => marks.of(100 + at));
    expect(new Set(values).size).toBe(15);
    expect(values.every((mark) => mark !== 0 && (mark & ~0x10e0) === 0)).toBe(true);
    expect(() => marks.of(200)).toThrow('numbers for 15 ENIs only');
    marks.forget(105);
    expect(marks.of(200)).toBe(values[5]);
    expect(() => new Marks(0x4000)).toThrow(DatapathError);
  });

  test('numbers are learned from rules, whatever the mask', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 3, max: 0xffffffff }),
        fc.array(fc.integer({ min: 2, max: 1000 })),
        (mask, links) => {
          fc.pre(mask.toString(2).replaceAll('0', '').length > 4);
          const marks = new Marks(mask);
          const few = links.slice(0, 7);
          const values = few.map((index) => marks.of(index));
          const again = new Marks(mask);
          few.forEach((index, at) => {
            again.learn(index, values[at] ?? 0);
          });
          expect(few.map((index) => again.of(index))).toEqual(values);
        },
      ),
    );
  });
});

describe('the order of a plan', () => {
  const at = (objects: KernelObject[], fits: (object: KernelObject) => boolean) => {
    const found = objects.findIndex(fits);
    expect(found).toBeGreaterThanOrEqual(0);
    return found;
  };

  test('a member: tag, veth, mark, filter, up; the route last', () => {
    const objects = plan({ kind: 'member', trunk: TRUNK, vlanId: 101 });
    const host = hostLinkName({ namespace: 'default', name: 'web-0' }, 'eth0');
    const order = [
      at(objects, ({ kind }) => kind === 'tag'),
      at(objects, ({ kind }) => kind === 'veth'),
      at(objects, ({ kind }) => kind === 'vethEntry'),
      at(objects, ({ kind }) => kind === 'program'),
      at(objects, (object) => object.kind === 'linkState' && object.link === host),
      at(objects, (object) => object.kind === 'linkState' && object.link === 'eth0'),
      at(objects, (object) => object.kind === 'route' && object.link === host),
    ];
    expect(order).toEqual([...order].sort((left, right) => left - right));
    expect(order.at(-1)).toBe(objects.length - 1);
    expect(objects.find(({ kind }) => kind === 'vethEntry')).toMatchObject({ mark: 0x2020, markMask: 0x30e0 });
  });

  test('what is no member has no tag', () => {
    for (const attachment of [
      { kind: 'shared', eni: TRUNK },
      { kind: 'exclusive', eni: TRUNK, hostPeer: false },
      { kind: 'vlanDevice', trunk: TRUNK, vlanId: 7 },
    ] satisfies Attachment[]) {
      expect(plan(attachment).filter(({ kind }) => kind === 'tag')).toEqual([
        expect.objectContaining({ address: '10.0.0.5', tag: undefined }),
      ]);
    }
  });

  test('what a whole ENI sends through the node is marked for kube-proxy to masquerade', () => {
    const objects = plan({ kind: 'exclusive', eni: TRUNK, hostPeer: true });
    expect(objects.find(({ kind }) => kind === 'vethEntry')).toMatchObject({ mark: 0x4000, markMask: 0x70e0 });
    const nobodyMasquerades = plan({ kind: 'exclusive', eni: TRUNK, hostPeer: true }, { masqueradeMark: 0 });
    expect(nobodyMasquerades.find(({ kind }) => kind === 'vethEntry')).toMatchObject({ mark: 0, markMask: 0x30e0 });
  });

  test('a trunk tags before anything is routed to it', () => {
    const eni = { device: TRUNK, name: 'eth1', index: 3 };
    const use = { isTrunk: true, mtu: 1500, hasNodeAddress: false, ipv6: false };
    const objects = planEni(eni, use, settings, new Marks(0x30e0));
    expect(objects.slice(0, 3).map(({ kind }) => kind)).toEqual(['clsact', 'program', 'program']);
    expect(objects.filter(({ kind }) => kind === 'rule')).toMatchObject([
      { priority: 510, table: 1003, mark: { value: 0x2020, mask: 0x30e0 } },
      { priority: 2048, table: 1003, mark: { value: 0x20, mask: 0x10e0 } },
    ]);
    expect(planNode(settings, new Marks(0x30e0), false).filter(({ kind }) => kind === 'rule')).toMatchObject([
      { priority: 512, table: 910 },
      { priority: 513, table: 911, mark: { value: 0, mask: 0x30e0 } },
      { priority: 2049, table: 0, mark: { value: 0x2000, mask: 0x2000 } },
    ]);
  });
});

describe('the classic tag filters', () => {
  test('one for each address, one that takes tags off, no programs and no maps', () => {
    const classic = { layout: 'perPod', tagProgram: 'tc' } as const;
    const objects = plan({ kind: 'member', trunk: TRUNK, vlanId: 101 }, classic);
    expect(objects[0]).toEqual({ kind: 'pushFilter', link: 'eth1', source: '10.0.0.5', vlanId: 101 });
    const eni = { device: TRUNK, name: 'eth1', index: 3 };
    const use = { isTrunk: true, mtu: 1500, hasNodeAddress: false, ipv6: false };
    const shared = planEni(eni, use, { ...settings, ...classic }, new Marks(0x30e0));
    expect(shared.slice(0, 2).map(({ kind }) => kind)).toEqual(['clsact', 'popFilter']);
    const kinds = [...objects, ...shared].map(({ kind }) => kind);
    for (const kind of ['tag', 'program', 'vethEntry', 'memberBit']) expect(kinds).not.toContain(kind);
  });

  test('they need layout perPod, as nothing would set marks', async () => {
    const options = { helperPath: '/none', objectPath: '/none', clock: systemClock, signal: AbortSignal.abort() };
    await expect(openDatapath({ ...options, settings: { ...settings, tagProgram: 'tc' } })).rejects.toThrow('perPod');
    await expect(openDatapath({ ...options, settings: { ...settings, nodeAddress: {} } })).rejects.toThrow(
      'no address',
    );
  });
});
