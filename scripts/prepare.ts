/**
 * Builds what the tests need and the cache lacks: Kubernetes, containerd, Helm, the VPC switch, the VM's kernel and Prometheus. One after
 * another and before any test, as compilers beside tests make both slow.
 */
import { ensureSwitchProgram } from '../sim/vpc/build.ts';
import { ensureKubeBinaries } from '../test/cluster/build.ts';
import { ensureHelm } from '../test/cluster/helm.ts';
import { ensureRealNodePrograms } from '../test/cluster/real-nodes/programs.ts';
import { ensurePrometheus } from '../test/e2e/monitoring/prometheus.ts';
import { ensureVmKernel } from '../test/vm/kernel.ts';

const log = (line: string) => process.stdout.write(`${line}\n`);

for (const ensure of [
  ensureKubeBinaries,
  ensureRealNodePrograms,
  ensureHelm,
  ensureSwitchProgram,
  ensureVmKernel,
  ensurePrometheus,
]) {
  await ensure({ log });
}
