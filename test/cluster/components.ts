import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { CertificateAuthority } from '../../src/util/x509.ts';
import type { ComponentSpec } from '../../tools/machine/process.ts';
import type { ComponentName, KubeBinaries } from '../../tools/programs/kubernetes.ts';
import { formatKubeconfig } from './kubeconfig.ts';
import { issueUser, pkiPaths, writeSecret } from './pki.ts';

/** Components of a control plane. The others are for nodes and people. */
export type ControlPlaneComponent = Exclude<ComponentName, 'kubelet' | 'kube-proxy' | 'kubectl'>;

export interface ControlPlanePorts {
  etcd: number;
  apiServer: number;
  controllerManager: number;
  scheduler: number;
}

export interface ControlPlaneSettings {
  stateDir: string;
  binaries: KubeBinaries;
  ports: ControlPlanePorts;
  /** Requests per second of the controller-manager and of the scheduler. */
  kubeApiQps: number;
  kubeApiBurst: number;
  /** Appended to our flags, so these take precedence. */
  extraFlags: Partial<Record<ControlPlaneComponent, readonly string[]>>;
}

export function serverUrl(ports: ControlPlanePorts): string {
  return `https://127.0.0.1:${ports.apiServer}`;
}

/** How to start a component. @param settings the settings that differ between clusters. */
export function componentSpec(component: ControlPlaneComponent, settings: ControlPlaneSettings): ComponentSpec {
  const flags = {
    etcd: etcdFlags,
    'kube-apiserver': apiServerFlags,
    'kube-controller-manager': controllerManagerFlags,
    'kube-scheduler': schedulerFlags,
  }[component](settings);
  return {
    name: component,
    command: settings.binaries.path(component),
    args: [...flags, ...(settings.extraFlags[component] ?? [])],
    logPath: join(settings.stateDir, 'logs', `${component}.log`),
    homeDirectory: settings.stateDir,
  };
}

/** Writes the files, besides the PKI, that the components read at their start. */
export async function writeComponentFiles(
  settings: ControlPlaneSettings,
  authority: CertificateAuthority,
): Promise<void> {
  await mkdir(join(settings.stateDir, 'logs'), { mode: 0o700 });
  // The bootstrap policy has ClusterRoleBindings for these names.
  for (const component of ['kube-controller-manager', 'kube-scheduler'] as const) {
    const pair = issueUser(authority, `system:${component}`, []);
    const kubeconfig = formatKubeconfig({
      serverUrl: serverUrl(settings.ports),
      authorityPem: authority.certificatePem,
      identity: { kind: 'certificate', ...pair },
    });
    await writeSecret(kubeconfigPath(settings, component), kubeconfig);
  }
  await writeSecret(
    schedulerConfigPath(settings),
    // JSON is YAML. This has to be a file: the flags for these settings are deprecated.
    JSON.stringify({
      apiVersion: 'kubescheduler.config.k8s.io/v1',
      kind: 'KubeSchedulerConfiguration',
      leaderElection: { leaderElect: false },
      clientConnection: {
        kubeconfig: kubeconfigPath(settings, 'kube-scheduler'),
        qps: settings.kubeApiQps,
        burst: settings.kubeApiBurst,
      },
    }),
  );
}

function etcdFlags({ stateDir, ports }: ControlPlaneSettings): string[] {
  const url = `http://127.0.0.1:${ports.etcd}`;
  return [
    `--data-dir=${join(stateDir, 'etcd')}`,
    `--listen-client-urls=${url}`,
    `--advertise-client-urls=${url}`,
    // A single member has no peers, but cannot disable the peer listener.
    '--listen-peer-urls=http://127.0.0.1:0',
    // The data is discarded at the end, so waiting for the disk would only slow down the tests.
    '--unsafe-no-fsync',
    '--log-level=warn',
  ];
}

function apiServerFlags({ stateDir, ports }: ControlPlaneSettings): string[] {
  const pki = pkiPaths(stateDir);
  return [
    `--etcd-servers=http://127.0.0.1:${ports.etcd}`,
    '--bind-address=127.0.0.1',
    `--secure-port=${ports.apiServer}`,
    '--advertise-address=127.0.0.1',
    // Endpoints must not have loopback addresses, so the reconciler would keep failing.
    '--endpoint-reconciler-type=none',
    `--tls-cert-file=${pki.serverCertificate}`,
    `--tls-private-key-file=${pki.serverKey}`,
    `--client-ca-file=${pki.authorityCertificate}`,
    '--authorization-mode=Node,RBAC',
    '--enable-admission-plugins=NodeRestriction',
    '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
    `--service-account-key-file=${pki.serviceAccountPublicKey}`,
    `--service-account-signing-key-file=${pki.serviceAccountPrivateKey}`,
    '--service-cluster-ip-range=10.96.0.0/16',
    // Service addresses do not work here, so webhooks are called at their endpoints.
    '--enable-aggregator-routing=true',
    '--allow-privileged=true',
  ];
}

function controllerManagerFlags(settings: ControlPlaneSettings): string[] {
  const pki = pkiPaths(settings.stateDir);
  const kubeconfig = kubeconfigPath(settings, 'kube-controller-manager');
  return [
    `--kubeconfig=${kubeconfig}`,
    `--authentication-kubeconfig=${kubeconfig}`,
    `--authorization-kubeconfig=${kubeconfig}`,
    '--bind-address=127.0.0.1',
    `--secure-port=${settings.ports.controllerManager}`,
    '--leader-elect=false',
    '--use-service-account-credentials=true',
    `--service-account-private-key-file=${pki.serviceAccountPrivateKey}`,
    `--root-ca-file=${pki.authorityCertificate}`,
    `--kube-api-qps=${settings.kubeApiQps}`,
    `--kube-api-burst=${settings.kubeApiBurst}`,
  ];
}

function schedulerFlags(settings: ControlPlaneSettings): string[] {
  const kubeconfig = kubeconfigPath(settings, 'kube-scheduler');
  return [
    `--config=${schedulerConfigPath(settings)}`,
    `--authentication-kubeconfig=${kubeconfig}`,
    `--authorization-kubeconfig=${kubeconfig}`,
    '--bind-address=127.0.0.1',
    `--secure-port=${settings.ports.scheduler}`,
  ];
}

function kubeconfigPath(settings: ControlPlaneSettings, component: ControlPlaneComponent): string {
  return join(settings.stateDir, 'pki', `${component}.kubeconfig`);
}

function schedulerConfigPath(settings: ControlPlaneSettings): string {
  return join(settings.stateDir, 'pki', 'kube-scheduler.json');
}
