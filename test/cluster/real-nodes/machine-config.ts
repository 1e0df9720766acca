import { stringify } from 'yaml';
import type { CertificateAuthority } from '../../../src/util/x509.ts';
import { BUSYBOX_IMAGE } from '../../../tools/product/image/busybox.ts';
import { formatKubeconfig } from '../kubeconfig.ts';
import { issueUser } from '../pki.ts';
import { BRIDGE_PREFIX_LENGTH } from './hub.ts';

/** The programs that process 1 of a node keeps running. */
export type NodeUnit = 'containerd' | 'kubelet' | 'kube-proxy';

/** How kube-proxy implements Services. */
export type KubeProxyMode = 'nftables' | 'iptables';

/** The settings that a node's configuration depends on. */
export interface MachineSettings {
  name: string;
  instanceId: string;
  region: string;
  internalIps: readonly [string, ...string[]];
  /** Whether the node has to configure an interface on the hub's bridge. */
  isOnBridge: boolean;
  /** Only labels that a kubelet may set on its own node. */
  labels: Readonly<Record<string, string>>;
  maxPods: number;
  kubeProxyMode: KubeProxyMode;
  serverUrl: string;
  authority: CertificateAuthority;
  /** Folders on the machine. */
  folders: { disk: string; kubernetes: string; containerd: string };
  cgroup: string;
  bootId: string;
  logPath: (unit: NodeUnit) => string;
}

/** The node's interface on the hub's bridge. */
export const BRIDGE_INTERFACE = 'hub0';
export const CONTAINERD_SOCKET = '/run/containerd/containerd.sock';
/** Exists when the node has its sandbox image. It is on the node's disk, so only the first start waits for it. */
export const IMAGES_MARKER = '/var/lib/containerd/sandbox-image-is-there';

const KUBERNETES_BIN = '/opt/kubernetes/bin';
const CONTAINERD_BIN = '/opt/containerd/bin';
const KUBERNETES_ETC = '/etc/kubernetes';

/** The PATH of everything that runs in a node. */
export const NODE_PATH = [
  ...[CONTAINERD_BIN, KUBERNETES_BIN, '/usr/local/sbin', '/usr/local/bin'],
  ...['/usr/sbin', '/usr/bin', '/sbin', '/bin'],
].join(':');

/** The configuration of one node as programs/machine.go reads it. */
export function machineConfig(settings: MachineSettings): object {
  const { name, internalIps, folders, logPath } = settings;
  const [internalIp] = internalIps;
  const unit = (unitName: NodeUnit, command: readonly string[], after = '') => ({
    name: unitName,
    command,
    log: logPath(unitName),
    after,
  });
  const labels = Object.entries(settings.labels).map(([key, value]) => `${key}=${value}`);
  return {
    disk: folders.disk,
    diskSize: '16g',
    hostname: name,
    cgroup: settings.cgroup,
    folders: [
      { from: folders.kubernetes, to: KUBERNETES_BIN },
      { from: folders.containerd, to: CONTAINERD_BIN },
    ],
    files: {
      '/etc/machine-id': `${Buffer.from(settings.instanceId).toString('hex').padEnd(32, '0').slice(0, 32)}\n`,
      '/etc/hosts': `127.0.0.1 localhost\n${internalIp} ${name}\n`,
      '/etc/containerd/config.toml': CONTAINERD_CONFIG,
      [`${KUBERNETES_ETC}/ca.crt`]: settings.authority.certificatePem,
      [`${KUBERNETES_ETC}/kubelet.kubeconfig`]: kubeconfig(settings, `system:node:${name}`, ['system:nodes']),
      [`${KUBERNETES_ETC}/kubelet.yaml`]: stringify(kubeletConfig(settings)),
      [`${KUBERNETES_ETC}/kube-proxy.kubeconfig`]: kubeconfig(settings, 'system:kube-proxy', []),
      [`${KUBERNETES_ETC}/kube-proxy.yaml`]: stringify(kubeProxyConfig(settings)),
      // The machine's resolvers are not reachable from a node, and pods inherit this file.
      '/etc/resolv.conf': '',
      ...(settings.isOnBridge ? bridgeFiles(internalIp) : {}),
    },
    sysctls: {
      'kernel.random.boot_id': settings.bootId,
      // The values that a kubelet wants. It would otherwise set them for the whole machine.
      'vm.overcommit_memory': '1',
      'vm.panic_on_oom': '0',
      'kernel.panic': '10',
      'kernel.panic_on_oops': '1',
      'kernel.keys.root_maxkeys': '1000000',
      'kernel.keys.root_maxbytes': '25000000',
    },
    setup: [
      ['ip', 'link', 'set', 'lo', 'up'],
      ...(settings.isOnBridge
        ? [
            ['ip', '-batch', BRIDGE_COMMANDS],
            ['nft', '-f', BRIDGE_RULES],
          ]
        : []),
      ['sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward'],
      // As on real nodes. A copy: agents in containers could not follow a symbolic link.
      ['install', '-D', '--target-directory', '/opt/cni/bin', `${CONTAINERD_BIN}/portmap`],
    ],
    units: [
      unit('containerd', [`${CONTAINERD_BIN}/containerd`, '--config', '/etc/containerd/config.toml']),
      unit(
        'kubelet',
        [
          `${KUBERNETES_BIN}/kubelet`,
          `--config=${KUBERNETES_ETC}/kubelet.yaml`,
          `--kubeconfig=${KUBERNETES_ETC}/kubelet.kubeconfig`,
          `--hostname-override=${name}`,
          `--node-ip=${internalIps.join(',')}`,
          `--node-labels=${labels.join(',')}`,
        ],
        IMAGES_MARKER,
      ),
      unit('kube-proxy', [`${KUBERNETES_BIN}/kube-proxy`, `--config=${KUBERNETES_ETC}/kube-proxy.yaml`]),
    ],
    environment: [`PATH=${NODE_PATH}`, 'HOME=/root'],
  };
}

