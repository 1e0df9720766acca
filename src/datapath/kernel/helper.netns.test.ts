import { spawn } from 'node:child_process';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { DatapathError } from '../errors.ts';
import { getLinkByName } from '../netlink/link.ts';
import { buildTools, DatapathLab, run, TOOLS } from '../test-support/datapath-lab.ts';
import { AnswerDecoder, encodeFrame, OPERATION } from './frames.ts';
import { HelperProcess } from './helper-process.ts';
import { isErrno, isNetnsGone, Kernel, NODE } from './kernel.ts';

beforeAll(buildTools);

const HELLO = encodeFrame(7, OPERATION.hello, []);

/** Sends bytes to a helper, then a request that does nothing; what it answers. */
async function answersTo(lab: DatapathLab, bytes: Buffer) {
  const child = spawn(TOOLS.helper, [lab.netnsPath(lab.node)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const decoder = new AnswerDecoder();
  const answers: ReturnType<AnswerDecoder['push']> = [];
  child.stdout.on('data', (chunk: Buffer) => answers.push(...decoder.push(chunk)));
  const { promise, resolve } = Promise.withResolvers<number | null>();
  child.on('close', (code) => resolve(code));
  child.stdin.on('error', () => {});
  child.stdin.end(Buffer.concat([bytes, HELLO]));
  return { code: await promise, answers };
}

describe('a bad frame', () => {
  test('of any operation with any fields is answered, and the next one too', async () => {
    using lab = new DatapathLab();
    const field = fc.oneof(
      fc.nat(0xffffffff),
      fc.constantFrom('', '/run/netns/none', '/etc/passwd', '/proc/self/ns/net', 'net/ipv4/../../kernel/hostname'),
      fc.uint8Array({ maxLength: 80 }),
    );
    // Not 4 (makes maps), 13 (mounts) and 14 with luck: those succeed for good reasons.
    const operation = fc.constantFrom(0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 16, 99, 0xffff);
    const frames = fc.array(fc.tuple(operation, fc.array(field, { maxLength: 6 })), { minLength: 5, maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(frames, async (list) => {
        const bytes = Buffer.concat(list.map(([number, fields], id) => encodeFrame(100 + id, number, fields)));
        const { code, answers } = await answersTo(lab, bytes);
        expect(code).toBe(0);
        expect(answers.map(({ id }) => id)).toEqual([...list.map((_, id) => 100 + id), 7]);
        expect(answers.at(-1)?.errno).toBe(0);
      }),
      { numRuns: 50 },
    );
  });

  test('that is too short or too long is passed over', async () => {
    using lab = new DatapathLab();
    const short = Buffer.from([5, 0, 0, 0, 1, 0, 0, 0, 9]);
    const long = Buffer.alloc(4 + (17 << 20));
    long.writeUInt32LE(17 << 20, 0);
    for (const bytes of [short, long]) {
      const { code, answers } = await answersTo(lab, bytes);
      expect(code).toBe(0);
      expect(answers.map(({ errno }) => errno)).toEqual([90, 0]);
    }
  });

  test('that is cut off ends the helper', async () => {
    using lab = new DatapathLab();
    const child = await answersTo(lab, Buffer.from([0xff, 0xff, 0, 0]));
    expect(child).toEqual({ code: 0, answers: [] });
  });
});

describe('the helper', () => {
  test('says ENOENT for a namespace that is gone or never was, and stays in its own', async () => {
    using lab = new DatapathLab();
    const port = new HelperProcess(TOOLS.helper, lab.netnsPath(lab.node));
    const kernel = new Kernel(port);
    const gone = lab.namespace('gone');
    run('ip', 'netns', 'del', gone);
    for (const path of [lab.netnsPath(gone), '/etc/passwd', '/run/netns/x/y']) {
      const failure = await kernel.netlink(path, getLinkByName('lo')).catch((error: unknown) => error);
      expect(isNetnsGone(failure), path).toBe(true);
    }
    const absent = await kernel.netlink(NODE, getLinkByName('nothing')).catch((error: unknown) => error);
    expect(isErrno(absent, 'ENODEV')).toBe(true);
    expect(await kernel.readSysctl(lab.netnsPath(lab.switchNs), 'net/ipv4/conf/sw1/forwarding')).toBe('0');
    await expect(kernel.readSysctl(NODE, 'net/ipv4/conf/sw1/forwarding')).rejects.toThrow('ENOENT');
    await expect(kernel.readSysctl(NODE, 'net/../kernel/hostname')).rejects.toThrow('EBADMSG');
    await kernel.close();
    await expect(kernel.start()).rejects.toThrow(DatapathError);
  });

  test('a namespace of a handle is gone when it is closed', async () => {
    const kernel = new Kernel(new HelperProcess(TOOLS.helper));
    const { handle, path } = await kernel.newNetns();
    expect(await kernel.netlink(path, getLinkByName('lo'))).toHaveLength(1);
    await kernel.closeHandle(handle);
    await expect(kernel.netlink(path, getLinkByName('lo'))).rejects.toThrow();
    await expect(kernel.closeHandle(handle)).rejects.toThrow('EBADF');
    await kernel.close();
  });

  test('that cannot be started is a DatapathError', async () => {
    const kernel = new Kernel(new HelperProcess('/nonexistent/terway-kernel'));
    await expect(kernel.start()).rejects.toThrow(/cannot run .*ENOENT/);
    await kernel.close();
  });
});
