import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { Socket } from 'node:net';
import { text as readText } from 'node:stream/consumers';
import { OpenApiUtil } from '@alicloud/openapi-core';
import * as z from 'zod';
import type { Clock } from '../util/clock.ts';
import type { CredentialCache } from './credentials.ts';

/** One call in wire format. */
export interface RpcCall {
  /** API version, such as `2014-05-26` for ECS. */
  version: string;
  action: string;
  /** By wire name, including `RegionId`; lists and objects unflattened, absent values left out. */
  params: RpcParams;
}

export type RpcParams = { readonly [name: string]: RpcValue };
export type RpcValue = string | number | boolean | readonly RpcValue[] | RpcParams;

/**
 * Sends one call to a service exactly once and returns the parsed JSON body of the response.
 *
 * A refusal is thrown as an error with `code` (the cloud's), `statusCode` (HTTP) and, where known, `requestId` and
 * `data: { Message }`. An error without `code` or `statusCode` means that no response came, so the call may have taken
 * effect; "timeout" in its name or message marks a timeout. A {@link CloudError} passes unchanged. `toCloudError`
 * interprets all of this.
 *
 * @param leave called right before the request is written, when nothing is left to wait for. If it throws, nothing is
 * sent and the error is thrown.
 */
export type RpcSender = (call: RpcCall, leave: () => void) => Promise<unknown>;

/** The address of a service. */
export interface RpcEndpoint {
  /** `host` or `host:port`. */
  host: string;
  protocol: 'HTTP' | 'HTTPS';
}

/** The addresses of ECS and VPC. */
export interface CloudEndpoints {
  ecs: RpcEndpoint;
  vpc: RpcEndpoint;
}

/** The regional endpoints; inside the VPC by default. */
export function regionalEndpoints(regionId: string, network: 'vpc' | 'public'): CloudEndpoints {
  const infix = network === 'vpc' ? '-vpc' : '';
  return {
    ecs: { host: `ecs${infix}.${regionId}.aliyuncs.com`, protocol: 'HTTPS' },
    vpc: { host: `vpc${infix}.${regionId}.aliyuncs.com`, protocol: 'HTTPS' },
  };
}

/** Shorter timeouts, such as the SDK's 3 s, give up on calls that then take effect. */
const TIMEOUTS = { connectMs: 10_000, readMs: 20_000 };
/**
 * A connection that was idle for longer is not used again: the other end may be closing it. Node drops such a connection when it
 * sees the end, which is too late after the process was suspended or short of CPU time. A create whose connection breaks counts as
 * unanswered, and if its retry finds no address, it takes half a minute until it is certain that it had no effect.
 */
const MOST_IDLE_MS = 2000;

export interface RpcOptions {
  credentials: CredentialCache;
  clock: Clock;
  timeouts?: { connectMs: number; readMs: number };
}

const refusalSchema = z
  .string()
  .transform((text, context): unknown => {
    try {
      return JSON.parse(text);
    } catch {
      context.addIssue({ code: 'custom', message: 'is not JSON' });
      return z.NEVER;
    }
  })
  .pipe(z.object({ Code: z.string(), Message: z.string().default(''), RequestId: z.string().optional() }));

export function rpcSenders(endpoints: CloudEndpoints, options: RpcOptions): { ecs: RpcSender; vpc: RpcSender } {
  return { ecs: rpcSender(endpoints.ecs, options), vpc: rpcSender(endpoints.vpc, options) };
}

/**
 * Signs with the code of the official SDK but sends by itself. The SDK waits for a connection after the last point at
 * which a call can be stopped, so a process that was suspended in the meantime would send calls that belong to the next
 * leader.
 */
