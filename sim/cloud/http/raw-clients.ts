import { createHash, createHmac, randomUUID } from 'node:crypto';

/**
 * Two clients for tests. They were written from the documentation and share no code with the verification, so that a mistake in
 * either is detected. Every part of a request can be replaced.
 */

export interface Credentials {
  accessKeyId: string;
  accessKeySecret: string;
}

/** RFC 3986: unreserved characters stay, and every other byte becomes %XX. */
function encode(text: string): string {
  let encoded = '';
  for (const byte of Buffer.from(text, 'utf8')) {
    const character = String.fromCharCode(byte);
    encoded += /[A-Za-z0-9\-_.~]/.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return encoded;
}

function encodePairs(params: Record<string, string>): string {
  return Object.keys(params)
    .sort()
    .map((name) => `${encode(name)}=${encode(params[name] ?? '')}`)
    .join('&');
}

export interface RpcCall {
  method: 'GET' | 'POST';
  /** For a POST: how many of the parameters, sorted by name, go into the query instead of the body. */
  inQuery?: number;
  params: Record<string, string>;
  nowMs?: number;
  nonce?: string;
  /** Unsigned headers. */
  headers?: Record<string, string>;
  /** Changes the signed parameters before they are sent. */
  tamper?: (params: Record<string, string>) => void;
}

/** Sends an RPC request signed with HMAC-SHA1. */
export function rpcV1(endpoint: string, key: Credentials, call: RpcCall): Promise<Response> {
  const params: Record<string, string> = {
    AccessKeyId: key.accessKeyId,
    SignatureMethod: 'HMAC-SHA1',
    SignatureVersion: '1.0',
    SignatureNonce: call.nonce ?? randomUUID(),
    Timestamp: `${new Date(call.nowMs ?? Date.now()).toISOString().slice(0, 19)}Z`,
    Version: '2014-05-26',
    ...call.params,
  };
  const stringToSign = `${call.method}&%2F&${encode(encodePairs(params))}`;
  params['Signature'] = createHmac('sha1', `${key.accessKeySecret}&`).update(stringToSign).digest('base64');
  call.tamper?.(params);
  const names = Object.keys(params).sort();
  const split = call.method === 'GET' ? names.length : (call.inQuery ?? 0);
  const part = (of: string[]) => encodePairs(Object.fromEntries(of.map((name) => [name, params[name] ?? ''])));
  const url = `http://${endpoint}/?${part(names.slice(0, split))}`;
  if (call.method === 'GET') return fetch(url, { headers: call.headers ?? {} });
  return fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...call.headers },
    body: part(names.slice(split)),
  });
}

export interface V3Call {
  method?: 'GET' | 'POST';
  action: string;
  version?: string;
  query?: Record<string, string>;
  form?: Record<string, string>;
  nowMs?: number;
  nonce?: string;
  /** Changes the signed headers before they are sent. */
  tamper?: (headers: Record<string, string>) => void;
  /** Signed as x-acs-content-sha256 instead of the real hash of the body. */
  claimedHash?: string;
  /** Sent instead of the signed body. */
  otherBody?: string;
}

/** Sends a request signed with ACS3-HMAC-SHA256. */
export function rpcV3(endpoint: string, key: Credentials, call: V3Call): Promise<Response> {
  const method = call.method ?? 'POST';
  const body = call.form === undefined ? '' : encodePairs(call.form);
  const bodyHash = createHash('sha256').update(body).digest('hex');
  const query = encodePairs(call.query ?? {});
  const headers: Record<string, string> = {
    host: endpoint,
    'x-acs-action': call.action,
    'x-acs-version': call.version ?? '2014-05-26',
    'x-acs-date': `${new Date(call.nowMs ?? Date.now()).toISOString().slice(0, 19)}Z`,
    'x-acs-signature-nonce': call.nonce ?? randomUUID(),
    'x-acs-content-sha256': call.claimedHash ?? bodyHash,
    ...(call.form === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
  };
  const names = Object.keys(headers).sort();
  const canonical = [
    method,
    '/',
    query,
    ...names.map((name) => `${name}:${headers[name]}`),
    '',
    names.join(';'),
    bodyHash,
  ].join('\n');
  const stringToSign = `ACS3-HMAC-SHA256\n${createHash('sha256').update(canonical).digest('hex')}`;
  const signature = createHmac('sha256', key.accessKeySecret).update(stringToSign).digest('hex');
  headers['authorization'] =
    `ACS3-HMAC-SHA256 Credential=${key.accessKeyId},SignedHeaders=${names.join(';')},Signature=${signature}`;
  call.tamper?.(headers);
  const { host: _host, ...sent } = headers;
  return fetch(`http://${endpoint}/?${query}`, {
    method,
    headers: sent,
    ...(method === 'POST' ? { body: call.otherBody ?? body } : {}),
  });
}
