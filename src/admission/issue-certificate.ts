import { type CertificateRequest, createAuthority, issueCertificate, type Validity } from '../util/x509.ts';
import type { Issued } from './certificate-state.ts';

/** Issues keys, a CA named `authorityName` and a server certificate signed by it. */
export type CertificateIssuer = (
  authorityName: string,
  request: Pick<CertificateRequest, 'commonName' | 'hosts'>,
  validity: Validity,
) => Issued;

/** Uses the machine's randomness; the key of the CA is discarded. */
export const issueWithNewAuthority: CertificateIssuer = (authorityName, request, validity) => {
  const authority = createAuthority(authorityName, validity);
  const { certificatePem, privateKeyPem } = issueCertificate(authority, { ...request, usage: 'server' }, validity);
  return { caPem: authority.certificatePem, certificatePem, privateKeyPem };
};