function rpcSender(endpoint: RpcEndpoint, options: RpcOptions): RpcSender {
  const { credentials, clock, timeouts = TIMEOUTS } = options;
  const agent =
    endpoint.protocol === 'HTTPS' ? new HttpsAgent({ keepAlive: true }) : new HttpAgent({ keepAlive: true });
  const idleSinceMs = new WeakMap<Socket, number>();
  return async ({ version, action, params }, leave) => {
    const { accessKeyId, accessKeySecret, securityToken } = await credentials.get();
    const unsigned: Record<string, string> = {
      ...OpenApiUtil.query({ ...params }),
      Action: action,
      Version: version,
      Format: 'json',
      AccessKeyId: accessKeyId,
      SignatureMethod: 'HMAC-SHA1',
      SignatureVersion: '1.0',
      SignatureNonce: OpenApiUtil.getNonce(),
      Timestamp: OpenApiUtil.getTimestamp(),
      ...(securityToken === undefined ? {} : { SecurityToken: securityToken }),
    };
    const signature = OpenApiUtil.getRPCSignature(unsigned, 'POST', accessKeySecret);
    const query = new URLSearchParams({ ...unsigned, Signature: signature });
    const { status, text } = await post({
      endpoint,
      agent,
      idleSinceMs,
      clock,
      timeouts,
      path: `/?${query.toString()}`,
      leave,
    });
    if (status < 400) return JSON.parse(text);
    throw refusal(status, text);
  };
}

interface Post {
  endpoint: RpcEndpoint;
  agent: HttpAgent | HttpsAgent;
  /** Of connections that have answered, by `clock.monotonicMs()`. */
  idleSinceMs: WeakMap<Socket, number>;
  clock: Clock;
  timeouts: { connectMs: number; readMs: number };
  path: string;
  leave: () => void;
}

function post(options: Post): Promise<{ status: number; text: string }> {
  const { endpoint, agent, idleSinceMs, clock, timeouts, path, leave } = options;
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
  const url = `${endpoint.protocol.toLowerCase()}://${endpoint.host}${path}`;
  const headers = { accept: 'application/json', 'user-agent': 'terway-controlplane', 'content-length': '0' };
  const open = endpoint.protocol === 'HTTPS' ? httpsRequest : httpRequest;
  const request = open(url, { method: 'POST', agent, headers });
  const fail = (error: unknown) => {
    reject(error);
    request.destroy();
  };
  const limit = (what: string, ms: number) =>
    clock.schedule(ms, () => fail(new Error(`${what} timeout: no data within ${ms} ms`)));
  let timer = limit('connect', timeouts.connectMs);
  // Nothing is written before end(), which is called once the connection is established.
  const send = () => {
    timer.cancel();
    try {
      leave();
    } catch (error) {
      fail(error);
      return;
    }
    timer = limit('read', timeouts.readMs);
    request.end();
  };
  request.once('socket', (socket) => {
    if (clock.monotonicMs() - (idleSinceMs.get(socket) ?? Number.POSITIVE_INFINITY) > MOST_IDLE_MS) {
      // The next one that the agent has, or a new one.
      resolve(post(options));
      request.destroy();
      return;
    }
    if (request.reusedSocket || !socket.connecting) send();
    else socket.once(endpoint.protocol === 'HTTPS' ? 'secureConnect' : 'connect', send);
  });
  request.once('response', (response) => {
    readText(response).then((text) => resolve({ status: response.statusCode ?? 0, text }), reject);
  });
  request.on('error', reject);
  request.once('close', () => {
    timer.cancel();
    if (request.socket !== null) idleSinceMs.set(request.socket, clock.monotonicMs());
  });
  return promise;
}

/**
 * In the form that `toCloudError` reads; without a code when the response is not the service's, such as a proxy's page.
 */
function refusal(statusCode: number, text: string): Error {
  const parsed = refusalSchema.safeParse(text);
  if (!parsed.success) return new Error(`HTTP ${statusCode} without an error code: ${text.slice(0, 200)}`);
  const { Code: code, Message: message, RequestId: requestId } = parsed.data;
  return Object.assign(new Error(message), { code, statusCode, requestId, data: { Message: message } });
}
