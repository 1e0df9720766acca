import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { gatewayErrors } from './gateway-errors.ts';
import type { NonceStore } from './nonce-store.ts';
import { percentEncode } from './percent-encode.ts';
import type { FlatParams } from './rpc-params.ts';

/** An access key that the simulator knows. */
export interface AccessKey {
  accessKeyId: string;
  accessKeySecret: string;
  /** For a temporary key (STS): requests must have exactly this token. */
  securityToken?: string | undefined;
}

/** The parts of a request that verification needs. */
export interface SignedRequest {
  method: string;
  path: string;
  /** Parameters of the query alone, decoded. */
  query: FlatParams;
  /** Parameters of query and form body. */
  params: FlatParams;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

export interface Verifier {
  accessKeys: ReadonlyMap<string, AccessKey>;
  nonces: NonceStore;
  nowMs: number;
}

/** Requests whose time differs by more than this are refused. */
const MAX_SKEW_MS = 15 * 60 * 1000;

const ACS3 = 'ACS3-HMAC-SHA256';

/** Headers that the scheme requires to be signed. */
const MUST_BE_SIGNED = [
  'host',
  'x-acs-action',
  'x-acs-content-sha256',
  'x-acs-date',
  'x-acs-signature-nonce',
  'x-acs-version',
];

/**
 * Verifies an ACS3-HMAC-SHA256 request (V3 scheme): header format, access key, hash of the body, signature, date, nonce. Returns
 * the id of the access key. Throws ApiError.
 */
export function verifyV3(request: SignedRequest, verifier: Verifier): string {
  const authorization = parseAuthorization(header(request.headers, 'authorization'));
  const key = knownKey(verifier, authorization.accessKeyId);
  for (const name of MUST_BE_SIGNED) {
    if (header(request.headers, name) === '') throw gatewayErrors.incompleteSignature(`the header ${name} is missing`);
    if (!authorization.signedHeaders.includes(name)) {
      throw gatewayErrors.incompleteSignature(`the header ${name} is not signed`);
    }
  }
  const bodyHash = createHash('sha256').update(request.body).digest('hex');
  if (header(request.headers, 'x-acs-content-sha256') !== bodyHash) throw gatewayErrors.bodyHashMismatch();
  const canonicalHeaders = authorization.signedHeaders
    .map((name) => `${name}:${header(request.headers, name).trim()}\n`)
    .join('');
  const canonicalRequest = [
    request.method,
    request.path,
    canonicalQuery(request.query),
    canonicalHeaders,
    authorization.signedHeaders.join(';'),
    bodyHash,
  ].join('\n');
  const stringToSign = `${ACS3}\n${createHash('sha256').update(canonicalRequest).digest('hex')}`;
  const expected = createHmac('sha256', key.accessKeySecret).update(stringToSign).digest('hex');
  if (!equal(expected, authorization.signature)) throw gatewayErrors.signatureMismatch(stringToSign);
  checkSecurityToken(key, header(request.headers, 'x-acs-security-token'));
  checkFresh(header(request.headers, 'x-acs-date'), 'x-acs-date', verifier.nowMs);
  checkNonce(verifier, key, header(request.headers, 'x-acs-signature-nonce'));
  return key.accessKeyId;
}

/**
 * Verifies an RPC request signed with HMAC-SHA1 (SignatureVersion 1.0), where everything is a parameter. Returns the id of the
 * access key. Throws ApiError.
 */
export function verifyV1(request: SignedRequest, verifier: Verifier): string {
  const { params } = request;
  for (const name of ['AccessKeyId', 'Signature', 'SignatureNonce', 'Timestamp']) {
    if ((params.get(name) ?? '') === '') throw gatewayErrors.missing(name);
  }
  if ((params.get('SignatureMethod') ?? 'HMAC-SHA1') !== 'HMAC-SHA1') {
    throw gatewayErrors.incompleteSignature('SignatureMethod must be HMAC-SHA1');
  }
  if ((params.get('SignatureVersion') ?? '1.0') !== '1.0') {
    throw gatewayErrors.incompleteSignature('SignatureVersion must be 1.0');
  }
  const key = knownKey(verifier, params.get('AccessKeyId') ?? '');
  const stringToSign = rpcStringToSign(request.method, params);
  const expected = createHmac('sha1', `${key.accessKeySecret}&`).update(stringToSign).digest('base64');
  if (!equal(expected, params.get('Signature') ?? '')) throw gatewayErrors.signatureMismatch(stringToSign);
  checkSecurityToken(key, params.get('SecurityToken') ?? '');
  checkFresh(params.get('Timestamp') ?? '', 'Timestamp', verifier.nowMs);
  checkNonce(verifier, key, params.get('SignatureNonce') ?? '');
  return key.accessKeyId;
}

/**
 * True when the request uses the V3 scheme. This depends on the `Authorization` header and the `Signature` parameter only: older
 * SDKs send x-acs-action even with requests signed by HMAC-SHA1. A request with neither gets the error of the scheme that its
 * headers suggest.
 *
 * @param params those of query and body; absent while the body has not been read
 */
export function isV3(headers: IncomingHttpHeaders, params?: FlatParams): boolean {
  const authorization = header(headers, 'authorization');
  if (authorization.startsWith('ACS3-')) return true;
  if (params?.has('Signature') === true) return false;
  return authorization !== '' || header(headers, 'x-acs-action') !== '';
}

/** First value of a header, empty when absent. */
export function header(headers: IncomingHttpHeaders, name: string): string {
  const value = headers[name];
  return (Array.isArray(value) ? value.join(',') : value) ?? '';
}

function rpcStringToSign(method: string, params: FlatParams): string {
  const pairs = [...params]
    .filter(([name]) => name !== 'Signature')
    .sort(byName)
    .map(([name, value]) => `${percentEncode(name)}=${percentEncode(value)}`);
  return `${method}&${percentEncode('/')}&${percentEncode(pairs.join('&'))}`;
}

function canonicalQuery(query: FlatParams): string {
  return [...query]
    .sort(byName)
    .map(([name, value]) => `${percentEncode(name)}=${percentEncode(value)}`)
    .join('&');
}

function byName([a]: [string, string], [b]: [string, string]): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function parseAuthorization(value: string): { accessKeyId: string; signedHeaders: string[]; signature: string } {
  if (value === '') throw gatewayErrors.missing('Authorization');
  const match =
    /^ACS3-HMAC-SHA256 +Credential=([^,\s]{1,128}), *SignedHeaders=([^,\s]{1,4096}), *Signature=([0-9a-fA-F]{1,128})$/.exec(
      value,
    );
  const [, accessKeyId, signedHeaders, signature] = match ?? [];
  if (accessKeyId === undefined || signedHeaders === undefined || signature === undefined) {
    throw gatewayErrors.incompleteSignature('the Authorization header is not of the form of ACS3-HMAC-SHA256');
  }
  return { accessKeyId, signedHeaders: signedHeaders.toLowerCase().split(';'), signature };
}

function knownKey(verifier: Verifier, accessKeyId: string): AccessKey {
  const key = verifier.accessKeys.get(accessKeyId);
  if (key === undefined) throw gatewayErrors.unknownAccessKey();
  return key;
}

function checkSecurityToken(key: AccessKey, token: string): void {
  if (key.securityToken !== undefined && token === '') throw gatewayErrors.missingSecurityToken();
  if (token !== (key.securityToken ?? '')) throw gatewayErrors.securityTokenMismatch();
}

function checkFresh(text: string, parameter: string, nowMs: number): void {
  if (!/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/.test(text)) throw gatewayErrors.badTimestamp(parameter);
  const timeMs = Date.parse(text);
  if (Number.isNaN(timeMs)) throw gatewayErrors.badTimestamp(parameter);
  if (Math.abs(nowMs - timeMs) > MAX_SKEW_MS) throw gatewayErrors.expired();
}

function checkNonce(verifier: Verifier, key: AccessKey, nonce: string): void {
  if (!verifier.nonces.take(`${key.accessKeyId}\n${nonce}`, verifier.nowMs)) throw gatewayErrors.nonceUsed();
}

function equal(expected: string, given: string): boolean {
  const a = Buffer.from(expected);
  const b = Buffer.from(given);
  return a.length === b.length && timingSafeEqual(a, b);
}
