import * as $ecs from '@alicloud/ecs20140526';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type CloudSimulator, startCloudSimulator } from '../server.ts';
import { REGION } from '../test-network.ts';
import { sdkClients } from '../test-sdk.ts';

/** Refusals as the official SDKs report them. */

let simulator: CloudSimulator;
let ecs: ReturnType<typeof sdkClients>['ecs'];

beforeAll(async () => {
  simulator = await startCloudSimulator();
  ({ ecs } = sdkClients(simulator));
});

afterAll(() => simulator.close());

test('the SDK reports refusals like those of the cloud', async () => {
  await expect(
    ecs.deleteNetworkInterface(
      new $ecs.DeleteNetworkInterfaceRequest({ regionId: REGION, networkInterfaceId: 'eni-none' }),
    ),
  ).rejects.toMatchObject({
    name: 'ClientError',
    code: 'InvalidEniId.NotFound',
    statusCode: 404,
    requestId: expect.stringMatching(/^[0-9A-F-]{36}$/),
  });
  await expect(
    ecs.deleteNetworkInterface(new $ecs.DeleteNetworkInterfaceRequest({ regionId: REGION })),
  ).rejects.toMatchObject({
    code: 'MissingParameter',
    message: expect.stringContaining('NetworkInterfaceId'),
  });
  await expect(
    ecs.deleteNetworkInterface(
      new $ecs.DeleteNetworkInterfaceRequest({ regionId: 'cn-nowhere', networkInterfaceId: 'eni-none' }),
    ),
  ).rejects.toMatchObject({ code: 'InvalidRegionId.NotFound' });
});

test('the gateway responds with 404 to an API that the simulator lacks', async () => {
  await expect(ecs.describeImages(new $ecs.DescribeImagesRequest({ regionId: REGION }))).rejects.toMatchObject({
    code: 'InvalidAction.NotFound',
    statusCode: 404,
  });
});

test('wrong credentials are refused', async () => {
  const call = (key: Parameters<typeof sdkClients>[1]) =>
    sdkClients(simulator, key).ecs.describeRegions(new $ecs.DescribeRegionsRequest({}));
  await expect(call({ accessKeySecret: 'wrong' })).rejects.toMatchObject({ code: 'SignatureDoesNotMatch' });
  await expect(call({ accessKeyId: 'LTAIunknown' })).rejects.toMatchObject({ code: 'InvalidAccessKeyId.NotFound' });
  await expect(call({ securityToken: 'unexpected' })).rejects.toMatchObject({
    code: 'InvalidSecurityToken.MismatchWithAccessKey',
  });
});

test('a temporary key needs its security token', async () => {
  const key = { accessKeyId: 'STS.key', accessKeySecret: 'secret' };
  await using sts = await startCloudSimulator({ accessKeys: [{ ...key, securityToken: 'the-token' }] });
  const call = (securityToken?: string) =>
    sdkClients(sts, { ...key, ...(securityToken === undefined ? {} : { securityToken }) }).ecs.describeRegions(
      new $ecs.DescribeRegionsRequest({}),
    );
  expect((await call('the-token')).statusCode).toBe(200);
  await expect(call()).rejects.toMatchObject({ code: 'MissingSecurityToken' });
  await expect(call('another')).rejects.toMatchObject({ code: 'InvalidSecurityToken.MismatchWithAccessKey' });
});
