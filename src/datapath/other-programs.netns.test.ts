import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { beforeAll, describe, expect, test } from 'vitest';
import { NODE } from './kernel/kernel.ts';
import { hostLinkName, linkMac } from './names.ts';
import { ETH_P, setProgramFilter } from './netlink/traffic.ts';
import { buildTools, DatapathLab, type Frame, run, TOOLS } from './test-support/datapath-lab.ts';
import type { PodAttachment } from './types.ts';

/* Programs of others at the hooks where packets of pods get their tags and are checked. */

beforeAll(buildTools);

const isUdp = ({ protocol }: Frame) => protocol === 17;
const nameOf = (pod: PodAttachment) => pod.netnsPath.slice('/run/netns/'.length);
const text = (value: string) => Buffer.from(value).toString('hex');

const indexOf = (lab: DatapathLab, link: string) => Number(/^(\d+):/.exec(lab.ip('-o', 'link', 'show', link))?.[1]);

/** A filter of u32 without an action lets each packet pass, and no filter after it sees one. */
function addFilter(lab: DatapathLab, link: string, direction: 'ingress' | 'egress', preference: number): void {
  const place = ['dev', link, direction, 'protocol', 'all', 'pref', `${preference}`];
  run('tc', '-n', lab.node, 'filter', 'add', ...place, 'u32', 'match', 'u32', '0', '0', 'classid', '1:1');
}

async function tcxProgram(
  lab: DatapathLab,
  link: string,
  direction: 'ingress' | 'egress',
  position: 'first' | 'last',
): Promise<AsyncDisposable> {
  const child = lab.start(lab.node, TOOLS.frames, 'tcx', link, direction, position);
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  expect(line).toBe('ready');
  return {
    async [Symbol.asyncDispose]() {
      const closed = once(child, 'close');
      child.stdin.end();
      await closed;
    },
  };
}

/** VLAN ids of a packet of the pod on the wire; a frame of the node itself ends it. */
async function tagsOnWire(lab: DatapathLab, pod: PodAttachment): Promise<number[]> {
  await using wire = await lab.receiver(lab.switchNs, 'sw1');
  const toMac = linkMac(pod.containerId, 'eth0', 'host');
  lab.send(nameOf(pod), 'eth0', [{ toMac, source: '10.0.0.5', destination: '10.9.9.9', payload: 'pod' }]);
  lab.send(lab.node, 'eni1', [
    { toMac: 'ee:ff:ff:ff:ff:ff', source: '10.0.0.99', destination: '10.9.9.9', payload: 'end' },
  ]);
  await wire.collect(1, ({ payload }) => payload === text('end'));
  return wire.frames.filter((frame) => isUdp(frame) && frame.payload === text('pod')).map(({ vlan }) => vlan);
}

const NOTHING = { repaired: [], removed: [], failed: [] };

describe('a filter on the way out of a trunk that lets all pass', () => {
  test.each([1, 2, 25_000])('at %i keeps no packet from its tag', async (preference) => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.member(5, 101)]);
    await datapath.add(pod);
    lab.gateways();
    addFilter(lab, 'eni1', 'egress', preference);
    expect(await tagsOnWire(lab, pod)).toEqual([101]);
    expect(await datapath.sync(() => [pod])).toEqual(NOTHING);
  });

  test('at 25000 is told in layout perPod, where a chained Cilium has that place, and no pod comes after it', async () => {
    using lab = new DatapathLab();
    const pod = lab.pod([lab.member(5, 101)]);
    {
      await using datapath = lab.datapath({ layout: 'perPod' });
      await datapath.add(pod);
      addFilter(lab, 'eni1', 'egress', 25_000);
      const message = expect.stringMatching(
        /trunk_egress at egress of eni1 .*comes after filter u32 at preference 25000/,
      );
      expect((await datapath.sync(() => [pod])).failed.map((found) => found.message)).toEqual([message]);
      expect((await datapath.check(pod)).map((found) => found.message)).toEqual([message]);
    }
    await using restarted = lab.datapath({ layout: 'perPod' });
    const other = lab.pod([lab.member(6, 102)]);
    await expect(restarted.add(other)).rejects.toThrow('comes after filter u32 at preference 25000');
    expect(lab.ip('-o', 'link')).not.toContain(hostLinkName(other, 'eth0'));
  });
});

