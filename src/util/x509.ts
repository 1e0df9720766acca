import { createHash, createPublicKey, generateKeyPairSync, randomBytes, sign, X509Certificate } from 'node:crypto';
import { parseIp } from './ip.ts';

/** A certificate with its private key, both PEM. */
export interface KeyPair {
  certificatePem: string;
  privateKeyPem: string;
}

/** Signs others; `commonName` is repeated as their issuer. */
export interface CertificateAuthority extends KeyPair {
  commonName: string;
}

export interface CertificateRequest {
  commonName: string;
  /** Kubernetes reads them as groups. */
  organizations?: readonly string[];
  usage: 'server' | 'client';
  /** DNS names and IP addresses of a server. */
  hosts?: readonly string[];
}

/** In milliseconds since the epoch; certificates have a resolution of seconds. */
export interface Validity {
  notBeforeMs: number;
  notAfterMs: number;
}

const OID = {
  commonName: '2.5.4.3',
  organization: '2.5.4.10',
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAlternativeName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
} as const;

/**
 * Makes a self-signed authority.
 *
 * This code encodes certificates itself because Node can only read X.509, and neither the image nor every test machine has
 * openssl. P-256 throughout: generating an RSA key would take longer than everything else.
 */
export function createAuthority(commonName: string, validity: Validity): CertificateAuthority {
  const { privateKeyPem, spki } = newKey();
  const extensions = [
    extension(OID.basicConstraints, true, sequence(boolean(true))),
    // keyCertSign and cRLSign
    extension(OID.keyUsage, true, element(0x03, Buffer.from([1, 0x06]))),
    extension(OID.subjectKeyIdentifier, false, element(0x04, keyIdentifier(spki))),
  ];
  const subject = distinguishedName(commonName, []);
  const certificatePem = certificate({
    issuer: subject,
    subject,
    spki,
    extensions,
    validity,
    signingKeyPem: privateKeyPem,
  });
  return { commonName, privateKeyPem, certificatePem };
}

/** Creates a key and a certificate for it, signed by `authority`. */
export function issueCertificate(
  authority: CertificateAuthority,
  request: CertificateRequest,
  validity: Validity,
): KeyPair {
  const { privateKeyPem, spki } = newKey();
  const authoritySpki = new X509Certificate(authority.certificatePem).publicKey.export({ type: 'spki', format: 'der' });
  const extensions = [
    extension(OID.basicConstraints, true, sequence()),
    // digitalSignature
    extension(OID.keyUsage, true, element(0x03, Buffer.from([7, 0x80]))),
    extension(OID.extendedKeyUsage, false, sequence(oid(request.usage === 'server' ? OID.serverAuth : OID.clientAuth))),
    extension(OID.authorityKeyIdentifier, false, sequence(element(0x80, keyIdentifier(authoritySpki)))),
  ];
  if (request.hosts !== undefined && request.hosts.length > 0) {
    extensions.push(extension(OID.subjectAlternativeName, false, sequence(...request.hosts.map(generalName))));
  }
  const issuer = distinguishedName(authority.commonName, []);
  const subject = distinguishedName(request.commonName, request.organizations ?? []);
  const signingKeyPem = authority.privateKeyPem;
  return { privateKeyPem, certificatePem: certificate({ issuer, subject, spki, extensions, validity, signingKeyPem }) };
}

/** Creates a P-256 key without a certificate; PEM of both halves. */
export function createSigningKey(): { privateKeyPem: string; publicKeyPem: string } {
  const { privateKeyPem } = newKey();
  return {
    privateKeyPem,
    publicKeyPem: createPublicKey(privateKeyPem).export({ type: 'spki', format: 'pem' }).toString(),
  };
}

function newKey(): { privateKeyPem: string; spki: Buffer } {
  const pair = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { type: 'spki', format: 'der' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  return { privateKeyPem: pair.privateKey, spki: pair.publicKey };
}

function certificate(parts: {
  issuer: Buffer;
  subject: Buffer;
  spki: Buffer;
  extensions: Buffer[];
  validity: Validity;
  signingKeyPem: string;
}): string {
  const { issuer, subject, spki, extensions, validity, signingKeyPem } = parts;
  const algorithm = sequence(oid(OID.ecdsaWithSha256));
  const toBeSigned = sequence(
    element(0xa0, integer(Buffer.from([2]))),
    // The leading byte keeps the number positive and its encoding minimal.
    integer(Buffer.concat([Buffer.from([0x40]), randomBytes(15)])),
    algorithm,
    issuer,
    sequence(time(validity.notBeforeMs), time(validity.notAfterMs)),
    subject,
    spki,
    element(0xa3, sequence(...extensions)),
  );
  const der = sequence(toBeSigned, algorithm, bitString(sign('sha256', toBeSigned, signingKeyPem)));
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

function distinguishedName(commonName: string, organizations: readonly string[]): Buffer {
  const part = (type: string, value: string) =>
    element(0x31, sequence(oid(type), element(0x0c, Buffer.from(value, 'utf8'))));
  return sequence(...organizations.map((value) => part(OID.organization, value)), part(OID.commonName, commonName));
}

function generalName(host: string): Buffer {
  const address = parseIp(host);
  if (address !== undefined) return element(0x87, address.bytes);
  return element(0x82, Buffer.from(host, 'ascii'));
}

function extension(type: string, critical: boolean, value: Buffer): Buffer {
  return sequence(oid(type), ...(critical ? [boolean(true)] : []), element(0x04, value));
}

/** RFC 5280 §4.2.1.2 (1): SHA-1 of the public key's bits. A P-256 point is the last 65 bytes of its SPKI. */
function keyIdentifier(spki: Buffer): Buffer {
  return createHash('sha1').update(spki.subarray(-65)).digest();
}

function time(epochMs: number): Buffer {
  const digits = new Date(epochMs).toISOString().replace(/[-:T]|\.\d{3}/g, '');
  // RFC 5280 §4.1.2.5: two-digit years until 2049.
  return digits < '2050' ? element(0x17, Buffer.from(digits.slice(2))) : element(0x18, Buffer.from(digits));
}

function boolean(value: boolean): Buffer {
  return element(0x01, Buffer.from([value ? 0xff : 0]));
}

function integer(bytes: Buffer): Buffer {
  return element(0x02, bytes);
}

function bitString(bytes: Buffer): Buffer {
  return element(0x03, Buffer.concat([Buffer.from([0]), bytes]));
}

function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  return element(0x06, Buffer.from([first * 40 + second, ...rest.flatMap(base128)]));
}

function base128(value: number): number[] {
  const bytes = [value & 0x7f];
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) bytes.unshift((rest & 0x7f) | 0x80);
  return bytes;
}

function sequence(...parts: Buffer[]): Buffer {
  return element(0x30, ...parts);
}

function element(tag: number, ...parts: Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  if (content.length < 0x80) return Buffer.concat([Buffer.from([tag, content.length]), content]);
  const length: number[] = [];
  for (let rest = content.length; rest > 0; rest >>>= 8) length.unshift(rest & 0xff);
  return Buffer.concat([Buffer.from([tag, 0x80 | length.length, ...length]), content]);
}
