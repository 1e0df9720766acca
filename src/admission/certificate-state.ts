import { createPrivateKey, X509Certificate } from 'node:crypto';

/** Contents of the Secret `<controllerName>-webhook-cert` as text: upstream's keys, plus the next certificate. */
export interface CertificateData {
  /** CAs that the API server trusts: one, or two during a rotation. */
  'ca.crt': string;
  'tls.crt': string;
  'tls.key': string;
  /** Issued together with a new CA; served once every API server trusts that CA. */
  'next.crt'?: string | undefined;
  'next.key'?: string | undefined;
}

/** A CA and a certificate that it signed. The CA's key signs once and is discarded. */
export interface Issued {
  caPem: string;
  certificatePem: string;
  privateKeyPem: string;
}

export interface CertificatePolicy {
  /** Names and addresses by which the API server reaches us. */
  hosts: readonly string[];
  /** Lifetime of a new certificate; it is replaced when a third of it is left. */
  validityMs: number;
  /** How long a change of Secret and webhook configurations may take to reach every reader. */
  settleMs: number;
}

const CLOCK_SLACK_MS = 60_000;

export type CertificateStep =
  /** Nothing usable exists: issue a new CA and certificate at once. `data` is what to write. */
  | { kind: 'replace'; because: string }
  /** Add the CA of the next certificate to the bundle. */
  | { kind: 'announce'; because: string }
  /** Serve the next certificate. */
  | { kind: 'switch' }
  /** Remove CAs that no certificate needs any more from the bundle. */
  | { kind: 'finish' }
  | { kind: 'wait'; forMs: number };

/**
 * The next step for the certificate. A rotation goes through `announce`, `switch` and `finish`. Each is one write of
 * the Secret, after which everyone gets time to see it. The Secret shows the progress, so any replica can continue.
 *
 * @param data of the Secret; undefined when it does not exist.
 * @param unchangedForMs how long the Secret and the bundles of the webhook configurations have been unchanged.
 */
export function nextCertificateStep(
  data: Partial<CertificateData> | undefined,
  policy: CertificatePolicy,
  nowMs: number,
  unchangedForMs: number,
): CertificateStep {
  if (data === undefined) return { kind: 'replace', because: 'there is no certificate yet' };
  const problem = problemOf(data, 'tls', nowMs);
  if (problem !== undefined) return { kind: 'replace', because: problem };
  const settleMs = policy.settleMs - unchangedForMs;
  if (data['next.crt'] !== undefined || data['next.key'] !== undefined) {
    const nextProblem = problemOf(data, 'next', nowMs);
    if (nextProblem !== undefined) return { kind: 'announce', because: nextProblem };
    return settleMs > 0 ? { kind: 'wait', forMs: settleMs } : { kind: 'switch' };
  }
  if (certificatesOf(data['ca.crt']).length > 1) {
    return settleMs > 0 ? { kind: 'wait', forMs: settleMs } : { kind: 'finish' };
  }
  const certificate = new X509Certificate(data['tls.crt'] ?? '');
  const lacking = policy.hosts.filter((host) => !covers(certificate, host));
  if (lacking.length > 0)
    return { kind: 'announce', because: `the certificate is not valid for ${lacking.join(', ')}` };
  const leftMs = certificate.validToDate.getTime() - nowMs;
  // Issued under another configuration; the slack allows for another machine's clock.
  if (leftMs > policy.validityMs * 1.1 + CLOCK_SLACK_MS) {
    return { kind: 'announce', because: 'the certificate is valid longer than webhook.certificateValidity' };
  }
  const renewInMs = leftMs - policy.validityMs / 3;
  if (renewInMs > 0) return { kind: 'wait', forMs: renewInMs };
  return { kind: 'announce', because: `the certificate expires at ${certificate.validToDate.toISOString()}` };
}

/**
 * The data to write for a step; undefined for a step that writes nothing. `issue` is called when a new certificate is
 * needed.
 */
