import { beforeAll, describe, expect, test } from 'vitest';
import type { Field } from './kernel/frames.ts';
import type { LinuxDatapath } from './linux-datapath.ts';
import { buildTools, DatapathLab, run } from './test-support/datapath-lab.ts';
import { leftovers } from './test-support/leftovers.ts';
import { ScriptedPort } from './test-support/ports.ts';
import type { PodAttachment } from './types.ts';

beforeAll(buildTools);

const RTM_DELLINK = 17;

/** The type of a netlink request: its header is in the only field that is bytes. */
function typeOf(fields: readonly Field[]): number | undefined {
  const message = fields.find((field) => Buffer.isBuffer(field));
  return Buffer.isBuffer(message) ? message.readUInt16LE(4) : undefined;
}

/** Records of pods as the agent keeps them: written before the pod is made, and gone when it is. */
class Records {
  readonly #pods = new Set<PodAttachment>();
  readonly #datapath: LinuxDatapath;

  constructor(datapath: LinuxDatapath) {
    this.#datapath = datapath;
  }

  add(pod: PodAttachment) {
    return this.#datapath.add(pod, (change) => {
      this.#pods.add(pod);
      return change();
    });
  }

  remove(pod: PodAttachment) {
    return this.#datapath.remove(pod, async (change) => {
      await change();
      this.#pods.delete(pod);
    });
  }

  sync() {
    return this.#datapath.sync(() => [...this.#pods]);
  }
}

