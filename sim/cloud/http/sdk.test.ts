import * as $ecs from '@alicloud/ecs20140526';
import * as $vpc from '@alicloud/vpc20160428';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type CloudSimulator, startCloudSimulator } from '../server.ts';
import { REGION, seedNetwork, type TestNetwork } from '../test-network.ts';
import { sdkClients } from '../test-sdk.ts';

/** Every API through the official SDKs, which sign with ACS3-HMAC-SHA256. */

const ATTACH_MS = 30;

let simulator: CloudSimulator;
let network: TestNetwork;
let ecs: ReturnType<typeof sdkClients>['ecs'];
let vpc: ReturnType<typeof sdkClients>['vpc'];

beforeAll(async () => {
  simulator = await startCloudSimulator({
    account: { latencies: { createMs: 0, attachMs: ATTACH_MS, detachMs: ATTACH_MS, deleteMs: ATTACH_MS } },
  });
  network = seedNetwork(simulator.model, simulator.clock.now());
  ({ ecs, vpc } = sdkClients(simulator));
});

afterAll(() => simulator.close());

async function create(request: Partial<$ecs.CreateNetworkInterfaceRequest> = {}): Promise<string> {
  const { body } = await ecs.createNetworkInterface(
    new $ecs.CreateNetworkInterfaceRequest({
      regionId: REGION,
      vSwitchId: network.vSwitchId,
      securityGroupIds: [network.securityGroupId],
      ...request,
    }),
  );
  return body?.networkInterfaceId ?? '';
}

async function describeOne(
  eniId: string,
): Promise<$ecs.DescribeNetworkInterfacesResponseBodyNetworkInterfaceSetsNetworkInterfaceSet | undefined> {
  const { body } = await ecs.describeNetworkInterfaces(
    new $ecs.DescribeNetworkInterfacesRequest({ regionId: REGION, networkInterfaceId: [eniId] }),
  );
  return body?.networkInterfaceSets?.networkInterfaceSet?.[0];
}

async function attach(networkInterfaceId: string, trunkNetworkInstanceId?: string): Promise<void> {
  await ecs.attachNetworkInterface(
    new $ecs.AttachNetworkInterfaceRequest({
      regionId: REGION,
      instanceId: network.instanceId,
      networkInterfaceId,
      ...(trunkNetworkInstanceId === undefined ? {} : { trunkNetworkInstanceId }),
    }),
  );
  await expect.poll(async () => (await describeOne(networkInterfaceId))?.status).toBe('InUse');
}

test('the life of a trunk and its member', async () => {
  const trunk = await create({
    instanceType: 'Trunk',
    description: "odd ~*'()!+ /ö",
    tag: [new $ecs.CreateNetworkInterfaceRequestTag({ key: 'ack.aliyun.com', value: 'c1' })],
    deleteOnRelease: true,
    clientToken: 'token-1',
  });
  expect(trunk).toMatch(/^eni-bp1[0-9a-z]{17}$/);
  expect(await describeOne(trunk)).toMatchObject({
    type: 'Trunk',
    status: 'Available',
    description: "odd ~*'()!+ /ö",
    macAddress: expect.stringMatching(/^00:16:3e(:[0-9a-f]{2}){3}$/),
    tags: { tag: [{ tagKey: 'ack.aliyun.com', tagValue: 'c1' }] },
    deleteOnRelease: true,
    zoneId: 'cn-hangzhou-i',
    vpcId: network.vpcId,
  });
  await attach(trunk);
  const member = await create();
  await attach(member, trunk);
  expect(await describeOne(member)).toMatchObject({
    type: 'Member',
    status: 'InUse',
    instanceId: network.instanceId,
    attachment: { trunkNetworkInterfaceId: trunk, deviceIndex: 1, instanceId: network.instanceId },
  });
  const attribute = await ecs.describeNetworkInterfaceAttribute(
    new $ecs.DescribeNetworkInterfaceAttributeRequest({
      regionId: REGION,
      networkInterfaceId: trunk,
      attribute: 'attachment',
    }),
  );
  expect(attribute.body?.attachment?.memberNetworkInterfaceIds?.memberNetworkInterfaceId).toEqual([member]);
  await ecs.detachNetworkInterface(
    new $ecs.DetachNetworkInterfaceRequest({
      regionId: REGION,
      instanceId: network.instanceId,
      networkInterfaceId: member,
      trunkNetworkInstanceId: trunk,
    }),
  );
  await expect.poll(async () => (await describeOne(member))?.status).toBe('Available');
  await ecs.deleteNetworkInterface(
    new $ecs.DeleteNetworkInterfaceRequest({ regionId: REGION, networkInterfaceId: member }),
  );
  await expect.poll(() => describeOne(member)).toBeUndefined();
});

