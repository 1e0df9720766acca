import { beforeAll, describe, expect, test } from 'vitest';
import { buildTools, Lab, run } from './test-support/lab.ts';
import { ScriptedPort } from './test-support/ports.ts';
import type { PodAttachment, PodInterface } from './types.ts';

beforeAll(buildTools);

type Kind = 'member' | 'shared' | 'exclusive';

function interfaceOf(lab: Lab, kind: Kind): PodInterface {
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

/** Objects of ours on the node, by looking with other tools. */
function leftovers(lab: Lab): string[] {
  const lines = (text: string) => text.split('\n').filter((line) => line.trim() !== '');
  return [
    ...lines(lab.ip('-o', 'link')).filter((line) => line.includes('cali')),
    ...lines(lab.ip('route', 'show', 'table', 'all', 'proto', '84')),
    ...lines(lab.ip('-6', 'route', 'show', 'table', 'all', 'proto', '84')),
    ...lines(lab.ip('rule')).filter((line) => !/^(0|32766|32767):/.test(line)),
    ...lines(lab.ip('-6', 'rule')).filter((line) => !/^(0|32766|32767):/.test(line)),
    ...lines(lab.ip('-o', 'addr')).filter((line) => /192\.168\.0\.10|fd10::10/.test(line)),
    ...lines(run('tc', '-n', lab.node, 'qdisc')).filter((line) => line.includes('clsact')),
  ];
}

describe.each<Kind>(['member', 'shared', 'exclusive'])('a pod with a %s interface', (kind) => {
  test('N7: an add that fails at any request leaves the kernel as it was', async () => {
    using lab = new Lab();
    const pod = lab.pod([interfaceOf(lab, kind)]);
    await using healer = lab.datapath();
    // What stays of an ENI that was in use once: it is up, and its sysctls.
    await healer.add(pod);
    await healer.remove(pod);
    await healer.sync([]);
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
        const ours = await healer.sync([], { dryRun: true });
        expect(ours, `after a failure of request ${failAt}`).toEqual({ repaired: [], removed: [], failed: [] });
      }
    }
    expect(failAt).toBeGreaterThan(30);
    expect(await healer.check(pod)).toEqual([]);
  });

  test('N7: the very first add of a node, too', async () => {
    using lab = new Lab();
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

  test('killed between any two requests of add: sync without the pod removes all, with it completes all', async () => {
    using lab = new Lab();
    const pod = lab.pod([interfaceOf(lab, kind)]);
    await using healer = lab.datapath();
    const total = new ScriptedPort(lab.port());
    {
      await using datapath = lab.datapath({}, total);
      await datapath.add(pod);
      await healer.remove(pod);
      await healer.sync([]);
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
        const report = await healer.sync([pod]);
        expect(report.failed, `killed after ${stopAfter}`).toEqual([]);
        expect(await healer.check(pod), `killed after ${stopAfter}`).toEqual([]);
        await healer.remove(pod);
      }
      expect((await healer.sync([])).failed, `killed after ${stopAfter}`).toEqual([]);
      expect(leftovers(lab), `killed after ${stopAfter}`).toEqual([]);
      expect((await healer.sync([])).removed, `killed after ${stopAfter}`).toEqual([]);
    }
  });

  test('killed between any two requests of remove: sync without the pod removes the rest', async () => {
    using lab = new Lab();
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
      expect((await healer.sync([])).failed).toEqual([]);
      expect(leftovers(lab), `killed after ${stopAfter}`).toEqual([]);
    }
    await port.close();
  });

  test('add is idempotent and costs the same with other pods around', async () => {
    using lab = new Lab();
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
    expect(port.count - count).toBeLessThan(60);
    expect(lab.state(pod)).toBe(after);
    expect(await datapath.check(pod)).toEqual([]);
    expect(await datapath.sync([pod, ...others])).toEqual({ repaired: [], removed: [], failed: [] });
  });

  test('N6: remove works twice, without the namespace, and before add', async () => {
    using lab = new Lab();
    await using datapath = lab.datapath();
    const pod = lab.pod([interfaceOf(lab, kind)]);
    await datapath.remove(pod);
    await datapath.add(pod);
    await datapath.remove(pod);
    await datapath.remove(pod);
    await datapath.add(pod);
    if (kind !== 'exclusive') run('ip', 'netns', 'del', pod.netnsPath.slice('/run/netns/'.length));
    await datapath.remove(pod);
    await datapath.sync([]);
    expect(leftovers(lab)).toEqual([]);
  });
});

