/**
 * Builds what the tests need and the cache lacks: Kubernetes, containerd, Helm, the VPC switch and the VM's kernel. One after
 * another and before any test, as compilers beside tests make both slow.
 */
import { ensureSwitchProgram } from '../sim/vpc/build.ts';
import { ensureKubeBinaries } from '../test/cluster/build.ts';
import { ensureHelm } from '../test/cluster/helm.ts';
import { ensureRealNodePrograms } from '../test/cluster/real-nodes/programs.ts';
import { ensureVmKernel } from '../test/vm/kernel.ts';

const log = (line: string) => process.stdout.write(`${line}\n`);

for (const ensure of [ensureKubeBinaries, ensureRealNodePrograms, ensureHelm, ensureSwitchProgram, ensureVmKernel]) {
  await ensure({ log });
}
