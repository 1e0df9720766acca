import { runCommand } from '../command.ts';

/** Whether this machine can run real nodes; `reason` is one line for a person. */
export type RealNodeSupport = { supported: true } | { supported: false; reason: string };

/** Programs that are called by name, and the Debian packages that have them. */
const COMMANDS = {
  unshare: 'util-linux',
  nsenter: 'util-linux',
  setpriv: 'util-linux',
  ip: 'iproute2',
  nft: 'nftables',
  runc: 'runc',
  busybox: 'busybox-static',
} as const;

/** Tried in namespaces that are discarded. Each line is a step; the text after # is the reason to report when it fails. */
const STEPS = `
mount -t tmpfs probe /tmp # no file system can be mounted
mkdir /tmp/lower /tmp/upper /tmp/work /tmp/merged /tmp/proc /tmp/bpf # no folder can be made
mount -t overlay -o lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work overlay /tmp/merged # the kernel has no overlayfs
mount -t proc proc /tmp/proc # no process namespace can have its own /proc
mount -t bpf bpf /tmp/bpf # the kernel has no bpf, or does not allow it
ip link add probe0 type veth peer name probe1 # the kernel has no veth
ip link add probe2 type bridge # the kernel has no bridge
ip tuntap add dev probe3 mode tap # there is no /dev/net/tun, or it is not allowed
nft add table ip probe # the kernel has no nftables
test -d /sys/fs/cgroup/memory -o -f /sys/fs/cgroup/cgroup.controllers # no cgroups are mounted at /sys/fs/cgroup
`;

/** Tries it out. Takes a few hundredths of a second and changes nothing. */
export async function realNodeSupport(): Promise<RealNodeSupport> {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return no(`real nodes need Linux on x86_64, this is ${process.platform} on ${process.arch}`);
  }
  if (process.getuid?.() !== 0) return no('real nodes need root: namespaces, mounts and bpf');
  for (const [command, debianPackage] of Object.entries(COMMANDS)) {
    const found = await runCommand('sh', ['-c', `command -v ${command}`]);
    if (found.code !== 0) return no(`real nodes need ${command}: install ${debianPackage}, or run make setup`);
  }
  const steps = STEPS.trim()
    .split('\n')
    .map((line) => {
      const [step = '', reason = ''] = line.split(' # ');
      return `${step} || { echo "${reason}"; exit 1; }`;
    });
  const { code, stdout, stderr } = await runCommand('unshare', [
    ...['--mount', '--propagation', 'private', '--net', '--pid', '--fork', '--ipc', '--uts'],
    ...['--', 'sh', '-c', steps.join('\n')],
  ]);
  if (code === 0) return { supported: true };
  const detail = stderr.trim().split('\n').at(-1) ?? '';
  return no(`${stdout.trim() || 'no namespaces can be made'}${detail === '' ? '' : ` (${detail})`}`);
}

function no(reason: string): RealNodeSupport {
  return { supported: false, reason };
}
