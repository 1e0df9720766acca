import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { beforeAll, expect, test } from 'vitest';
import { IPV4 } from '../ip.ts';
import { dumpRoutes } from '../netlink/network.ts';
import { buildTools, DatapathLab, run, TOOLS } from '../test-support/datapath-lab.ts';
import { HelperProcess } from './helper-process.ts';
import { Kernel } from './kernel.ts';

beforeAll(buildTools);

const NSENTER = 'nsenter';
const ROUTES = 3000;
const LOOKS = 100;

test('what a pod sends to the agent’s socket in its namespace is not taken for the kernel’s answer', async () => {
  using lab = new DatapathLab();
  const name = lab.namespace('pod');
  lab.sh(
    name,
    `ip link set lo up; seq ${ROUTES} | awk '{printf "route add 10.%d.%d.0/24 dev lo proto 84\\n", int($1/256), $1%256}' | ip -batch -`,
  );
  const kernel = new Kernel(new HelperProcess(TOOLS.helper, lab.netnsPath(lab.node)));
  await kernel.start();
  // A socket's port is by default the number of the process.
  const [helper = ''] = run('pgrep', '-f', `terway-kernel /run/netns/${lab.node}`).trim().split('\n');
  const forger = spawn(NSENTER, [`--net=${lab.netnsPath(name)}`, TOOLS.frames, 'forge', helper, `${LOOKS}`], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(forger.stdout, 'data');
  try {
    for (let look = 0; look < LOOKS; look++) {
      expect(await kernel.netlink(lab.netnsPath(name), dumpRoutes(IPV4)), `look ${look}`).toHaveLength(ROUTES);
    }
  } finally {
    forger.stdin.end();
    await once(forger, 'close');
    await kernel.close();
  }
});
