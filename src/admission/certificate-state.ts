import { createPrivateKey, X509Certificate } from 'node:crypto';

/** What the Secret `<controllerName>-webhook-cert` holds, as text. Upstream's keys, and the certificate that comes next. */
export interface CertificateData {
  /** CAs that the API server is to trust: one, two during a rotation. */
  'ca.crt': string;
  'tls.crt': string;
  'tls.key': string;
  /** Made together with a new CA; served once every API server trusts that. */
  'next.crt'?: string | undefined;
  'next.key'?: string | undefined;
}

/** A CA and a certificate of it. The CA's key signs once and is forgotten. */
export interface Issued {
  caPem: string;
  certificatePem: string;
  privateKeyPem: string;
}

export interface CertificatePolicy {
  /** Names and addresses under which the API server reaches us. */
  hosts: readonly string[];
  /** How long a new certificate lives; it is replaced when a third of that is left. */
  validityMs: number;
  /** How long every reader of Secret and webhook configurations may take to see a change. */
  settleMs: number;
}

const CLOCK_SLACK_MS = 60_000;

export type CertificateStep =
  /** Nothing usable is there: a new CA and certificate at once. `data` is what to write. */
  | { kind: 'replace'; because: string }
  /** The CA of the next certificate joins the bundle. */
  | { kind: 'announce'; because: string }
  /** The next certificate is served. */
  | { kind: 'switch' }
  /** CAs that no certificate needs any more leave the bundle. */
  | { kind: 'finish' }
  | { kind: 'wait'; forMs: number };

/**
 * What is to be done about the certificate now. A rotation goes through `announce`, `switch` and `finish`, each of them one
 * write of the Secret after which everybody has had time to see it. What is there says how far it has got, so any replica
 * can go on.
 *
 * @param data of the Secret; undefined when there is none.
 * @param unchangedForMs how long the Secret, and the bundles of the webhook configurations, have been as they are.
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
  if (lacking.length > 0) return { kind: 'announce', because: `the certificate is not for ${lacking.join(', ')}` };
  const leftMs = certificate.validToDate.getTime() - nowMs;
  // Made under another configuration; the slack is for another machine's clock.
  if (leftMs > policy.validityMs * 1.1 + CLOCK_SLACK_MS) {
    return { kind: 'announce', because: 'the certificate lives longer than webhook.certificateValidity' };
  }
  const renewInMs = leftMs - policy.validityMs / 3;
  if (renewInMs > 0) return { kind: 'wait', forMs: renewInMs };
  return { kind: 'announce', because: `the certificate ends at ${certificate.validToDate.toISOString()}` };
}

/** What is written for a step; undefined for one that writes nothing. `issue` is called where something new is needed. */
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
      // Another replica may show a certificate of the old CA until it has read this.
      const kept = certificatesOf(bundle).filter((authority) => authority.validToDate.getTime() > nowMs);
      const cas = [...kept.slice(-1).map((authority) => authority.toString()), issued.caPem];
      return { 'ca.crt': joinPem(cas), 'tls.crt': issued.certificatePem, 'tls.key': issued.privateKeyPem };
    }
    case 'announce': {
      const issued = issue();
      // Only the CA in use stays beside the new one: what an abandoned rotation left behind goes.
      const used = authorityOf(bundle, certificate);
      const cas = [...(used === undefined ? [] : [used.toString()]), issued.caPem];
      return {
        ...{ 'ca.crt': joinPem(cas), 'tls.crt': certificate, 'tls.key': key },
        ...{ 'next.crt': issued.certificatePem, 'next.key': issued.privateKeyPem },
      };
    }
    case 'switch':
      return { 'ca.crt': bundle, 'tls.crt': data?.['next.crt'] ?? '', 'tls.key': data?.['next.key'] ?? '' };
    case 'finish':
      return {
        ...{ 'ca.crt': joinPem([authorityOf(bundle, certificate)?.toString() ?? '']) },
        ...{ 'tls.crt': certificate, 'tls.key': key },
      };
    case 'wait':
      return undefined;
  }
}

/**
 * Why the certificate cannot be shown to the API server, whoever made it.
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
  if (certificate === undefined) return `${which}.crt is no certificate`;
  if (!isKeyOf(certificate, keyPem ?? '')) return `${which}.key is not the key of ${which}.crt`;
  if (certificate.validToDate.getTime() <= nowMs)
    return `${which}.crt ended at ${certificate.validToDate.toISOString()}`;
  const bundle = data['ca.crt'] ?? '';
  if (!options.checkAuthority) return undefined;
  if (bundle === '') return 'ca.crt is missing';
  if (authorityOf(bundle, certificatePem ?? '') === undefined) return `${which}.crt was not signed by a CA of ca.crt`;
  return undefined;
}

/** When a PEM certificate ends, in milliseconds since the epoch; undefined when it is none. */
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
