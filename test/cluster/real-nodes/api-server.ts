import { join } from 'node:path';
import type { CertificateAuthority } from '../../../src/util/x509.ts';
import { issueUser, writeSecret } from '../pki.ts';
import { proxySocketPath } from './hub.ts';

/**
 * What an API server needs for real nodes: an address that they can reach it at, a way to reach them, and credentials
 * for their kubelets.
 *
 * @param address the hub's, see {@link Hub}
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

/** Writes the files that these flags name, beside the PKI. */
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
