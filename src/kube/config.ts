import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Clock } from '../util/clock.ts';
import { type Credentials, credentialsOf, readPem, readText, tokenFileAuth } from './credentials.ts';
import { KubeConfigError } from './errors.ts';
import { type ClusterEntry, selectContext } from './kubeconfig-file.ts';

const SERVICE_ACCOUNT_DIR = '/var/run/secrets/kubernetes.io/serviceaccount';

/** What a TLS connection needs; empty for `http:`. The names are those of `node:tls`. */
export interface TlsMaterial {
  ca?: string;
  cert?: string;
  key?: string;
  servername?: string;
  rejectUnauthorized?: boolean;
}

/** Where the API server is, and how to prove who we are. */
export interface KubeConfig {
  /** Without a trailing slash; may carry a path. */
  serverUrl: string;
  /** Of the kubeconfig's context, or of the pod. */
  namespace: string;
  /** For every request, such as `impersonate-user`. */
  headers: Readonly<Record<string, string>>;
  auth: Credentials['auth'];
  /** Read again for each connection, so that rotated files take effect. */
  tls: () => Promise<TlsMaterial>;
}

export interface LoadKubeConfigOptions {
  /** A kubeconfig file. */
  path?: string | undefined;
  /** Overrides the file's current context. */
  context?: string | undefined;
  env?: Readonly<Record<string, string | undefined>>;
  clock: Clock;
  /** Where the kubelet puts the pod's token. */
  serviceAccountDir?: string;
}

/**
 * Finds and reads the configuration: `path`, else the files of `KUBECONFIG`, else the service account of the pod, else
 * `~/.kube/config`; the order of controller-runtime. Certificates are read once here, so that an error shows at startup.
 *
 * @throws KubeConfigError in one line that names the file, the field and why
 */
export async function loadKubeConfig(options: LoadKubeConfigOptions): Promise<KubeConfig> {
  const { env = process.env, clock, path, context } = options;
  const files = path === undefined ? (env['KUBECONFIG'] ?? '').split(delimiter).filter((file) => file !== '') : [path];
  if (files.length === 0) {
    const host = env['KUBERNETES_SERVICE_HOST'];
    const port = env['KUBERNETES_SERVICE_PORT'];
    if (host && port) return inClusterConfig(host, port, options.serviceAccountDir ?? SERVICE_ACCOUNT_DIR, clock);
    files.push(join(env['HOME'] ?? homedir(), '.kube', 'config'));
  }
  const { file, cluster, user, namespace } = await selectContext(files, context);
  if (cluster['proxy-url']) {
    throw new KubeConfigError(`kubeconfig ${file}: proxy-url is not supported; connect to the API server directly`);
  }
  const credentials = credentialsOf(user, file, clock);
  const config: KubeConfig = {
    serverUrl: cluster.server.replace(/\/+$/, ''),
    namespace,
    headers: user.as ? { 'impersonate-user': user.as } : {},
    auth: credentials.auth,
    tls: () => tlsOf(file, cluster, credentials),
  };
  await config.tls();
  return config;
}

async function tlsOf(file: string, cluster: ClusterEntry, credentials: Credentials): Promise<TlsMaterial> {
  if (cluster.server.startsWith('http:')) return {};
  const { 'certificate-authority-data': caData, 'certificate-authority': caPath } = cluster;
  const ca = await readPem(file, 'certificate-authority', caData, caPath);
  return {
    ...(await credentials.clientCertificate()),
    ...(ca === undefined ? {} : { ca }),
    ...(cluster['tls-server-name'] ? { servername: cluster['tls-server-name'] } : {}),
    ...(cluster['insecure-skip-tls-verify'] ? { rejectUnauthorized: false } : {}),
  };
}

async function inClusterConfig(host: string, port: string, dir: string, clock: Clock): Promise<KubeConfig> {
  const readCa = () => readText(join(dir, 'ca.crt'), 'service account CA');
  await readCa();
  const auth = tokenFileAuth(join(dir, 'token'), clock);
  await auth();
  return {
    serverUrl: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    namespace: (await readText(join(dir, 'namespace'), 'service account namespace')).trim(),
    headers: {},
    auth,
    tls: async () => ({ ca: await readCa() }),
  };
}
