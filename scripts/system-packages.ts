/**
 * Debian packages for builds and tests: `node scripts/system-packages.ts` installs missing ones, and does not run apt if there
 * are none. With `--check` it only lists missing packages and exits with 1.
 *
 * Runs before the project's own Node is installed, so it is a single file and uses only Node's modules.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';

/** One Debian package. */
export interface SystemPackage {
  /** Package name. */
  name: string;
  /** A command on the PATH or an absolute path that we use. If it exists, the package is installed. */
  proof: string;
  /** What needs it. */
  purpose: string;
}

/** Sorted by name; a package belongs here when a fresh Debian with npm, Go and git lacks it. */
export const SYSTEM_PACKAGES: readonly SystemPackage[] = [
  { name: 'bind9-dnsutils', proof: 'dig', purpose: 'in the images of Kubernetes’ own e2e specs' },
  { name: 'bpftool', proof: '/usr/sbin/bpftool', purpose: 'looks into eBPF maps in tests' },
  // Not /bin/busybox, which the dynamically linked package has as well.
  {
    name: 'busybox-static',
    proof: '/var/lib/dpkg/info/busybox-static.list',
    purpose: 'the image of test pods and the first programs of the VM tests',
  },
  { name: 'clang', proof: 'clang', purpose: 'compiles the eBPF programs' },
  { name: 'cpio', proof: 'cpio', purpose: 'packs the first file system of the VM tests' },
  { name: 'curl', proof: 'curl', purpose: 'in the images of Kubernetes’ own e2e specs' },
  { name: 'dash', proof: 'dash', purpose: 'in the images of Kubernetes’ own e2e specs' },
  { name: 'iproute2', proof: 'ip', purpose: 'network namespaces and links of real nodes' },
  { name: 'iptables', proof: 'iptables', purpose: 'kube-proxy of real nodes, in that mode' },
  { name: 'kmod', proof: 'kmod', purpose: 'looks for kernel modules of real nodes and of the VM tests' },
  { name: 'libbpf-dev', proof: '/usr/include/bpf/bpf_helpers.h', purpose: 'headers of the eBPF programs' },
  { name: 'linux-libc-dev', proof: '/usr/include/linux/bpf.h', purpose: 'headers of the eBPF programs' },
  { name: 'llvm', proof: 'llvm-strip', purpose: 'strips the eBPF programs' },
  { name: 'netcat-openbsd', proof: 'nc.openbsd', purpose: 'in the images of Kubernetes’ own e2e specs' },
  { name: 'nftables', proof: 'nft', purpose: 'kube-proxy of real nodes' },
  { name: 'openssl', proof: 'openssl', purpose: 'checks the signature of a release in tests' },
  // Its files are in a folder named after the Python version.
  {
    name: 'python3-venv',
    proof: '/var/lib/dpkg/info/python3-venv.list',
    purpose: 'foreign SDKs, against which the simulator is tested',
  },
  { name: 'qemu-system-x86', proof: 'qemu-system-x86_64', purpose: 'runs the kernel of the VM tests' },
  { name: 'runc', proof: 'runc', purpose: 'starts the containers of real nodes' },
  { name: 'tcpdump', proof: 'tcpdump', purpose: 'shows in tests what is on the wire' },
  { name: 'xz-utils', proof: 'xz', purpose: 'unpacks the kernel of the VM tests' },
];

/** The packages whose proof is neither a command below one of `searchPath` nor, when absolute, a file. */
export function missingPackages(
  packages: readonly SystemPackage[] = SYSTEM_PACKAGES,
  searchPath: string = process.env['PATH'] ?? '',
): SystemPackage[] {
  // Folders of system commands, which a user's PATH may lack.
  const directories = [...searchPath.split(delimiter), '/usr/sbin', '/sbin'].filter((directory) => directory !== '');
  return packages.filter(({ proof }) =>
    isAbsolute(proof) ? !exists(proof) : !directories.some((directory) => isExecutable(join(directory, proof))),
  );
}

/**
 * Installs what is missing.
 *
 * @returns the exit code: 0, or 1 after a message on standard error that says what to do.
 */
export function installMissing({ checkOnly }: { checkOnly: boolean }): number {
  const missing = missingPackages();
  if (missing.length === 0) return 0;
  const names = missing.map(({ name }) => name);
  const command = `apt-get install -y --no-install-recommends ${names.join(' ')}`;
  if (checkOnly) {
    for (const { name, purpose } of missing) process.stderr.write(`${name} is missing: ${purpose}\n`);
    return 1;
  }
  if (!isDebian()) {
    const needs = missing.map(({ proof, purpose }) => `  ${proof}: ${purpose}\n`).join('');
    process.stderr.write(
      `this is not Debian; install the packages that provide the following, then run make setup again:\n${needs}`,
    );
    return 1;
  }
  if (process.getuid?.() !== 0) {
    process.stderr.write(`system packages are missing; run as root: apt-get update && ${command}\n`);
    return 1;
  }
  process.stdout.write(`installing ${names.join(', ')}\n`);
  const [head = '', ...rest] = command.split(' ');
  return apt(head, ['update']) && apt(head, rest) ? stillMissing() : 1;
}

/** Detects an entry whose proof its package does not provide. */
function stillMissing(): number {
  const missing = missingPackages();
  for (const { name, proof } of missing) process.stderr.write(`${name} is installed, but ${proof} is not there\n`);
  return missing.length === 0 ? 0 : 1;
}

/** Runs it quietly, and shows its output on failure. */
function apt(command: string, args: readonly string[]): boolean {
  const { status, stdout, stderr } = spawnSync(command, ['-q', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' },
  });
  if (status === 0) return true;
  process.stderr.write(`${stdout}${stderr}apt-get ${args[0]} failed with code ${status}\n`);
  return false;
}

function isDebian(): boolean {
  try {
    return /^ID(_LIKE)?=.*debian/m.test(readFileSync('/etc/os-release', 'utf8'));
  } catch {
    return false;
  }
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

if (import.meta.main) process.exitCode = installMissing({ checkOnly: process.argv.includes('--check') });
