import { beforeAll, describe, expect, test } from 'vitest';
import { buildTools, DatapathLab } from './test-support/datapath-lab.ts';
import { ScriptedPort } from './test-support/ports.ts';

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
});