describe('what happens to a node', () => {
  test('weak spots 8 and 9: clsact deleted, rules flushed, routes deleted, links down: repaired by sync', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pods = [lab.pod([lab.member(5, 101)]), lab.pod([lab.shared(6)])];
    for (const pod of pods) await datapath.add(pod);
    const before = lab.state(...pods);
    run('tc', '-n', lab.node, 'qdisc', 'del', 'dev', 'eni1', 'clsact');
    const host = /cali[0-9a-f]{11}/.exec(lab.ip('-o', 'link'))?.[0] ?? '';
    run('tc', '-n', lab.node, 'qdisc', 'del', 'dev', host, 'clsact');
    lab.ip('rule', 'del', 'pref', '512');
    lab.ip('-6', 'rule', 'del', 'pref', '2048');
    lab.ip('route', 'flush', 'table', '911');
    lab.ip('addr', 'del', '192.168.0.10/32', 'dev', 'eni2');
    run('nsenter', `--net=/run/netns/${lab.node}`, 'sysctl', '-q', '-w', `net.ipv4.conf.${host}.forwarding=0`);
    const dry = await datapath.sync(() => pods, { dryRun: true });
    expect(dry.repaired.length).toBeGreaterThan(6);
    expect(lab.state(...pods)).not.toBe(before);
    const report = await datapath.sync(() => pods);
    expect(report.failed).toEqual([]);
    expect(report.repaired.map(({ message }) => message).join('\n')).toContain('qdisc clsact dev eni1 is missing');
    expect(lab.state(...pods)).toBe(before);
    expect(await datapath.sync(() => pods)).toEqual({ repaired: [], removed: [], failed: [] });
  });

  test('a deleted veth is made again while its sandbox lives', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.member(5, 101)]);
    const [attached] = await datapath.add(pod);
    const before = lab.state(pod);
    lab.ip('link', 'del', attached?.host?.name ?? '');
    expect((await datapath.sync(() => [pod])).failed).toEqual([]);
    expect(await datapath.check(pod)).toEqual([]);
    expect(lab.state(pod)).toBe(before);
  });

  test('what is not ours survives teardown and sync', async () => {
    using lab = new DatapathLab();
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
    await datapath.sync(() => []);
    expect(foreign()).toEqual(before);
    await datapath.add(pod);
    await datapath.removeAll();
    expect(foreign()).toEqual(before);
  });

  test('weak spots 1 and 2: what an earlier agent left of a trunk pod is found without a record', async () => {
    using lab = new DatapathLab();
    const pod = lab.pod([lab.member(5, 101)]);
    {
      await using datapath = lab.datapath();
      await datapath.add(pod);
    }
    run('ip', 'netns', 'del', pod.netnsPath.slice('/run/netns/'.length));
    await using datapath = lab.datapath();
    const report = await datapath.sync(() => []);
    expect(report.failed).toEqual([]);
    expect(report.removed.map(({ message }) => message)).toContain('tag of 10.0.0.5: VLAN 101 belongs to no pod');
    expect(leftovers(lab)).toEqual([]);
  });

  test('a late removal of the old sandbox leaves the new one of the same pod alone', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const old = lab.pod([lab.member(5, 101)]);
    await datapath.add(old);
    const fresh = lab.pod([lab.member(5, 101)], { name: old.name, containerId: 'new' });
    await datapath.add(fresh);
    await datapath.remove(old);
    expect(await datapath.check(fresh)).toEqual([]);
    expect(await datapath.sync(() => [fresh])).toEqual({ repaired: [], removed: [], failed: [] });
  });

  test('a pod whose namespace is gone is named and kept until it is removed', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const pod = lab.pod([lab.member(5, 101)]);
    await datapath.add(pod);
    run('ip', 'netns', 'del', pod.netnsPath.slice('/run/netns/'.length));
    const report = await datapath.sync(() => [pod]);
    expect(report).toMatchObject({ repaired: [], failed: [{ pod: 'default/pod1' }] });
    // The kernel may have taken the veth already, and its number with it.
    for (const { message } of report.removed) expect(message).toMatch(/^mark for link \d+ belongs to no pod$/);
    await datapath.remove(pod);
    expect((await datapath.sync(() => [])).failed).toEqual([]);
    expect(leftovers(lab)).toEqual([]);
  });

  test('weak spot 14: a sync that is asked for in the middle of an add takes nothing of it away', async () => {
    using lab = new DatapathLab();
    const port = new ScriptedPort(lab.port());
    await using datapath = lab.datapath({}, port);
    const records = new Records(datapath);
    await records.add(lab.pod([lab.shared(9)]));
    for (const after of [4, 8, 12, 16, 20, 24, 28, 32]) {
      const pod = lab.pod([lab.member(10 + after, 300 + after)]);
      const syncs: Promise<unknown>[] = [];
      const start = port.count;
      port.onRequest = (count) => {
        if (count === start + after) syncs.push(records.sync());
      };
      await records.add(pod);
      const reports = await Promise.all(syncs);
      port.onRequest = undefined;
      expect(reports, `sync after ${after} requests`).toEqual([{ repaired: [], removed: [], failed: [] }]);
      expect(await datapath.check(pod), `sync after ${after} requests`).toEqual([]);
      await records.remove(pod);
    }
  });

  test('weak spot 14: an add or a removal in the middle of a sync is neither undone nor taken for a fault', async () => {
    using lab = new DatapathLab();
    const port = new ScriptedPort(lab.port());
    await using datapath = lab.datapath({}, port);
    const records = new Records(datapath);
    const stays = lab.pod([lab.shared(9)]);
    await records.add(stays);
    // What the trunk has for members stays, too.
    await records.add(lab.pod([lab.member(5, 101)]));
    for (const after of [2, 5, 8, 11, 14]) {
      const fresh = lab.pod([lab.member(10 + after, 300 + after)]);
      const leaves = lab.pod([lab.member(40 + after, 400 + after)]);
      await records.add(leaves);
      const calls: Promise<unknown>[] = [];
      const start = port.count;
      port.onRequest = (count) => {
        if (count === start + after) calls.push(records.add(fresh), records.remove(leaves));
      };
      const report = await records.sync();
      port.onRequest = undefined;
      expect(calls, `calls after ${after} requests`).toHaveLength(2);
      await Promise.all(calls);
      expect(report, `calls after ${after} requests`).toEqual({ repaired: [], removed: [], failed: [] });
      for (const pod of [stays, fresh]) expect(await datapath.check(pod)).toEqual([]);
      await records.remove(fresh);
      expect(await records.sync()).toEqual({ repaired: [], removed: [], failed: [] });
    }
  });

  test('calls side by side, with syncs among them', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const records = new Records(datapath);
    const pods = Array.from({ length: 8 }, (_, at) => lab.pod([lab.member(10 + at, 300 + at)]));
    const adds = pods.map((pod) => records.add(pod));
    await Promise.all([...adds, records.sync(), records.sync()]);
    for (const pod of pods) expect(await datapath.check(pod)).toEqual([]);
    const [first] = pods;
    if (first === undefined) throw new Error('no pods');
    await Promise.all([records.remove(first), records.add(first), records.remove(first), records.sync()]);
    expect(await records.sync()).toEqual({ repaired: [], removed: [], failed: [] });
  });

  test('a crowd of removals is a few deletions, and an add beside them does not wait for each', async () => {
    using lab = new DatapathLab();
    const port = new ScriptedPort(lab.port());
    await using datapath = lab.datapath({}, port);
    const pods = Array.from({ length: 20 }, (_, at) => lab.pod([lab.member(10 + at, 300 + at)]));
    for (const pod of pods) await datapath.add(pod);
    const stays = lab.pod([lab.member(5, 101)]);
    await datapath.add(stays);
    // Somebody else deletes one meanwhile.
    const gone = /\d+: (cali[0-9a-f]{11})/.exec(lab.ip('-o', 'link', 'show', 'up'))?.[1] ?? '';
    let deletions = 0;
    port.onRequest = (_count, operation, fields) => {
      if (operation !== 'netlink' || typeOf(fields) !== RTM_DELLINK) return;
      if (deletions === 0) lab.ip('link', 'del', gone);
      deletions += 1;
    };
    const fresh = lab.pod([lab.member(6, 102)]);
    const removals = pods.map((pod) => datapath.remove(pod));
    await datapath.add(fresh);
    const deletionsBeforeAdd = deletions;
    await Promise.all(removals);
    expect(deletions).toBeGreaterThanOrEqual(2);
    expect(deletions).toBeLessThan(pods.length / 2);
    expect(deletionsBeforeAdd).toBeLessThan(pods.length / 2);
    for (const pod of [stays, fresh]) expect(await datapath.check(pod)).toEqual([]);
    expect(await datapath.sync(() => [stays, fresh])).toEqual({ repaired: [], removed: [], failed: [] });
  });

  test('a removal that the kernel refuses fails alone; links that were about to go are found again', async () => {
    using lab = new DatapathLab();
    const port = new ScriptedPort(lab.port());
    const pods = Array.from({ length: 6 }, (_, at) => lab.pod([lab.member(10 + at, 300 + at)]));
    {
      await using datapath = lab.datapath({}, port);
      for (const pod of pods) await datapath.add(pod);
      let deletions = 0;
      port.onRequest = (count, operation, fields) => {
        if (operation !== 'netlink' || typeOf(fields) !== RTM_DELLINK) return;
        deletions += 1;
        // The second is that of the group; the third is that of the first link of it.
        if (deletions === 2 || deletions === 3) port.failAt = count;
      };
      const outcomes = await Promise.allSettled(pods.map((pod) => datapath.remove(pod)));
      expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(1);
      port.onRequest = undefined;
    }
    await using datapath = lab.datapath();
    expect((await datapath.sync(() => [])).failed).toEqual([]);
    expect(leftovers(lab)).toEqual([]);
  });

  test('the helper dies: the call fails, the next one works', async () => {
    using lab = new DatapathLab();
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
