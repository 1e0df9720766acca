import { join } from 'node:path';
import type { CertificateAuthority } from '../../../src/util/x509.ts';
import { issueUser, writeSecret } from '../pki.ts';
import { proxySocketPath } from './hub.ts';

/**
 * Flags that let the API server work with real nodes: an address at which nodes reach it, a way to reach the nodes, and
 * credentials for their kubelets.
 *
 * @param address address of the hub, see {@link Hub}
 */
export function apiServerFlagsForNodes(stateDir: string, address: string): string[] {
  const { certificate, key, egress } = paths(stateDir);
  return [
    `--advertise-address=${address}`,
    '--endpoint-reconciler-type=lease',
    `--egress-selector-config-file=${egress}`,
    `--kubelet-client-certificate=${certificate}`,
    `--kubelet-client-key=${key}`,
    '--kubelet-preferred-address-types=InternalIP',
  ];
}

/** Writes the files that these flags name, besides the PKI. */
export async function writeFilesForNodes(stateDir: string, authority: CertificateAuthority): Promise<void> {
  const { certificate, key, egress } = paths(stateDir);
  const client = issueUser(authority, 'kube-apiserver-kubelet-client', ['system:masters']);
  const connection = {
    proxyProtocol: 'HTTPConnect',
    transport: { uds: { udsName: proxySocketPath(stateDir) } },
  };
  await Promise.all([
    writeSecret(certificate, client.certificatePem),
    writeSecret(key, client.privateKeyPem),
    writeSecret(
      egress,
      // JSON is YAML.
      JSON.stringify({
        apiVersion: 'apiserver.k8s.io/v1beta1',
        kind: 'EgressSelectorConfiguration',
        egressSelections: [{ name: 'cluster', connection }],
      }),
    ),
  ]);
}

function paths(stateDir: string): { certificate: string; key: string; egress: string } {
  const directory = join(stateDir, 'pki');
  return {
    certificate: join(directory, 'kubelet-client.crt'),
    key: join(directory, 'kubelet-client.key'),
    egress: join(directory, 'egress-selector.json'),
  };
}