function kubeconfig({ serverUrl, authority }: MachineSettings, user: string, groups: readonly string[]): string {
  return formatKubeconfig({
    serverUrl,
    authorityPem: authority.certificatePem,
    identity: { kind: 'certificate', ...issueUser(authority, user, groups) },
  });
}

const BRIDGE_COMMANDS = '/run/bridge.ip';
const BRIDGE_RULES = '/run/bridge.nft';

function bridgeFiles(internalIp: string): Record<string, string> {
  return {
    [BRIDGE_COMMANDS]: [
      `addr add ${internalIp}/${BRIDGE_PREFIX_LENGTH} dev ${BRIDGE_INTERFACE}`,
      `link set ${BRIDGE_INTERFACE} up`,
      // A packet to a Service needs a route before it gets its real destination. This table comes after the main table, so it
      // matters only while no interface of the node has a default route.
      `route add default dev ${BRIDGE_INTERFACE} table default\n`,
    ].join('\n'),
    // The hub has no route back to pod addresses, so pod packets leave through the bridge with the node's address.
    [BRIDGE_RULES]: `table ip nodes_bridge {
  chain postrouting {
    type nat hook postrouting priority srcnat + 10;
    oifname "${BRIDGE_INTERFACE}" ip saddr != ${internalIp} masquerade
  }
}
`,
  };
}

function kubeletConfig({ instanceId, region, cgroup, maxPods }: MachineSettings): object {
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    containerRuntimeEndpoint: `unix://${CONTAINERD_SOCKET}`,
    providerID: `${region}.${instanceId}`,
    maxPods,
    authentication: { anonymous: { enabled: false }, x509: { clientCAFile: `${KUBERNETES_ETC}/ca.crt` } },
    authorization: { mode: 'Webhook' },
    clusterDomain: 'cluster.local',
    clusterDNS: ['10.96.0.10'],
    cgroupDriver: 'cgroupfs',
    cgroupRoot: `/${cgroup}`,
    enforceNodeAllocatable: [],
    failCgroupV1: false,
    failSwapOn: false,
    localStorageCapacityIsolation: false,
    // Would need iptables, and only serves programs that rely on the kubelet's chains.
    makeIPTablesUtilChains: false,
    // Lower values need privileges.
    oomScoreAdj: 0,
    // The disk is the machine's memory. Nothing must be evicted or collected because it looks full.
    imageGCHighThresholdPercent: 100,
    imageGCLowThresholdPercent: 99,
    evictionHard: {
      'memory.available': '0%',
      'nodefs.available': '0%',
      'nodefs.inodesFree': '0%',
      'imagefs.available': '0%',
      'imagefs.inodesFree': '0%',
    },
    eventRecordQPS: 0,
  };
}

function kubeProxyConfig({ name, kubeProxyMode }: MachineSettings): object {
  return {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    mode: kubeProxyMode,
    hostnameOverride: name,
    clientConnection: { kubeconfig: `${KUBERNETES_ETC}/kube-proxy.kubeconfig` },
    healthzBindAddress: '127.0.0.1:10256',
    metricsBindAddress: '127.0.0.1:10249',
    oomScoreAdj: 0,
    // Some of these belong to the whole machine.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
    [kubeProxyMode]: { minSyncPeriod: '100ms', syncPeriod: '30s' },
  };
}

const CONTAINERD_CONFIG = `version = 3
disabled_plugins = [
  'io.containerd.nri.v1.nri',
  'io.containerd.snapshotter.v1.blockfile',
  'io.containerd.snapshotter.v1.btrfs',
  'io.containerd.snapshotter.v1.devmapper',
  'io.containerd.snapshotter.v1.erofs',
  'io.containerd.snapshotter.v1.zfs',
  'io.containerd.internal.v1.tracing',
  'io.containerd.tracing.processor.v1.otlp',
]

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '${BUSYBOX_IMAGE}'

[plugins.'io.containerd.cri.v1.runtime']
# Without CAP_SYS_RESOURCE runc cannot make a process less likely to be killed than it is itself.
restrict_oom_score_adj = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
# No plugin "loopback" is needed.
use_internal_loopback = true

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
`;
