import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { importViolations } from './import-rules.ts';

let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'import-rules-'));
  await plant('src/util/clock.ts', 'export const now = () => Date.now();\n');
  await plant('sim/cloud/model.ts', "import { now } from '../../src/util/clock.ts';\n");
});

afterEach(async () => {
  await rm(root, { recursive: true });
});

async function plant(file: string, text: string): Promise<void> {
  await mkdir(dirname(join(root, file)), { recursive: true });
  await writeFile(join(root, file), text);
}

test('a tree that follows the rules has no violation', async () => {
  await plant('src/controllers/x/controller.ts', "import type { A } from '../../allocation/plan.ts';\n");
  await plant('src/cli/alicloud-sim.ts', "import { m } from '../../sim/cloud/model.ts';\n");
  await plant('sim/kube/transport.ts', "import type { T } from '../../src/kube/transport.ts';\n");
  expect(await importViolations(root)).toEqual([]);
});

test.each([
  ['src/allocation/plan.ts', "import { CloudError } from '../cloud/errors.ts';\n", 'src/cloud/errors.ts'],
  ['src/ecs/eni.ts', "import type { CloudReads } from '../cloud/port.ts';\n", 'src/cloud/port.ts'],
  ['src/kube/client.ts', "import {\n  a,\n  b,\n} from '../crds/names.ts';\n", 'src/crds/names.ts'],
  ['src/cloud/rpc.ts', "export { x } from '../kube/client.ts';\n", 'src/kube/client.ts'],
  ['src/cloud/lazy.ts', "const m = await import('../controllers/manager.ts');\n", 'src/controllers/manager.ts'],
  ['src/cli/terway-controlplane.ts', "import { m } from '../../sim/cloud/model.ts';\n", 'sim/cloud/model.ts'],
  ['src/controllers/x.ts', "import '../../test/harness/lab.ts';\n", 'test/harness/lab.ts'],
  ['sim/kube/model.ts', "import { x } from '../../src/controllers/manager.ts';\n", 'src/controllers/manager.ts'],
  ['sim/kube/model.ts', "import { m } from '../cloud/model.ts';\n", 'sim/cloud/model.ts'],
  ['sim/cloud/model.ts', "import { m } from '../kube/model.ts';\n", 'sim/kube/model.ts'],
  ['sim/kube/model.ts', "import { w } from '../world/world.ts';\n", 'sim/world/world.ts'],
  ['sim/world/world.ts', "import { a } from '../../src/admission/server.ts';\n", 'src/admission/server.ts'],
  ['src/kube/client.ts', "import { m } from '../../sim/kube/model.ts';\n", 'sim/kube/model.ts'],
  ['scripts/prepare.ts', "import { c } from '../test/cluster/cluster.ts';\n", 'test/cluster/cluster.ts'],
  ['scripts/docs.test.ts', "import { c } from '../sim/cloud/model.ts';\n", 'sim/cloud/model.ts'],
  ['tools/product/chart.ts', "import { b } from '../../scripts/build.ts';\n", 'scripts/build.ts'],
  ['tools/programs/helm.ts', "import { c } from '../../test/cluster/cluster.ts';\n", 'test/cluster/cluster.ts'],
  ['test/chart/chart.test.ts', "import { b } from '../../scripts/build.ts';\n", 'scripts/build.ts'],
  ['test/harness/lab.ts', "import { t } from '../../demo/tour.ts';\n", 'demo/tour.ts'],
  ['demo/demo.ts', "import { s } from '../test/e2e/support.ts';\n", 'test/e2e/support.ts'],
])('a forbidden import planted in %s is found', async (file, text, target) => {
  await plant(file, text);
  const violations = await importViolations(root);
  expect(violations).toHaveLength(1);
  expect(violations[0]).toContain(file);
  expect(violations[0]).toContain(target);
});

test('use of the machine’s time and randomness outside the clock is found', async () => {
  await plant('src/kube/lease.ts', 'export const at = Date.now();\n// Date.now() in a comment\n');
  expect(await importViolations(root)).toEqual([
    "src/kube/lease.ts:1: uses the machine's own time or chance; take a Clock or a Random",
  ]);
});

