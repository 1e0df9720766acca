import credentialsPackage from '@alicloud/credentials';
import openApiCore, { $OpenApiUtil, OpenApiUtil } from '@alicloud/openapi-core';
import { RuntimeOptions } from '@darabonba/typescript';
import type { CredentialCache } from './credentials.ts';

/** One call as its service reads it. */
export interface RpcCall {
  /** API version, such as `2014-05-26` for ECS. */
  version: string;
  action: string;
  /** By wire name, `RegionId` among them; lists and objects as such, without what is absent. */
  params: RpcParams;
}

export type RpcParams = { readonly [name: string]: RpcValue };
export type RpcValue = string | number | boolean | readonly RpcValue[] | RpcParams;

/**
 * Sends one call to a service, once, and returns the body of its answer as parsed JSON.
 *
 * A refusal is thrown as an error with `code` (the cloud's), `statusCode` (HTTP) and, where known, `requestId` and
 * `data: { Message }`. An error that lacks `code` or `statusCode` means that no answer came, so that the call may have taken
 * effect; one with "timeout" in its name or message is told as such. A {@link CloudError} passes as it is. `toCloudError`
 * reads all of that.
 *
 * A sender that has to wait before it sends does not send once the signal has aborted, and throws its reason.
 */
export type RpcSender = (call: RpcCall, signal: AbortSignal) => Promise<unknown>;

/** Where a service is reached. */
export interface RpcEndpoint {
  /** `host` or `host:port`. */
  host: string;
  protocol: 'HTTP' | 'HTTPS';
}

/** Where ECS and VPC are reached. */
export interface CloudEndpoints {
  ecs: RpcEndpoint;
  vpc: RpcEndpoint;
}

/** The regional endpoints; inside a VPC by default. */
export function regionalEndpoints(regionId: string, network: 'vpc' | 'public'): CloudEndpoints {
  const infix = network === 'vpc' ? '-vpc' : '';
  return {
    ecs: { host: `ecs${infix}.${regionId}.aliyuncs.com`, protocol: 'HTTPS' },
    vpc: { host: `vpc${infix}.${regionId}.aliyuncs.com`, protocol: 'HTTPS' },
  };
}

/** The SDK's own 3 s would give up on calls that then take effect. */
const TIMEOUTS = { connectMs: 10_000, readMs: 20_000 };

export interface SdkOptions {
  regionId: string;
  credentials: CredentialCache;
  timeouts?: { connectMs: number; readMs: number };
}

/** Senders to ECS and VPC through the official SDK. */
export function sdkSenders(endpoints: CloudEndpoints, options: SdkOptions): { ecs: RpcSender; vpc: RpcSender } {
  return { ecs: sdkSender(endpoints.ecs, options), vpc: sdkSender(endpoints.vpc, options) };
}

/**
 * Sends through the official SDK's core, which signs and encodes. The generated client classes are left out: they load every
 * model of the service.
 */
function sdkSender(endpoint: RpcEndpoint, { regionId, credentials, timeouts = TIMEOUTS }: SdkOptions): RpcSender {
  const client = new openApiCore.default(
    new $OpenApiUtil.Config({
      endpoint: endpoint.host,
      protocol: endpoint.protocol,
      regionId,
      connectTimeout: timeouts.connectMs,
      readTimeout: timeouts.readMs,
      userAgent: 'terway-controlplane',
      credential: new credentialsPackage.default(null, {
        getProviderName: () => 'terway',
        getCredentials: async () => {
          const { accessKeyId, accessKeySecret, securityToken } = await credentials.get();
          return { accessKeyId, accessKeySecret, securityToken, providerName: 'terway' };
        },
      }),
    }),
  );
  return async ({ version, action, params }, signal) => {
    // Fetching one may take seconds, in which the lease may have gone; the SDK finds it fetched.
    await credentials.get();
    signal.throwIfAborted();
    const { body } = await client.callApi(
      new $OpenApiUtil.Params({
        action,
        version,
        protocol: endpoint.protocol,
        pathname: '/',
        method: 'POST',
        authType: 'AK',
        style: 'RPC',
        reqBodyType: 'formData',
        bodyType: 'json',
      }),
      new $OpenApiUtil.OpenApiRequest({ query: OpenApiUtil.query({ ...params }) }),
      new RuntimeOptions({}),
    );
    return body;
  };
}
