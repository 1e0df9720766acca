import type { Clock } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';
import { CloudError } from './errors.ts';

/** Address of the metadata service on an ECS instance. */
export const METADATA_ENDPOINT = 'http://100.100.100.200';

const TOKEN_TTL_S = 300;
const FETCH_TIMEOUT_MS = 10_000;

/** Reads one item under `/latest/meta-data/`, such as `region-id`. */
export type MetadataReader = (path: string) => Promise<string>;

/**
 * Opens a session with the metadata service of the ECS instance (IMDSv2).
 *
 * @throws CloudError of kind `unavailable` (no response) or `forbidden` (a response other than success); so does the
 * reader
 */
export async function openMetadata(endpoint: string, clock: Clock, signal: AbortSignal): Promise<MetadataReader> {
  const token = await httpText(`${endpoint}/latest/api/token`, clock, signal, {
    method: 'PUT',
    headers: { 'X-aliyun-ecs-metadata-token-ttl-seconds': String(TOKEN_TTL_S) },
  });
  const headers = { 'X-aliyun-ecs-metadata-token': token };
  return (path) => httpText(`${endpoint}/latest/meta-data/${path}`, clock, signal, { headers });
}

/** @returns the text of a successful response. @throws CloudError of kind `unavailable` or `forbidden` */
export async function httpText(url: string, clock: Clock, signal: AbortSignal, init: RequestInit): Promise<string> {
  const action = 'GetCredential';
  const limit = new AbortController();
  const timer = clock.schedule(FETCH_TIMEOUT_MS, () =>
    limit.abort(new Error(`timed out after ${FETCH_TIMEOUT_MS / 1000} s`)),
  );
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, { ...init, signal: AbortSignal.any([signal, limit.signal]) });
    text = await response.text();
  } catch (cause) {
    throw new CloudError({
      kind: 'unavailable',
      action,
      code: 'CredentialUnavailable',
      message: `no answer from ${url}: ${errorMessage(cause)}`,
      cause,
    });
  } finally {
    timer.cancel();
  }
  if (response.ok) return text;
  throw new CloudError({
    kind: response.status >= 500 ? 'unavailable' : 'forbidden',
    action,
    code: 'CredentialRefused',
    message: `${url} answered ${response.status}: ${text.slice(0, 300)}`,
    statusCode: response.status,
  });
}