test('attributes and addresses of an ENI', async () => {
  const eniId = await create({ secondaryPrivateIpAddressCount: 1 });
  await ecs.modifyNetworkInterfaceAttribute(
    new $ecs.ModifyNetworkInterfaceAttributeRequest({
      regionId: REGION,
      networkInterfaceId: eniId,
      securityGroupId: [network.otherSecurityGroupId],
      networkInterfaceName: 'renamed',
      sourceDestCheck: true,
    }),
  );
  const assigned = await ecs.assignPrivateIpAddresses(
    new $ecs.AssignPrivateIpAddressesRequest({
      regionId: REGION,
      networkInterfaceId: eniId,
      secondaryPrivateIpAddressCount: 2,
      clientToken: 'a',
    }),
  );
  const v4 = assigned.body?.assignedPrivateIpAddressesSet?.privateIpSet?.privateIpAddress ?? [];
  expect(v4).toHaveLength(2);
  const prefix = await ecs.assignPrivateIpAddresses(
    new $ecs.AssignPrivateIpAddressesRequest({ regionId: REGION, networkInterfaceId: eniId, ipv4PrefixCount: 1 }),
  );
  expect(prefix.body?.assignedPrivateIpAddressesSet?.ipv4PrefixSet?.ipv4Prefixes).toEqual([
    expect.stringMatching(/\/28$/),
  ]);
  const assigned6 = await ecs.assignIpv6Addresses(
    new $ecs.AssignIpv6AddressesRequest({ regionId: REGION, networkInterfaceId: eniId, ipv6AddressCount: 1 }),
  );
  const v6 = assigned6.body?.ipv6Sets?.ipv6Address ?? [];
  expect(v6).toHaveLength(1);
  await ecs.unassignPrivateIpAddresses(
    new $ecs.UnassignPrivateIpAddressesRequest({ regionId: REGION, networkInterfaceId: eniId, privateIpAddress: v4 }),
  );
  expect(await describeOne(eniId)).toMatchObject({
    securityGroupIds: { securityGroupId: [network.otherSecurityGroupId] },
    networkInterfaceName: 'renamed',
    sourceDestCheck: true,
    privateIpSets: { privateIpSet: [{ primary: true }, { primary: false }] },
    ipv6Sets: { ipv6Set: [{ ipv6Address: v6[0] }] },
  });
  await ecs.unassignIpv6Addresses(
    new $ecs.UnassignIpv6AddressesRequest({ regionId: REGION, networkInterfaceId: eniId, ipv6Address: v6 }),
  );
  expect((await describeOne(eniId))?.ipv6Sets?.ipv6Set).toEqual([]);
});

test('an ENI is created with IPv6 if the vSwitch has a block', async () => {
  const vSwitches = await vpc.describeVSwitches(
    new $vpc.DescribeVSwitchesRequest({ regionId: REGION, vSwitchId: network.vSwitchId }),
  );
  expect(vSwitches.body?.vSwitches?.vSwitch).toMatchObject([{ ipv6CidrBlock: '2408:4321:180:1701::/64' }]);
  const { body } = await ecs.createNetworkInterface(
    new $ecs.CreateNetworkInterfaceRequest({
      regionId: REGION,
      vSwitchId: network.vSwitchId,
      securityGroupIds: [network.securityGroupId],
      ipv6AddressCount: 2,
    }),
  );
  const networkInterfaceId = body?.networkInterfaceId ?? '';
  await ecs.assignIpv6Addresses(
    new $ecs.AssignIpv6AddressesRequest({ regionId: REGION, networkInterfaceId, ipv6PrefixCount: 1 }),
  );
  const addresses = body?.ipv6Sets?.ipv6Set ?? [];
  expect(addresses).toEqual([
    expect.objectContaining({ ipv6Address: expect.stringMatching(/^2408:4321:180:1701::/) }),
    expect.objectContaining({ ipv6Address: expect.stringMatching(/^2408:4321:180:1701::/) }),
  ]);
  expect(await describeOne(networkInterfaceId)).toMatchObject({
    ipv6Sets: { ipv6Set: addresses.map(({ ipv6Address }) => ({ ipv6Address })) },
    ipv6PrefixSets: { ipv6PrefixSet: [{ ipv6Prefix: expect.stringMatching(/\/80$/) }] },
  });
  await expect(create({ vSwitchId: network.otherZoneVSwitchId, ipv6AddressCount: 1 })).rejects.toMatchObject({
    code: 'InvalidVSwitch.Ipv6NotTurnOn',
  });
});

