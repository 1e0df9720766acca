import { beforeAll, describe, expect, test } from 'vitest';
import { DatapathError } from './errors.ts';
import { buildTools, DatapathLab } from './test-support/datapath-lab.ts';
import { ScriptedPort } from './test-support/ports.ts';
import type { PodAttachment } from './types.ts';

beforeAll(buildTools);

describe('a repeated add with another VLAN id and other limits', () => {
  test('leaves the old state when it fails at any request', async () => {
    using lab = new DatapathLab();
    const pod = lab.pod([lab.member(5, 101, { ingressBytesPerSecond: 1_000_000 })]);
    await using healer = lab.datapath();
    await healer.add(pod);
    const before = lab.state(pod);
    const change = { egressBytesPerSecond: 3_000_000, ingressBytesPerSecond: 2_000_000 };
    const changed = { ...pod, interfaces: [lab.member(5, 202, change)] };
    let failAt = 0;
    for (let failed = true; failed; ) {
      const port = new ScriptedPort(lab.port());
      await using datapath = lab.datapath({}, port);
      port.failAt = ++failAt;
      failed = await datapath.add(changed).then(
        () => false,
        () => true,
      );
      if (!failed) continue;
      expect(lab.state(pod), `after a failure of request ${failAt}`).toBe(before);
      expect(await healer.check(pod), `after a failure of request ${failAt}`).toEqual([]);
    }
    expect(await healer.check(changed)).toEqual([]);
  });

  test('takes nothing from the pod when it fails at any request and cannot be undone', async () => {
    using lab = new DatapathLab();
    const pod = lab.pod([lab.member(5, 101)]);
    await using healer = lab.datapath();
    const changed = { ...pod, interfaces: [lab.member(5, 202, { ingressBytesPerSecond: 2_000_000 })] };
    let failAt = 0;
    for (let failed = true; failed; ) {
      await healer.add(pod);
      failAt += 1;
      failed = await failsFrom(lab, failAt, changed);
      const kinds = (await healer.check(changed)).map(({ object }) => object);
      expect(kinds, `after failures from request ${failAt} on`).not.toContain('link');
    }
  });
});

test('what an add leaves that fails at any request and cannot be undone is removed by remove', async () => {
  using lab = new DatapathLab();
  const other = lab.pod([lab.member(6, 102)]);
  const pod = lab.pod([lab.member(5, 101, { ingressBytesPerSecond: 1_000_000 })]);
  await using healer = lab.datapath();
  await healer.add(other);
  let failAt = 0;
  let leftTimes = 0;
  for (let failed = true; failed; ) {
    failAt += 1;
    failed = await failsFrom(lab, failAt, pod);
    const left = await healer.sync(() => [other], { dryRun: true });
    if (left.removed.length > 0) leftTimes += 1;
    await healer.remove(pod);
    const after = await healer.sync(() => [other], { dryRun: true });
    expect(after, `after failures from request ${failAt} on`).toEqual({ repaired: [], removed: [], failed: [] });
  }
  expect(leftTimes).toBeGreaterThan(1);
});

/** Whether an add fails by another data path, of which three requests from this one on are refused. */
async function failsFrom(lab: DatapathLab, failAt: number, pod: PodAttachment): Promise<boolean> {
  const port = new ScriptedPort(lab.port());
  await using datapath = lab.datapath({}, port);
  port.onRequest = (count) => {
    if (count >= failAt && count < failAt + 3) throw new DatapathError(`request ${count}`, 'injected');
  };
  return datapath.add(pod).then(
    () => false,
    () => true,
  );
}
