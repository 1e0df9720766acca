import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type CertificateAuthority,
  createAuthority,
  createSigningKey,
  issueCertificate,
  type KeyPair,
  type Validity,
} from '../../src/util/x509.ts';

const AUTHORITY_NAME = 'terway-test-ca';

/** First address of the Service range, where pods expect the API server. */
const KUBERNETES_SERVICE_ADDRESS = '10.96.0.1';

/** Files that the components read. */
export interface PkiPaths {
  authorityCertificate: string;
  authorityKey: string;
  serverCertificate: string;
  serverKey: string;
  serviceAccountPrivateKey: string;
  serviceAccountPublicKey: string;
}

export function pkiPaths(stateDir: string): PkiPaths {
  const directory = join(stateDir, 'pki');
  return {
    authorityCertificate: join(directory, 'ca.crt'),
    authorityKey: join(directory, 'ca.key'),
    serverCertificate: join(directory, 'apiserver.crt'),
    serverKey: join(directory, 'apiserver.key'),
    serviceAccountPrivateKey: join(directory, 'service-account.key'),
    serviceAccountPublicKey: join(directory, 'service-account.pub'),
  };
}

/**
 * Writes a new authority, the API server's certificate and the signing key of service accounts below `stateDir`.
 *
 * @param hosts further DNS names and IPv4 addresses for the API server's certificate.
 */
export async function createPki(stateDir: string, hosts: readonly string[]): Promise<CertificateAuthority> {
  const paths = pkiPaths(stateDir);
  await mkdir(join(stateDir, 'pki'), { mode: 0o700 });
  const authority = createAuthority(AUTHORITY_NAME, validityFromNow());
  const server = issueCertificate(
    authority,
    {
      commonName: 'kube-apiserver',
      usage: 'server',
      hosts: [
        'localhost',
        'kubernetes',
        'kubernetes.default',
        'kubernetes.default.svc',
        'kubernetes.default.svc.cluster.local',
        '127.0.0.1',
        KUBERNETES_SERVICE_ADDRESS,
        ...hosts,
      ],
    },
    validityFromNow(),
  );
  const serviceAccount = createSigningKey();
  await Promise.all([
    writeSecret(paths.authorityCertificate, authority.certificatePem),
    writeSecret(paths.authorityKey, authority.privateKeyPem),
    writeSecret(paths.serverCertificate, server.certificatePem),
    writeSecret(paths.serverKey, server.privateKeyPem),
    writeSecret(paths.serviceAccountPrivateKey, serviceAccount.privateKeyPem),
    writeSecret(paths.serviceAccountPublicKey, serviceAccount.publicKeyPem),
  ]);
  return authority;
}

/** Reads the authority that {@link createPki} wrote. */
export async function loadAuthority(stateDir: string): Promise<CertificateAuthority> {
  const paths = pkiPaths(stateDir);
  const [certificatePem, privateKeyPem] = await Promise.all([
    readFile(paths.authorityCertificate, 'utf8'),
    readFile(paths.authorityKey, 'utf8'),
  ]);
  return { commonName: AUTHORITY_NAME, certificatePem, privateKeyPem };
}

/** A client certificate that the API server accepts for `user`, a member of `groups`. */
export function issueUser(authority: CertificateAuthority, user: string, groups: readonly string[]): KeyPair {
  return issueCertificate(authority, { commonName: user, organizations: groups, usage: 'client' }, validityFromNow());
}

/** Writes a file that only its owner may read. */
export async function writeSecret(path: string, content: string): Promise<void> {
  await writeFile(path, content, { mode: 0o600 });
}

/** Valid for ten years. Begins an hour ago, in case the clock of the machine was just set. */
function validityFromNow(): Validity {
  const now = Date.now();
  return { notBeforeMs: now - 3_600_000, notAfterMs: now + 3650 * 86_400_000 };
}