describe('a repeated add with another VLAN id and other limits', () => {
  test('N7: leaves the old state when it fails at any request', async () => {
    using lab = new Lab();
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

describe('what happens to a node', () => {
  test('N9: clsact deleted, rules flushed, routes deleted, links down: repaired by sync', async () => {
    using lab = new Lab();
    await using datapath = lab.datapath();
    const pods = [lab.pod([lab.member(5, 101)]), lab.pod([lab.shared(6)])];
    for (const pod of pods) await datapath.add(pod);
    const before = lab.state(...pods);
    const [first] = pods;
    const inside = first?.netnsPath.slice('/run/netns/'.length) ?? '';
    run('tc', '-n', lab.node, 'qdisc', 'del', 'dev', 'eni1', 'clsact');
    const host = /cali[0-9a-f]{11}/.exec(lab.ip('-o', 'link'))?.[0] ?? '';
    run('tc', '-n', lab.node, 'qdisc', 'del', 'dev', host, 'clsact');
    lab.ip('rule', 'del', 'pref', '512');
    lab.ip('-6', 'rule', 'del', 'pref', '2048');
    lab.ip('route', 'flush', 'table', '911');
    lab.ip('addr', 'del', '192.168.0.10/32', 'dev', 'eni2');
    run('ip', '-n', inside, 'route', 'del', 'default');
    run('ip', '-n', inside, 'neigh', 'flush', 'nud', 'permanent');
    run('nsenter', `--net=/run/netns/${lab.node}`, 'sysctl', '-q', '-w', `net.ipv4.conf.${host}.forwarding=0`);
    const dry = await datapath.sync(pods, { dryRun: true });
    expect(dry.repaired.length).toBeGreaterThan(8);
    expect(lab.state(...pods)).not.toBe(before);
    const report = await datapath.sync(pods);
    expect(report.failed).toEqual([]);
    expect(report.repaired.map(({ message }) => message).join('\n')).toContain('qdisc clsact dev eni1 is missing');
    expect(lab.state(...pods)).toBe(before);
    expect(await datapath.sync(pods)).toEqual({ repaired: [], removed: [], failed: [] });
  });

  test('a deleted veth is made again while its sandbox lives', async () => {
    using lab = new Lab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.member(5, 101)]);
    const [attached] = await datapath.add(pod);
    const before = lab.state(pod);
    lab.ip('link', 'del', attached?.host?.name ?? '');
    expect((await datapath.sync([pod])).failed).toEqual([]);
    expect(await datapath.check(pod)).toEqual([]);
    expect(lab.state(pod)).toBe(before);
  });

  test('A1: what is not ours survives teardown and sync', async () => {
    using lab = new Lab();
    lab.ip('rule', 'add', 'from', '10.0.0.0/24', 'lookup', '77', 'pref', '2048');
    lab.ip('rule', 'add', 'to', '10.0.0.5', 'lookup', '78', 'pref', '512');
    lab.ip('link', 'add', 'calideadbeef000', 'type', 'veth', 'peer', 'name', 'foreign0');
    lab.ip('link', 'set', 'eni1', 'up');
    lab.ip('route', 'add', '10.50.0.0/24', 'dev', 'eni1', 'table', '910');
    run('tc', '-n', lab.node, 'qdisc', 'add', 'dev', 'eni1', 'clsact');
    const filter = ['filter', 'add', 'dev', 'eni1', 'egress', 'protocol', 'ip', 'pref', '50001', 'u32'];
    run('tc', '-n', lab.node, ...filter, 'match', 'ip', 'src', '10.0.0.5/32', 'classid', '1:1');
    const foreign = () => [
      lab.ip('rule'),
      lab.ip('-o', 'link').match(/calideadbeef000/)?.[0],
      lab.ip('route', 'show', 'table', '910'),
      run('tc', '-n', lab.node, 'filter', 'show', 'dev', 'eni1', 'egress'),
    ];
    const before = foreign();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.shared(5)]);
    await datapath.add(pod);
    await datapath.remove(pod);
    await datapath.sync([]);
    expect(foreign()).toEqual(before);
    await datapath.add(pod);
    await datapath.removeAll();
    expect(foreign()).toEqual(before);
  });

  test('weak spots 1 and 2: what an earlier agent left of a trunk pod is found without a record', async () => {
    using lab = new Lab();
    const pod = lab.pod([lab.member(5, 101)]);
    {
      await using datapath = lab.datapath();
      await datapath.add(pod);
    }
    run('ip', 'netns', 'del', pod.netnsPath.slice('/run/netns/'.length));
    await using datapath = lab.datapath();
    const report = await datapath.sync([]);
    expect(report.failed).toEqual([]);
    expect(report.removed.map(({ message }) => message)).toContain('tag of 10.0.0.5: VLAN 101 belongs to no pod');
    expect(leftovers(lab)).toEqual([]);
  });

  test('a late removal of the old sandbox leaves the new one of the same pod alone', async () => {
    using lab = new Lab();
    await using datapath = lab.datapath();
    const old = lab.pod([lab.member(5, 101)]);
    await datapath.add(old);
    const fresh = lab.pod([lab.member(5, 101)], { name: old.name, containerId: 'new' });
    await datapath.add(fresh);
    await datapath.remove(old);
    expect(await datapath.check(fresh)).toEqual([]);
    expect(await datapath.sync([fresh])).toEqual({ repaired: [], removed: [], failed: [] });
  });

  test('calls side by side, with a sync among them that knows none of the pods', async () => {
    using lab = new Lab();
    await using datapath = lab.datapath();
    const pods = Array.from({ length: 8 }, (_, at) => lab.pod([lab.member(10 + at, 300 + at)]));
    const adds = pods.map((pod) => datapath.add(pod));
    await Promise.all([...adds, datapath.sync([]), datapath.sync([])]);
    for (const pod of pods) expect(await datapath.check(pod)).toEqual([]);
    const [first, ...others] = pods;
    if (first === undefined) throw new Error('no pods');
    await Promise.all([datapath.remove(first), datapath.add(first), datapath.remove(first), datapath.sync(pods)]);
    await datapath.sync(others);
    expect(await datapath.sync(others)).toEqual({ repaired: [], removed: [], failed: [] });
  });

  test('the helper dies: the call fails, the next one works', async () => {
    using lab = new Lab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.member(5, 101)]);
    await datapath.add(pod);
    const other = lab.pod([lab.member(6, 102)]);
    const adding = datapath.add(other);
    const pids = run('pgrep', '-f', `terway-kernel /run/netns/${lab.node}`).trim().split('\n');
    for (const pid of pids) process.kill(Number(pid), 'SIGKILL');
    const outcome = await adding.then(
      () => 'done',
      (error: Error) => error.name,
    );
    expect(['done', 'DatapathError']).toContain(outcome);
    await datapath.add(other);
    expect(await datapath.check(other)).toEqual([]);
    expect(await datapath.check(pod)).toEqual([]);
  });
});