test.each([
  ['src/kube/lease.ts', 'const id = randomUUID();', 'makes a name or a key'],
  ['src/admission/keys.ts', "const pair = generateKeyPairSync('ec');", 'makes a name or a key'],
  ['src/cloud/metadata.ts', 'const limit = AbortSignal.timeout(10);', 'time or chance'],
  ['src/agent/x.ts', 'const at = process.hrtime.bigint();', 'time or chance'],
  ['src/kube/x.ts', "import { setTimeout } from 'node:timers/promises';", 'time or chance'],
  ['src/cloud/x.ts', 'const answer = await fetch(url);', 'sends a request'],
  ['src/kube/client.ts', 'const clock = options.clock ?? systemClock;', 'let the executable pass it'],
  ['src/controllers/x.ts', "import {\n  readFile,\n  stat,\n} from 'node:fs/promises';", 'imports node:fs/promises'],
  ['src/agent/records.ts', "import { open } from 'node:fs/promises';", 'imports node:fs/promises'],
  ['src/cloud/rpc.ts', "import core from '@alicloud/openapi-core';", 'imports @alicloud/openapi-core'],
])('machine access in %s by %s is found', async (file, line, message) => {
  await plant(file, `${line}\n`);
  expect(await importViolations(root)).toEqual([expect.stringContaining(message)]);
});

test('ports, executables and types may use the machine', async () => {
  await plant('src/util/x509.ts', "import { randomBytes } from 'node:crypto';\nexport const some = randomBytes(15);\n");
  await plant('src/cloud/metadata.ts', 'export const answer = fetch(url);\nexport const other = cache.fetch(url);\n');
  await plant('src/kube/connection.ts', "import { connect } from 'node:http2';\n");
  await plant('src/kube/transport.ts', "import type { ClientHttp2Stream } from 'node:http2';\n");
  await plant('src/cli/tool.ts', "import { readFile } from 'node:fs/promises';\nexport const clock = systemClock;\n");
  await plant('src/datapath/probe.ts', "import { readFile } from 'node:fs/promises';\n");
  expect(await importViolations(root)).toEqual([]);
});

test.each([
  ['src/controllers/node/controller.ts', "import type { Cloud } from '../../cloud/port.ts';"],
  [
    'src/controllers/collector/collector.ts',
    "import type {\n  CloudChanges,\n  EniFilter,\n} from '../../cloud/port.ts';",
  ],
  ['src/controllers/events.ts', "import { AlibabaCloud } from '../cloud/alibaba-cloud.ts';"],
  ['src/controllers/node/writer.ts', 'await options.cloud.detachEni(request, leave);'],
  ['src/controllers/manager.ts', 'await options.cloud.deleteEni(eniId, leave);'],
])('another way to change the cloud planted in %s is found', async (file, line) => {
  await plant(file, `${line}\n`);
  expect(await importViolations(root)).toEqual([expect.stringContaining(`${file}: can change the cloud`)]);
});

test('the driver may change the cloud, and whoever is wired may hold it; others may read', async () => {
  await plant('src/controllers/eni/driver.ts', "import type { CloudChanges } from '../../cloud/port.ts';\n");
  await plant('src/controllers/term.ts', "import type { Cloud } from '../cloud/port.ts';\n");
  await plant('src/cloud/fence.ts', "import type { Cloud } from './port.ts';\n");
  await plant('src/controllers/x.ts', "import type { CloudReads, EniFilter } from '../cloud/port.ts';\n");
  expect(await importViolations(root)).toEqual([]);
});

test('a folder without a rule is named', async () => {
  await plant('src/misc/x.ts', '');
  expect((await importViolations(root))[0]).toContain('src/misc has no rule');
});

test('zod is imported as a namespace', async () => {
  await plant('src/crds/a.ts', "import * as z from 'zod';\n");
  await plant('src/crds/b.ts', "import { z } from 'zod';\n");
  expect(await importViolations(root)).toEqual([
    "src/crds/b.ts: imports { z } from zod; write import * as z from 'zod'",
  ]);
});