describe('our TCX program on the way out of a trunk', () => {
  test('comes before one that is attached later, which keeps no packet from its tag and no pod from its trunk', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.member(5, 101)]);
    await datapath.add(pod);
    lab.gateways();
    await using _stranger = await tcxProgram(lab, 'eni1', 'egress', 'last');
    expect(await tagsOnWire(lab, pod)).toEqual([101]);
    expect(await datapath.sync(() => [pod])).toEqual(NOTHING);
    await datapath.add(lab.pod([lab.member(6, 102)]));
  });

  test('takes over from the filter of an earlier release, and each packet has its tag meanwhile', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.member(5, 101)]);
    await datapath.add(pod);
    lab.gateways();
    const { kernel, programs } = await datapath.session();
    if (programs === undefined) throw new Error('no programs');
    const linkIndex = indexOf(lab, 'eni1');
    const place = { linkIndex, direction: 'egress', preference: 1, protocol: ETH_P.all, handle: 1 } as const;
    const set = (name: 'trunk_egress' | 'trunk_handover', mode: 'exclusive' | 'replace') =>
      kernel.netlink(NODE, setProgramFilter(place, { name, handle: programs.program(name).handle }, mode));
    const [own] = (await kernel.tcxPrograms(linkIndex, 'egress')) ?? [];
    expect(own).toEqual({ name: 'trunk_egress', id: programs.program('trunk_egress').id });
    await kernel.detachTcx(linkIndex, 'egress', programs.program('trunk_egress').id);
    // Each state that it goes through.
    await set('trunk_egress', 'exclusive');
    expect(await tagsOnWire(lab, pod)).toEqual([101]);
    await set('trunk_handover', 'replace');
    expect(await tagsOnWire(lab, pod)).toEqual([101]);
    await kernel.attachTcx(linkIndex, 'egress', programs.program('trunk_egress').handle);
    expect(await tagsOnWire(lab, pod)).toEqual([101]);
    await kernel.detachTcx(linkIndex, 'egress', programs.program('trunk_egress').id);
    await set('trunk_egress', 'replace');

    const { repaired, failed } = await datapath.sync(() => [pod]);
    expect(failed).toEqual([]);
    expect(repaired.map(({ message }) => message)).toEqual([expect.stringContaining('trunk_egress at egress of eni1')]);
    expect(run('tc', '-n', lab.node, 'filter', 'show', 'dev', 'eni1', 'egress')).toBe('');
    expect(await kernel.tcxPrograms(linkIndex, 'egress')).toEqual([own]);
    expect(await tagsOnWire(lab, pod)).toEqual([101]);
    expect(await datapath.sync(() => [pod])).toEqual(NOTHING);
  });

  test('gives way to the filter of layout perPod, and goes with everything else', async () => {
    using lab = new DatapathLab();
    const pod = lab.pod([lab.member(5, 101)]);
    const attached = async (datapath: ReturnType<DatapathLab['datapath']>) => {
      const { kernel } = await datapath.session();
      return ((await kernel.tcxPrograms(indexOf(lab, 'eni1'), 'egress')) ?? []).map(({ name }) => name);
    };
    const filters = () => run('tc', '-n', lab.node, 'filter', 'show', 'dev', 'eni1', 'egress');
    {
      await using datapath = lab.datapath();
      await datapath.add(pod);
      expect([await attached(datapath), filters()]).toEqual([['trunk_egress'], '']);
    }
    {
      await using datapath = lab.datapath({ layout: 'perPod' });
      expect((await datapath.sync(() => [pod])).failed).toEqual([]);
      expect(await datapath.sync(() => [pod])).toEqual(NOTHING);
      expect([await attached(datapath), filters()]).toEqual([[], expect.stringContaining('trunk_egress')]);
    }
    await using datapath = lab.datapath();
    expect((await datapath.sync(() => [pod])).failed).toEqual([]);
    expect(await datapath.sync(() => [pod])).toEqual(NOTHING);
    expect([await attached(datapath), filters()]).toEqual([['trunk_egress'], '']);
    await datapath.removeAll();
    expect([await attached(datapath), filters()]).toEqual([[], '']);
  });
});