export function dataAfter(
  step: CertificateStep,
  data: Partial<CertificateData> | undefined,
  issue: () => Issued,
  nowMs: number,
): CertificateData | undefined {
  const [bundle = '', certificate = '', key = ''] = [data?.['ca.crt'], data?.['tls.crt'], data?.['tls.key']];
  switch (step.kind) {
    case 'replace': {
      const issued = issue();
      // Until it has read this write, another replica may serve a certificate of the old CA.
      const kept = certificatesOf(bundle).filter((authority) => authority.validToDate.getTime() > nowMs);
      const cas = [...kept.slice(-1).map((authority) => authority.toString()), issued.caPem];
      return { 'ca.crt': joinPem(cas), 'tls.crt': issued.certificatePem, 'tls.key': issued.privateKeyPem };
    }
    case 'announce': {
      const issued = issue();
      // Only the CA in use stays besides the new one; leftovers of an abandoned rotation are dropped.
      const used = authorityOf(bundle, certificate);
      const cas = [...(used === undefined ? [] : [used.toString()]), issued.caPem];
      return {
        'ca.crt': joinPem(cas),
        'tls.crt': certificate,
        'tls.key': key,
        'next.crt': issued.certificatePem,
        'next.key': issued.privateKeyPem,
      };
    }
    case 'switch':
      return { 'ca.crt': bundle, 'tls.crt': data?.['next.crt'] ?? '', 'tls.key': data?.['next.key'] ?? '' };
    case 'finish':
      return {
        'ca.crt': joinPem([authorityOf(bundle, certificate)?.toString() ?? '']),
        'tls.crt': certificate,
        'tls.key': key,
      };
    case 'wait':
      return undefined;
  }
}

/**
 * Why the certificate cannot be served, whoever issued it.
 *
 * @returns one line, or undefined when it can.
 */
export function problemOf(
  data: Partial<CertificateData>,
  which: 'tls' | 'next',
  nowMs: number,
  options: { checkAuthority: boolean } = { checkAuthority: true },
): string | undefined {
  const [certificatePem, keyPem] = [data[`${which}.crt`], data[`${which}.key`]];
  for (const [key, value] of Object.entries({ [`${which}.crt`]: certificatePem, [`${which}.key`]: keyPem })) {
    if (value === undefined || value === '') return `${key} is missing`;
  }
  const certificate = readCertificate(certificatePem ?? '');
  if (certificate === undefined) return `${which}.crt is not a certificate`;
  if (!isKeyOf(certificate, keyPem ?? '')) return `${which}.key is not the key of ${which}.crt`;
  if (certificate.validToDate.getTime() <= nowMs)
    return `${which}.crt expired at ${certificate.validToDate.toISOString()}`;
  const bundle = data['ca.crt'] ?? '';
  if (!options.checkAuthority) return undefined;
  if (bundle === '') return 'ca.crt is missing';
  if (authorityOf(bundle, certificatePem ?? '') === undefined) return `${which}.crt was not signed by a CA of ca.crt`;
  return undefined;
}

/** Expiry of a PEM certificate, in epoch milliseconds; undefined when it is not a certificate. */
export function notAfterMs(certificatePem: string): number | undefined {
  return readCertificate(certificatePem)?.validToDate.getTime();
}

function authorityOf(bundle: string, certificatePem: string): X509Certificate | undefined {
  const certificate = readCertificate(certificatePem);
  return certificatesOf(bundle).find(
    (authority) => certificate?.checkIssued(authority) === true && certificate.verify(authority.publicKey),
  );
}

function certificatesOf(bundle: string | undefined): X509Certificate[] {
  const pems = bundle?.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return pems.flatMap((pem) => readCertificate(pem) ?? []);
}

function readCertificate(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
}

function isKeyOf(certificate: X509Certificate, keyPem: string): boolean {
  try {
    return certificate.checkPrivateKey(createPrivateKey(keyPem));
  } catch {
    return false;
  }
}

function covers(certificate: X509Certificate, host: string): boolean {
  return certificate.checkHost(host) !== undefined || certificate.checkIP(host) !== undefined;
}

function joinPem(pems: string[]): string {
  return pems.map((pem) => `${pem.trimEnd()}\n`).join('');
}
