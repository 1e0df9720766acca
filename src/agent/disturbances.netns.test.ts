import { beforeAll, describe, expect, test } from 'vitest';
import type { LinuxDatapath } from '../datapath/linux-datapath.ts';
import { buildTools, DatapathLab, run } from '../datapath/test-support/datapath-lab.ts';
import type { PodAttachment } from '../datapath/types.ts';
import { systemClock } from '../util/clock.ts';
import { LookLoop, type LookScope } from './look-loop.ts';

/* What another program takes from the node comes back at once: the real data path, and the loop of the agent. */

beforeAll(buildTools);

const PERIOD_MS = 3_600_000;
/** Looks that follow each other wait for five seconds, and a busy machine takes its time; the period is far away. */
const PATIENCE_MS = 60_000;

/** An agent's loop over the data path, with the looks that it took. */
class Watcher implements AsyncDisposable {
  readonly looks: LookScope[] = [];
  readonly told: string[] = [];
  readonly #stop = new AbortController();
  readonly #done: Promise<void>;
  readonly #loop: LookLoop;

  constructor(datapath: LinuxDatapath, pods: readonly PodAttachment[]) {
    this.#loop = new LookLoop({
      clock: systemClock,
      periodMs: PERIOD_MS,
      look: async (scope) => {
        await datapath.sync(() => pods, { nodeOnly: scope === 'node' }).catch(() => undefined);
        this.looks.push(scope);
      },
    });
    this.#done = this.#loop.run(this.#stop.signal);
  }

  static async start(datapath: LinuxDatapath, pods: readonly PodAttachment[]): Promise<Watcher> {
    const watcher = new Watcher(datapath, pods);
    await datapath.watch((kind) => {
      watcher.told.push(kind);
      watcher.#loop.wake(kind === 'node' ? 'node' : 'all');
    });
    await expect.poll(() => watcher.looks).toEqual(['all']);
    return watcher;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }
}

/** By an agent before, so that what happens to the pod is nobody's own work. */
async function added(lab: DatapathLab, pod: PodAttachment): Promise<void> {
  await using datapath = lab.datapath();
  await datapath.add(pod);
}

const nameOf = ({ netnsPath }: PodAttachment) => netnsPath.slice('/run/netns/'.length);
const hostLink = (lab: DatapathLab) => /cali[0-9a-f]{11}/.exec(lab.ip('-o', 'link'))?.[0] ?? '';

describe('another program', () => {
  test.each<[string, (lab: DatapathLab) => void]>([
    ['flushes all rules', (lab) => lab.ip('rule', 'flush', 'proto', '84')],
    ['deletes a rule of IPv6', (lab) => lab.ip('-6', 'rule', 'del', 'pref', '2048')],
    ['flushes a table', (lab) => lab.ip('route', 'flush', 'table', '911')],
    ['replaces a route', (lab) => lab.ip('route', 'replace', '10.0.0.5', 'dev', 'eni1', 'table', '911')],
    ['takes a link of a pod down', (lab) => lab.ip('link', 'set', hostLink(lab), 'down')],
    ['deletes a link of a pod', (lab) => lab.ip('link', 'del', hostLink(lab))],
    ['takes the trunk down', (lab) => lab.ip('link', 'set', 'eni1', 'down')],
    ['deletes clsact of the trunk', (lab) => run('tc', '-n', lab.node, 'qdisc', 'del', 'dev', 'eni1', 'clsact')],
    ['deletes a filter of a pod', (lab) => run('tc', '-n', lab.node, 'filter', 'del', 'dev', hostLink(lab), 'ingress')],
  ])('%s: it is put back when the kernel tells of it, an hour before the next look', async (_, disturb) => {
    using lab = new DatapathLab();
    const pod = lab.pod([lab.member(5, 101)]);
    await added(lab, pod);
    await using datapath = lab.datapath();
    await using watcher = await Watcher.start(datapath, [pod]);
    const before = lab.state(pod);
    disturb(lab);
    // How fast is measured by the bench.
    await expect.poll(() => watcher.looks.length, { interval: 10 }).toBeGreaterThan(1);
    // Links of the kernel's own making, such as link-local addresses, take their time.
    await expect.poll(() => lab.state(pod), { interval: 50 }).toBe(before);
    // What it mended itself is no disturbance.
    expect(watcher.looks.length).toBeLessThanOrEqual(4);
  });

  test('that changes what is not ours, and calls for pods, are no reason to look', async () => {
    using lab = new DatapathLab();
    await using datapath = lab.datapath();
    const stays = lab.pod([lab.member(5, 101)]);
    await datapath.add(stays);
    await using watcher = await Watcher.start(datapath, [stays]);
    lab.ip('link', 'add', 'other0', 'type', 'veth', 'peer', 'name', 'other1');
    lab.ip('link', 'set', 'other0', 'up');
    lab.ip('rule', 'add', 'pref', '99', 'lookup', '77');
    lab.ip('rule', 'del', 'pref', '99');
    lab.ip('route', 'add', '10.9.0.0/24', 'dev', 'other0', 'table', '77');
    lab.ip('link', 'del', 'other0');
    // A pod can take its own end up and down as often as it likes.
    for (let at = 0; at < 20; at++) {
      run('ip', '-n', nameOf(stays), 'link', 'set', 'eth0', 'down');
      run('ip', '-n', nameOf(stays), 'link', 'set', 'eth0', 'up');
    }
    for (let at = 0; at < 5; at++) {
      const pod = lab.pod([lab.member(10 + at, 300 + at)]);
      await datapath.add(pod);
      await datapath.remove(pod);
    }
    // Told in order: what comes after all that is the first.
    lab.ip('rule', 'del', 'pref', '512');
    await expect.poll(() => watcher.told.length, { timeout: PATIENCE_MS }).toBeGreaterThan(0);
    expect(watcher.told).toEqual(['node']);
  });

  test('that floods the node with changes gets a bounded number of looks, and nothing stays lost', async () => {
    using lab = new DatapathLab();
    const pod = lab.pod([lab.member(5, 101)]);
    await added(lab, pod);
    await using datapath = lab.datapath();
    await using watcher = await Watcher.start(datapath, [pod]);
    const before = lab.state(pod);
    const lines = Array.from(
      { length: 20_000 },
      (_, at) => `rule add pref ${1000 + (at % 1000)} lookup 77\nrule del pref ${1000 + (at % 1000)}`,
    );
    lab.sh(lab.node, `ip rule del pref 512; printf '${lines.slice(0, 2000).join('\\n')}\\n' | ip -batch -`);
    await expect.poll(() => lab.state(pod), { timeout: PATIENCE_MS, interval: 100 }).toBe(before);
    expect(watcher.looks.length).toBeLessThan(12);
  });
});

test('after the helper ended, changes are told again', async () => {
  using lab = new DatapathLab();
  const pod = lab.pod([lab.member(5, 101)]);
  await added(lab, pod);
  await using datapath = lab.datapath();
  await using watcher = await Watcher.start(datapath, [pod]);
  const before = lab.state(pod);
  const [helper] = run('pgrep', '-f', `terway-kernel /run/netns/${lab.node}`).trim().split('\n');
  process.kill(Number(helper), 'SIGKILL');
  await expect.poll(() => watcher.told, { timeout: PATIENCE_MS }).toContain('lost');
  await expect.poll(() => watcher.looks.length, { timeout: PATIENCE_MS }).toBeGreaterThan(1);
  lab.ip('rule', 'flush', 'proto', '84');
  await expect.poll(() => lab.state(pod), { timeout: PATIENCE_MS }).toBe(before);
});