test('whole ENIs attached to an instance, up to what its type allows', async () => {
  const { instanceId } = simulator.model.runInstance(
    { instanceType: 'ecs.g7.xlarge', vSwitchId: network.vSwitchId, securityGroupIds: [network.securityGroupId] },
    simulator.clock.now(),
  );
  const attachTo = (networkInterfaceId: string) =>
    ecs.attachNetworkInterface(
      new $ecs.AttachNetworkInterfaceRequest({ regionId: REGION, instanceId, networkInterfaceId }),
    );
  const [a, b, c, d] = await Promise.all([create(), create(), create(), create()]);
  await Promise.all([a, b, c].map(attachTo));
  await expect(attachTo(d)).rejects.toMatchObject({ code: 'EniPerInstanceLimitExceeded' });
  await expect.poll(async () => (await describeOne(a))?.status).toBe('InUse');
  const attached = await describeOne(a);
  expect(attached).toMatchObject({ type: 'Secondary', instanceId });
  expect(attached?.attachment?.deviceIndex).toBeUndefined();
  await expect.poll(async () => (await describeOne(c))?.status).toBe('InUse');
  await ecs.detachNetworkInterface(
    new $ecs.DetachNetworkInterfaceRequest({ regionId: REGION, instanceId, networkInterfaceId: c }),
  );
  await expect.poll(async () => (await describeOne(c))?.status).toBe('Available');
  await attachTo(d);
});

test('filters and pages of DescribeNetworkInterfaces', async () => {
  const tag = { key: 'page', value: 'p' };
  const ids = await Promise.all(
    Array.from({ length: 12 }, () => create({ tag: [new $ecs.CreateNetworkInterfaceRequestTag(tag)] })),
  );
  const page = (nextToken?: string) =>
    ecs.describeNetworkInterfaces(
      new $ecs.DescribeNetworkInterfacesRequest({
        regionId: REGION,
        tag: [new $ecs.DescribeNetworkInterfacesRequestTag(tag)],
        vpcId: network.vpcId,
        type: 'Secondary',
        status: 'Available',
        maxResults: 10,
        ...(nextToken === undefined ? {} : { nextToken }),
      }),
    );
  const first = await page();
  const second = await page(first.body?.nextToken);
  const seen = [first, second].flatMap((response) => response.body?.networkInterfaceSets?.networkInterfaceSet ?? []);
  expect(new Set(seen.map((eni) => eni.networkInterfaceId))).toEqual(new Set(ids));
  expect(seen).toHaveLength(ids.length);
  expect([first.body?.totalCount, second.body?.nextToken]).toEqual([12, '']);
});

test('instances and their types', async () => {
  const types = await ecs.describeInstanceTypes(
    new $ecs.DescribeInstanceTypesRequest({ instanceTypes: ['ecs.g7.4xlarge', 'ecs.none'], maxResults: 100 }),
  );
  expect(types.body?.instanceTypes?.instanceType).toMatchObject([
    {
      instanceTypeId: 'ecs.g7.4xlarge',
      eniQuantity: 8,
      eniTotalQuantity: 60,
      eniTrunkSupported: true,
      eniPrivateIpAddressQuantity: 30,
    },
  ]);
  const paged = await ecs.describeInstanceTypes(new $ecs.DescribeInstanceTypesRequest({ maxResults: 2 }));
  expect([paged.body?.instanceTypes?.instanceType?.length, paged.body?.nextToken]).toEqual([
    2,
    expect.stringMatching(/./),
  ]);
  const instances = await ecs.describeInstances(
    new $ecs.DescribeInstancesRequest({
      regionId: REGION,
      instanceIds: JSON.stringify([network.instanceId, 'i-none']),
    }),
  );
  expect(instances.body?.instances?.instance).toMatchObject([
    {
      instanceId: network.instanceId,
      status: 'Running',
      zoneId: 'cn-hangzhou-i',
      vpcAttributes: { vpcId: network.vpcId },
    },
  ]);
  const attribute = await ecs.describeInstanceAttribute(
    new $ecs.DescribeInstanceAttributeRequest({ instanceId: network.instanceId }),
  );
  expect(attribute.body).toMatchObject({ instanceType: 'ecs.g7.4xlarge', status: 'Running' });
});

