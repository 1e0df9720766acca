import { beforeAll, describe, expect, test } from 'vitest';
import type { PodAttachment, PodInterface } from '../types.ts';
import { buildTools, DatapathLab, run } from './datapath-lab.ts';
import { leftovers } from './leftovers.ts';
import { ScriptedPort } from './ports.ts';

type Kind = 'member' | 'shared' | 'exclusive';

function interfaceOf(lab: DatapathLab, kind: Kind): PodInterface {
  const limits = { ingressBytesPerSecond: 1_000_000, egressBytesPerSecond: 2_000_000 };
  switch (kind) {
    case 'member':
      return lab.member(5, 101, limits);
    case 'shared':
      return lab.shared(5, limits);
    case 'exclusive':
      return lab.exclusive(5, true);
  }
}

/**
 * What must hold when a call fails or the agent is killed, for one kind of interface. A file for each kind: they take a while
 * and run side by side.
 */
export function describeFailures(kind: Kind): void {
  beforeAll(buildTools);
  describe(`a pod with a ${kind} interface`, () => {
    test('weak spots 2 and 15: an add that fails at any request leaves the kernel as it was', async () => {
      using lab = new DatapathLab();
      const pod = lab.pod([interfaceOf(lab, kind)]);
      await using healer = lab.datapath();
      // What stays of an ENI that was in use once: it is up, and its sysctls.
      await healer.add(pod);
      await healer.remove(pod);
      await healer.sync(() => []);
      const before = lab.state(pod);
      let failAt = 0;
      for (let failed = true; failed; ) {
        const port = new ScriptedPort(lab.port());
        await using datapath = lab.datapath({}, port);
        port.failAt = ++failAt;
        const outcome = await datapath.add(pod).catch((error: Error) => error);
        failed = outcome instanceof Error;
        if (outcome instanceof Error) {
          expect(outcome.name, `request ${failAt}`).toBe('DatapathError');
          expect(outcome.message, `request ${failAt}`).toContain('injected');
          expect(lab.state(pod), `after a failure of request ${failAt}`).toBe(before);
          // The maps, which no other tool here shows.
          const ours = await healer.sync(() => [], { dryRun: true });
          expect(ours, `after a failure of request ${failAt}`).toEqual({ repaired: [], removed: [], failed: [] });
        }
      }
      expect(failAt).toBeGreaterThan(30);
      expect(await healer.check(pod)).toEqual([]);
    });

    test('the very first add of a node, too', async () => {
      using lab = new DatapathLab();
      const pod = lab.pod([interfaceOf(lab, kind)]);
      const before = lab.state(pod);
      for (const failAt of [12, 20, 25, 30, 35, 40]) {
        const port = new ScriptedPort(lab.port());
        await using datapath = lab.datapath({}, port);
        await datapath.verdicts();
        port.count = 0;
        port.failAt = failAt;
        await expect(datapath.add(pod), `request ${failAt}`).rejects.toThrow('injected');
        expect(lab.state(pod), `after a failure of request ${failAt}`).toBe(before);
      }
    });

    test("killed between any two requests of add: sync without the pod removes all, the runtime's next add completes all", async () => {
      using lab = new DatapathLab();
      const pod = lab.pod([interfaceOf(lab, kind)]);
      await using healer = lab.datapath();
      const total = new ScriptedPort(lab.port());
      {
        await using datapath = lab.datapath({}, total);
        await datapath.add(pod);
        await healer.remove(pod);
        await healer.sync(() => []);
      }
      expect(leftovers(lab)).toEqual([]);
      for (let stopAfter = 1; stopAfter <= total.count; stopAfter++) {
        const port = new ScriptedPort(lab.port());
        {
          await using datapath = lab.datapath({}, port);
          port.stopAfter = stopAfter;
          await datapath.add(pod).catch(() => undefined);
        }
        if (stopAfter % 2 === 0 || kind === 'exclusive') {
          expect((await healer.sync(() => [pod])).failed, `killed after ${stopAfter}`).toEqual([]);
          await healer.add(pod);
          expect(await healer.check(pod), `killed after ${stopAfter}`).toEqual([]);
          await healer.remove(pod);
        }
        expect((await healer.sync(() => [])).failed, `killed after ${stopAfter}`).toEqual([]);
        expect(leftovers(lab), `killed after ${stopAfter}`).toEqual([]);
        expect((await healer.sync(() => [])).removed, `killed after ${stopAfter}`).toEqual([]);
      }
    });

    test('killed between any two requests of remove: sync without the pod removes the rest', async () => {
      using lab = new DatapathLab();
      const pod = lab.pod([interfaceOf(lab, kind)]);
      await using healer = lab.datapath();
      const port = new ScriptedPort(lab.port());
      let done = false;
      for (let stopAfter = 0; !done; stopAfter++) {
        await healer.add(pod);
        const stopping = new ScriptedPort(lab.port());
        await using datapath = lab.datapath({}, stopping);
        await datapath.verdicts();
        stopping.stopAfter = stopping.count + stopAfter;
        done = await datapath.remove(pod).then(
          () => true,
          () => false,
        );
        // The runtime asks again, as it got no answer.
        if (kind === 'exclusive') await healer.remove(pod);
        expect((await healer.sync(() => [])).failed).toEqual([]);
        expect(leftovers(lab), `killed after ${stopAfter}`).toEqual([]);
      }
      await port.close();
    });

    test('add is idempotent and costs the same with other pods around', async () => {
      using lab = new DatapathLab();
      const port = new ScriptedPort(lab.port());
      await using datapath = lab.datapath({}, port);
      const others: PodAttachment[] = [];
      for (let at = 0; at < 5; at++) {
        const other = lab.pod([lab.member(100 + at, 200 + at)]);
        others.push(other);
        await datapath.add(other);
      }
      const pod = lab.pod([interfaceOf(lab, kind)]);
      const first = await datapath.add(pod);
      const after = lab.state(pod);
      const count = port.count;
      expect(await datapath.add(pod)).toEqual(first);
      expect(port.count - count).toBeLessThan(80);
      expect(lab.state(pod)).toBe(after);
      expect(await datapath.check(pod)).toEqual([]);
      expect(await datapath.sync(() => [pod, ...others])).toEqual({ repaired: [], removed: [], failed: [] });
    });

    test('weak spot 7: remove works twice, without the namespace, and before add', async () => {
      using lab = new DatapathLab();
      await using datapath = lab.datapath();
      const pod = lab.pod([interfaceOf(lab, kind)]);
      await datapath.remove(pod);
      await datapath.add(pod);
      await datapath.remove(pod);
      await datapath.remove(pod);
      await datapath.add(pod);
      if (kind !== 'exclusive') run('ip', 'netns', 'del', pod.netnsPath.slice('/run/netns/'.length));
      await datapath.remove(pod);
      await datapath.sync(() => []);
      expect(leftovers(lab)).toEqual([]);
    });
  });
}
