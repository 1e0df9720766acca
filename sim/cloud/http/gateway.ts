import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../../../src/util/clock.ts';
import { PRODUCT_VERSIONS } from '../model/action.ts';
import { ApiError } from '../model/errors.ts';
import type { CloudModel, Outcome } from '../model/model.ts';
import { gatewayErrors } from './gateway-errors.ts';
import { NonceStore } from './nonce-store.ts';
import { readBody } from './read-body.ts';
import { decodeForm, toParamTree } from './rpc-params.ts';
import { type AccessKey, header, isV3, type SignedRequest, verifyV1, verifyV3 } from './signature.ts';
import { toXml } from './xml.ts';

/** Assumed: the documentation gives no number. */
export const MAX_URL_LENGTH = 64 * 1024;
export const MAX_BODY_BYTES = 512 * 1024;

export interface GatewayOptions {
  model: CloudModel;
  clock: Clock;
  accessKeys: readonly AccessKey[];
}

/** What the response needs, filled in as far as the request could be read. */
interface ResponseContext {
  requestId: string;
  action: string;
  product: string;
  host: string;
  format: 'JSON' | 'XML';
}

/**
 * The API gateway. It reads a request of either scheme, verifies it, passes it to the model and writes the response as the cloud
 * does. Any request gets a 2xx or a 4xx; a 5xx means a bug here.
 */
export class Gateway {
  readonly #options: GatewayOptions;
  readonly #accessKeys: ReadonlyMap<string, AccessKey>;
  readonly #nonces = new NonceStore();

  constructor(options: GatewayOptions) {
    this.#options = options;
    this.#accessKeys = new Map(options.accessKeys.map((key) => [key.accessKeyId, key]));
  }

  /** Never rejects. */
  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const context: ResponseContext = {
      requestId: '',
      action: '',
      product: '',
      host: header(request.headers, 'host'),
      format: isV3(request.headers) ? 'JSON' : 'XML',
    };
    try {
      const outcome = await this.#process(request, context);
      if (outcome.delayMs > 0) await this.#options.clock.sleep(outcome.delayMs);
      if (outcome.ok) {
        send(response, 200, context, `${context.action}Response`, outcome.body);
      } else {
        this.#sendError(response, context, outcome.error);
      }
    } catch (error) {
      // Either the client disconnected while sending, or this is a bug.
      if (request.destroyed && !request.complete) return;
      const refusal = error instanceof ApiError ? error : internalError(error);
      this.#recordRefusal(context, refusal);
      this.#sendError(response, context, refusal);
    }
  }

  /** Throws ApiError for a refusal of the gateway. Refusals of an API are in the outcome. */
  async #process(request: IncomingMessage, context: ResponseContext): Promise<Outcome> {
    const { model, clock } = this.#options;
    const signed = await readRequest(request);
    const { params } = signed;
    const v3 = isV3(request.headers, params);
    context.format = formatOf(params.get('Format'), v3);
    const action = v3 ? header(request.headers, 'x-acs-action') : (params.get('Action') ?? '');
    const version = v3 ? header(request.headers, 'x-acs-version') : (params.get('Version') ?? '');
    context.action = /^[A-Za-z0-9]{1,64}$/.test(action) ? action : '';
    if (action === '') throw gatewayErrors.missing('Action');
    if (version === '') throw gatewayErrors.missing('Version');
    const verifier = { accessKeys: this.#accessKeys, nonces: this.#nonces, nowMs: clock.now() };
    const accessKeyId = v3 ? verifyV3(signed, verifier) : verifyV1(signed, verifier);
    context.product = productOf(version);
    const outcome = model.apply(
      { action, version, params: toParamTree(withoutCommon(params)), accessKeyId },
      clock.now(),
    );
    context.requestId = outcome.ok ? outcome.body.RequestId : outcome.requestId;
    return outcome;
  }

  #recordRefusal(context: ResponseContext, refusal: ApiError): void {
    const { model, clock } = this.#options;
    context.requestId = model.nextRequestId();
    model.recordRefusal(context.action, refusal.code, context.requestId, '', clock.now());
  }

  #sendError(response: ServerResponse, context: ResponseContext, error: ApiError): void {
    send(response, error.status, context, 'Error', {
      RequestId: context.requestId,
      HostId: context.host,
      Code: error.code,
      Message: error.message,
      Recommend: `https://api.alibabacloud.com/troubleshoot?q=${error.code}&product=${context.product}&requestId=${context.requestId}`,
    });
  }
}

async function readRequest(request: IncomingMessage): Promise<SignedRequest> {
  const url = request.url ?? '/';
  const method = request.method ?? '';
  const body = await readBody(request, MAX_BODY_BYTES);
  if (url.length > MAX_URL_LENGTH) throw gatewayErrors.urlTooLong();
  if (body === undefined) throw gatewayErrors.bodyTooLarge();
  if (method !== 'GET' && method !== 'POST') throw gatewayErrors.methodNotAllowed();
  const mark = url.indexOf('?');
  const query = new Map<string, string>();
  if (mark >= 0) decodeForm(url.slice(mark + 1), query);
  const params = new Map(query);
  const contentType = header(request.headers, 'content-type').toLowerCase();
  if (contentType.startsWith('application/x-www-form-urlencoded')) decodeForm(body.toString('utf8'), params);
  const path = mark >= 0 ? url.slice(0, mark) : url;
  return { method, path: path === '' ? '/' : path, query, params, headers: request.headers, body };
}

/** The old scheme uses XML by default, the new one JSON. Throws InvalidParameter. */
function formatOf(format: string | undefined, v3: boolean): 'JSON' | 'XML' {
  switch ((format ?? '').toUpperCase()) {
    case '':
      return v3 ? 'JSON' : 'XML';
    case 'JSON':
      return 'JSON';
    case 'XML':
      return 'XML';
    default:
      throw gatewayErrors.invalidParameter('Format');
  }
}

function productOf(version: string): string {
  const found = Object.entries(PRODUCT_VERSIONS).find(([, known]) => known === version);
  if (found === undefined) throw gatewayErrors.invalidVersion();
  return found[0];
}

const COMMON_PARAMETERS = new Set([
  'Action',
  'Version',
  'Format',
  'AccessKeyId',
  'Signature',
  'SignatureMethod',
  'SignatureVersion',
  'SignatureNonce',
  'Timestamp',
  'SecurityToken',
]);

/** The parameters for the API and the journal, without signature and security token. */
function withoutCommon(params: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  return new Map([...params].filter(([name]) => !COMMON_PARAMETERS.has(name)));
}

function internalError(cause: unknown): ApiError {
  const error = new ApiError('InternalError', 500, 'The request processing has failed due to some unknown error.');
  error.cause = cause;
  process.emitWarning(cause instanceof Error ? cause : String(cause));
  return error;
}

function send(
  response: ServerResponse,
  status: number,
  context: ResponseContext,
  rootName: string,
  body: object,
): void {
  if (response.destroyed || response.headersSent) return;
  const xml = context.format === 'XML';
  const text = xml ? toXml(rootName, body) : JSON.stringify(body);
  response.writeHead(status, {
    'content-type': xml ? 'text/xml;charset=utf-8' : 'application/json;charset=utf-8',
    'content-length': Buffer.byteLength(text),
    'x-acs-request-id': context.requestId,
  });
  response.end(text);
}