test('security groups and their rules', async () => {
  const securityGroupId = network.otherSecurityGroupId;
  const groups = await ecs.describeSecurityGroups(
    new $ecs.DescribeSecurityGroupsRequest({
      regionId: REGION,
      vpcId: network.vpcId,
      securityGroupIds: JSON.stringify([securityGroupId]),
    }),
  );
  expect(groups.body?.securityGroups?.securityGroup).toMatchObject([
    { securityGroupId, securityGroupName: 'other', vpcId: network.vpcId },
  ]);
  const rule = { ipProtocol: 'TCP', portRange: '80/80', policy: 'accept', priority: '5' };
  const ingress = new $ecs.AuthorizeSecurityGroupRequest({
    regionId: REGION,
    securityGroupId,
    permissions: [
      new $ecs.AuthorizeSecurityGroupRequestPermissions({ ...rule, sourceGroupId: network.securityGroupId }),
    ],
  });
  await ecs.authorizeSecurityGroup(ingress);
  await ecs.authorizeSecurityGroup(ingress);
  await ecs.authorizeSecurityGroupEgress(
    new $ecs.AuthorizeSecurityGroupEgressRequest({
      regionId: REGION,
      securityGroupId,
      permissions: [
        new $ecs.AuthorizeSecurityGroupEgressRequestPermissions({ ...rule, policy: 'drop', destCidrIp: '10.0.0.0/8' }),
      ],
    }),
  );
  const rules = async () => {
    const { body } = await ecs.describeSecurityGroupAttribute(
      new $ecs.DescribeSecurityGroupAttributeRequest({ regionId: REGION, securityGroupId }),
    );
    return body?.permissions?.permission ?? [];
  };
  expect(await rules()).toMatchObject([
    {
      direction: 'ingress',
      policy: 'Accept',
      ipProtocol: 'TCP',
      portRange: '80/80',
      priority: '5',
      sourceGroupId: network.securityGroupId,
    },
    { direction: 'egress', policy: 'Drop', destCidrIp: '10.0.0.0/8' },
  ]);
  const [first] = await rules();
  await ecs.revokeSecurityGroup(
    new $ecs.RevokeSecurityGroupRequest({
      regionId: REGION,
      securityGroupId,
      securityGroupRuleId: [first?.securityGroupRuleId ?? ''],
    }),
  );
  await ecs.revokeSecurityGroupEgress(
    new $ecs.RevokeSecurityGroupEgressRequest({
      regionId: REGION,
      securityGroupId,
      permissions: [
        new $ecs.RevokeSecurityGroupEgressRequestPermissions({ ...rule, policy: 'drop', destCidrIp: '10.0.0.0/8' }),
      ],
    }),
  );
  expect(await rules()).toEqual([]);
});

test('joining and leaving a security group', async () => {
  const networkInterfaceId = await create();
  const both = { networkInterfaceId, securityGroupId: network.otherSecurityGroupId, regionId: REGION };
  await ecs.joinSecurityGroup(new $ecs.JoinSecurityGroupRequest(both));
  expect((await describeOne(networkInterfaceId))?.securityGroupIds?.securityGroupId).toEqual([
    network.securityGroupId,
    network.otherSecurityGroupId,
  ]);
  await ecs.leaveSecurityGroup(new $ecs.LeaveSecurityGroupRequest(both));
  await expect(ecs.leaveSecurityGroup(new $ecs.LeaveSecurityGroupRequest(both))).rejects.toMatchObject({
    code: 'InvalidSecurityGroupAssociation.NotFound',
  });
});

