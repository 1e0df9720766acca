/**
 * `--bundles FOLDER` puts the bundles of the executables and the native programs there, for all tests of one run.
 *
 * Builds what the tests need and the cache lacks: Kubernetes and its e2e suite, containerd, Helm, CoreDNS, the VPC switch, the VM's
 * kernel, Prometheus and the Python SDKs. Runs in sequence before any test, because compiling during tests slows both.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ensureSwitchProgram } from '../sim/vpc/build.ts';
import { ensureKubeBinaries } from '../test/cluster/build.ts';
import { ensureCoreDns } from '../test/cluster/coredns.ts';
import { TestClusterError } from '../test/cluster/errors.ts';
import { ensureHelm } from '../test/cluster/helm.ts';
import { ensureRealNodePrograms } from '../test/cluster/real-nodes/programs.ts';
import { ensureConformancePrograms } from '../test/conformance/programs.ts';
import { ensurePrometheus } from '../test/e2e/monitoring/prometheus.ts';
import { ensurePythonSdks } from '../test/sdk/python-sdks.ts';
import { ensureVmKernel } from '../test/vm/kernel.ts';
import { buildNative } from './build-native.ts';

const log = (line: string) => process.stdout.write(`${line}\n`);

try {
  for (const ensure of [
    ensureKubeBinaries,
    ensureRealNodePrograms,
    ensureHelm,
    ensureCoreDns,
    ensureConformancePrograms,
    ensureSwitchProgram,
    ensureVmKernel,
    ensurePrometheus,
    ensurePythonSdks,
  ]) {
    await ensure({ log });
  }
} catch (error) {
  if (!(error instanceof TestClusterError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
}

const { values: flags } = parseArgs({ options: { bundles: { type: 'string' } } });
if (flags.bundles !== undefined) {
  const { status } = spawnSync(process.execPath, [join(import.meta.dirname, 'build.ts'), '--outdir', flags.bundles], {
    stdio: 'inherit',
  });
  process.exitCode = status ?? 1;
  if (status === 0) await buildNative(flags.bundles);
}
