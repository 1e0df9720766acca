/**
 * `--bundles FOLDER` puts the bundles of the executables and the native programs there, for all tests of one run.
 *
 * Builds what the tests need and the cache lacks: Kubernetes and its e2e suite, containerd, Helm, CoreDNS, the VPC switch, the VM's
 * kernel, Prometheus and the Python SDKs. Runs in sequence before any test, because compiling during tests slows both.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { ToolError } from '../tools/errors.ts';
import { readFlags } from '../tools/flags.ts';
import { buildNative } from '../tools/product/native.ts';
import { ensureConformancePrograms } from '../tools/programs/conformance.ts';
import { ensureCoreDns } from '../tools/programs/coredns.ts';
import { ensureHelm } from '../tools/programs/helm.ts';
import { ensureKubeBinaries } from '../tools/programs/kubernetes.ts';
import { ensureRealNodePrograms } from '../tools/programs/node-programs.ts';
import { ensurePrometheus } from '../tools/programs/prometheus.ts';
import { ensurePythonSdks } from '../tools/programs/python-sdks.ts';
import { ensureVmKernel } from '../tools/programs/vm-kernel.ts';
import { ensureSwitchProgram } from '../tools/programs/vpc-switch.ts';

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
  if (!(error instanceof ToolError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
}

const flags = readFlags({ bundles: { type: 'string' } });
if (flags.bundles !== undefined) {
  const { status } = spawnSync(process.execPath, [join(import.meta.dirname, 'build.ts'), '--outdir', flags.bundles], {
    stdio: 'inherit',
  });
  process.exitCode = status ?? 1;
  if (status === 0) await buildNative(flags.bundles);
}
