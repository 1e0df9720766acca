import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import * as z from 'zod';
import { cgroupName } from '../machine/cgroups.ts';
import { LAUNCH_FLAGS } from './launch-flags.ts';

const MEBIBYTE = 1024 * 1024;
const valuesSchema = z.looseObject({
  controlPlane: z.looseObject({ resources: z.object({ limits: z.object({ memory: z.string().regex(/^\d+Mi$/) }) }) }),
});

test("the control plane's heap may use most of the container's memory, but not all", async () => {
  const text = readFileSync(join(import.meta.dirname, '../../charts/terway-controlplane/values.yaml'), 'utf8');
  const limit = Number.parseInt(valuesSchema.parse(parse(text)).controlPlane.resources.limits.memory, 10) * MEBIBYTE;
  const version1 = '/sys/fs/cgroup/memory';
  const [root, file] = existsSync(version1)
    ? ([version1, 'memory.limit_in_bytes'] as const)
    : (['/sys/fs/cgroup', 'memory.max'] as const);
  const cgroup = join(root, await cgroupName('launch-flags'));
  mkdirSync(cgroup);
  try {
    writeFileSync(join(cgroup, file), String(limit));
    const print = 'console.log(require("node:v8").getHeapStatistics().heap_size_limit)';
    const script = `echo $$ > ${cgroup}/cgroup.procs && exec "$0" "$@"`;
    const output = execFileSync('sh', ['-c', script, process.execPath, ...LAUNCH_FLAGS, '-e', print], {
      encoding: 'utf8',
    });
    // Code, stacks, buffers and the young generation took less than a fifth in every measurement.
    expect(Number(output) / limit).toBeGreaterThan(0.7);
    expect(Number(output) / limit).toBeLessThan(0.8);
  } finally {
    rmdirSync(cgroup);
  }
});