test('tags', async () => {
  const eniId = await create();
  const tag = { key: 'owner', value: 'pod-1' };
  const resource = { regionId: REGION, resourceType: 'eni', resourceId: [eniId] };
  await ecs.tagResources(new $ecs.TagResourcesRequest({ ...resource, tag: [new $ecs.TagResourcesRequestTag(tag)] }));
  const byTag = await ecs.describeNetworkInterfaces(
    new $ecs.DescribeNetworkInterfacesRequest({
      regionId: REGION,
      tag: [new $ecs.DescribeNetworkInterfacesRequestTag(tag)],
    }),
  );
  expect(byTag.body?.networkInterfaceSets?.networkInterfaceSet?.map((eni) => eni.networkInterfaceId)).toEqual([eniId]);
  const listed = await ecs.listTagResources(new $ecs.ListTagResourcesRequest(resource));
  expect(listed.body?.tagResources?.tagResource).toMatchObject([
    { resourceId: eniId, tagKey: 'owner', tagValue: 'pod-1' },
  ]);
  await ecs.untagResources(new $ecs.UntagResourcesRequest({ ...resource, tagKey: ['owner'] }));
  expect((await describeOne(eniId))?.tags?.tag).toEqual([]);
  await vpc.tagResources(
    new $vpc.TagResourcesRequest({
      regionId: REGION,
      resourceType: 'VSWITCH',
      resourceId: [network.vSwitchId],
      tag: [new $vpc.TagResourcesRequestTag(tag)],
    }),
  );
  const vSwitches = await vpc.describeVSwitches(
    new $vpc.DescribeVSwitchesRequest({ regionId: REGION, tag: [new $vpc.DescribeVSwitchesRequestTag(tag)] }),
  );
  expect(vSwitches.body?.vSwitches?.vSwitch?.map((item) => item.vSwitchId)).toEqual([network.vSwitchId]);
});

test('VPCs, vSwitches, zones and regions', async () => {
  const before = await vpc.describeVSwitches(
    new $vpc.DescribeVSwitchesRequest({ regionId: REGION, vSwitchId: network.otherZoneVSwitchId }),
  );
  expect(before.body).toMatchObject({ totalCount: 1, pageSize: 10, pageNumber: 1 });
  expect(before.body?.vSwitches?.vSwitch?.[0]).toMatchObject({
    availableIpAddressCount: 252,
    cidrBlock: '10.2.0.0/24',
    zoneId: 'cn-hangzhou-j',
  });
  await create({ vSwitchId: network.otherZoneVSwitchId });
  const after = await vpc.describeVSwitchAttributes(
    new $vpc.DescribeVSwitchAttributesRequest({ regionId: REGION, vSwitchId: network.otherZoneVSwitchId }),
  );
  expect(after.body?.availableIpAddressCount).toBe(251);
  const vpcs = await vpc.describeVpcs(new $vpc.DescribeVpcsRequest({ regionId: REGION, vpcId: network.vpcId }));
  expect(vpcs.body?.vpcs?.vpc).toMatchObject([{ vpcId: network.vpcId, cidrBlock: '10.0.0.0/8' }]);
  const one = await vpc.describeVpcAttribute(
    new $vpc.DescribeVpcAttributeRequest({ regionId: REGION, vpcId: network.vpcId }),
  );
  expect(one.body?.vSwitchIds?.vSwitchId).toEqual([network.vSwitchId, network.otherZoneVSwitchId]);
  const zones = await ecs.describeZones(new $ecs.DescribeZonesRequest({ regionId: REGION }));
  expect(zones.body?.zones?.zone?.map((zone) => zone.zoneId)).toEqual([
    'cn-hangzhou-i',
    'cn-hangzhou-j',
    'cn-hangzhou-k',
  ]);
  const regions = await ecs.describeRegions(new $ecs.DescribeRegionsRequest({}));
  expect(regions.body?.regions?.region?.map((region) => region.regionId)).toEqual([REGION]);
});

test('the response to a creation can be late although the ENI already exists', async () => {
  simulator.model.setLatencies({ createMs: 150 }, simulator.clock.now());
  const before = simulator.model.counters().eniCount;
  const creation = create();
  await expect.poll(() => simulator.model.counters().eniCount, { interval: 5 }).toBe(before + 1);
  const started = performance.now();
  await creation;
  expect(performance.now() - started).toBeGreaterThan(50);
  simulator.model.setLatencies({ createMs: 0 }, simulator.clock.now());
});
