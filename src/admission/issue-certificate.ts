import { type CertificateRequest, createAuthority, issueCertificate, type Validity } from '../util/x509.ts';
import type { Issued } from './certificate-state.ts';

/** Makes keys, a CA that is known by `authorityName`, and a server's certificate of it. */
export type CertificateIssuer = (
  authorityName: string,
  request: Pick<CertificateRequest, 'commonName' | 'hosts'>,
  validity: Validity,
) => Issued;

/** With keys from the machine's randomness; that of the CA is forgotten. */
export const issueWithNewAuthority: CertificateIssuer = (authorityName, request, validity) => {
  const authority = createAuthority(authorityName, validity);
  const { certificatePem, privateKeyPem } = issueCertificate(authority, { ...request, usage: 'server' }, validity);
  return { caPem: authority.certificatePem, certificatePem, privateKeyPem };
};
