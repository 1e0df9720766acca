import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { agentConfigSchema } from '../config/agent.ts';
import { buildTools, DatapathLab, TOOLS } from '../datapath/test-support/datapath-lab.ts';
import { systemClock } from '../util/clock.ts';
import { openNodeDatapath } from './open-datapath.ts';

beforeAll(buildTools);

test('where bpf(2) is refused, `auto` is an error that says what to set, and never the classic filters', async () => {
  using lab = new DatapathLab();
  const lib = join(lab.directory, 'lib');
  mkdirSync(lib);
  const launcher = `#!/bin/sh\nexec ${TOOLS.frames} without-bpf ${TOOLS.helper} "$@"\n`;
  writeFileSync(join(lib, 'terway-kernel'), launcher, { mode: 0o755 });
  copyFileSync(TOOLS.object, join(lib, 'terway.bpf.o'));
  const { nodeAddress, bpfDirectory } = lab.settings();
  const config = agentConfigSchema.parse({ paths: { bpf: bpfDirectory } });
  expect(config.datapath.tagProgram).toBe('auto');
  const opening = openNodeDatapath({
    config,
    nodeAddress,
    lib,
    nodeNetns: lab.netnsPath(lab.node),
    clock: systemClock,
    signal: AbortSignal.timeout(30_000),
    log: { debug: () => undefined },
  });
  await expect(opening).rejects.toThrow(/eBPF programs: .*EPERM.*or set `datapath\.tagProgram: tc`/);
});