describe('what comes before our filters is told', () => {
  test('on the way in of a trunk and at a pod', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.member(5, 101)]);
    await datapath.add(pod);
    expect(await datapath.probe()).toContainEqual(
      expect.objectContaining({ feature: 'other programs', available: true }),
    );
    addFilter(lab, 'eni1', 'ingress', 100);
    // Cilium's own place, if nothing else is configured.
    addFilter(lab, hostLinkName(pod, 'eth0'), 'ingress', 1);
    const told = (await datapath.probe()).find(({ feature }) => feature === 'other programs');
    expect(told).toMatchObject({ available: false, required: false });
    expect(told?.message).toContain('comes after filter u32 at preference 100');
    expect(told?.message).toContain('comes after filter u32 at preference 1,');
    expect((await datapath.sync(() => [pod])).failed.map(({ message }) => message)).toEqual([
      expect.stringMatching(/trunk_ingress at ingress of eni1 .*comes after filter u32 at preference 100/),
      expect.stringMatching(/veth_ingress at ingress of cali\w+ .*comes after filter u32 at preference 1,/),
    ]);
  });

  test.each(['ingress', 'egress'] as const)(
    'a TCX program that is put first at the %s of a trunk; pods are refused, also the next ones of a trunk in use',
    async (direction) => {
      using lab = new DatapathLab();
      const pod = lab.pod([lab.member(5, 101)]);
      await using datapath = lab.datapath();
      await datapath.add(pod);
      {
        await using _stranger = await tcxProgram(lab, 'eni1', direction, 'first');
        const message = expect.stringMatching(/eni1 .*comes after TCX program stranger/);
        expect((await datapath.sync(() => [pod])).failed.map((found) => found.message)).toEqual([message]);
        expect((await datapath.check(pod)).map((found) => found.message)).toEqual([message]);
        const told = (await datapath.probe()).find(({ feature }) => feature === 'other programs');
        expect(told).toMatchObject({ available: false, message });
        await expect(datapath.add(lab.pod([lab.member(7, 103)]))).rejects.toThrow('TCX program stranger');
        await using restarted = lab.datapath();
        await expect(restarted.add(lab.pod([lab.member(6, 102)]))).rejects.toThrow('TCX program stranger');
      }
      expect(await datapath.sync(() => [pod])).toEqual(NOTHING);
    },
  );
});

test('the filter of an earlier release at a pod is replaced', async () => {
  using lab = new DatapathLab();
  await using datapath = lab.datapath();
  const pod = lab.pod([lab.member(5, 101)]);
  await datapath.add(pod);
  const link = hostLinkName(pod, 'eth0');
  const linkIndex = indexOf(lab, link);
  const { kernel, programs } = await datapath.session();
  const place = { linkIndex, direction: 'ingress', preference: 1, protocol: ETH_P.all, handle: 1 } as const;
  const program = { name: 'veth_ingress', handle: programs?.program('veth_ingress').handle ?? -1 };
  await kernel.netlink(NODE, setProgramFilter(place, program, 'exclusive'));
  const { repaired, removed, failed } = await datapath.sync(() => [pod]);
  expect({ repaired, failed }).toEqual({ repaired: [], failed: [] });
  expect(removed.map(({ message }) => message)).toEqual([expect.stringContaining('pref 1 ')]);
  expect(await datapath.sync(() => [pod])).toEqual(NOTHING);
});
