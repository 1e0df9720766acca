import * as z from 'zod';
import { rpcV1 } from '../sim/cloud/http/raw-clients.ts';
import type { EniSnapshot } from '../sim/cloud/model/snapshot.ts';
import type { ApiClient } from '../test/cluster/api.ts';
import { ACCESS_KEY, type LabNode, NODE_SECURITY_GROUP, POD_VSWITCH, REGION } from '../test/harness/lab.ts';
import { inParallel, type PoolBench, TERWAY_NODES } from './pool-bench.ts';

const createdSchema = z.object({ NetworkInterfaceId: z.string() });

/**
 * Registers nodes that have had pools for a long time: each has an ENI as Terway's control plane makes them, and a Node CR
 * that records it.
 *
 * @returns how many ENIs the cloud has
 */
export async function makeRecords(bench: PoolBench, count: number, addresses: number): Promise<number> {
  const { cloud, api } = bench.lab;
  const { createMs, attachMs, answerMs } = (await cloud.state()).latencies;
  await cloud.setLatencies({ createMs: 0, attachMs: 0, answerMs: 0 });
  const nodes = await bench.addNodes(count);
  await inParallel(nodes, (node) => makeEni(bench, node, addresses));
  await cloud.setLatencies({ createMs, attachMs, answerMs });
  const { enis, vSwitches } = await cloud.state();
  const cidrs = new Map(vSwitches.map(({ id, cidrBlock }) => [id, cidrBlock]));
  const byInstance = new Map(
    enis.filter(({ type }) => type === 'Secondary').map((eni) => [eni.attachment?.instanceId, eni]),
  );
  await inParallel(nodes, async ({ name, instanceId }) => {
    const eni = byInstance.get(instanceId);
    if (eni === undefined) throw new Error(`the ENI of ${name} is missing`);
    await createRecord(api, name, eni, cidrs.get(eni.vSwitchId) ?? '');
  });
  return enis.length;
}

async function makeEni({ lab }: PoolBench, { zone, instanceId }: LabNode, addresses: number): Promise<void> {
  const call = async (Action: string, params: Record<string, string>): Promise<unknown> => {
    const answer = await rpcV1(lab.endpoint, ACCESS_KEY, {
      method: 'POST',
      params: { Action, Format: 'JSON', RegionId: REGION, ...params },
    });
    const body: unknown = await answer.json();
    if (!answer.ok) throw new Error(`${Action}: ${answer.status} ${JSON.stringify(body)}`);
    return body;
  };
  const created = await call('CreateNetworkInterface', {
    VSwitchId: POD_VSWITCH[zone],
    'SecurityGroupIds.1': NODE_SECURITY_GROUP,
    SecondaryPrivateIpAddressCount: String(addresses - 1),
    'Tag.1.Key': 'creator',
    'Tag.1.Value': 'terway',
  });
  const { NetworkInterfaceId } = createdSchema.parse(created);
  await call('AttachNetworkInterface', { NetworkInterfaceId, InstanceId: instanceId });
}

async function createRecord(api: ApiClient, name: string, eni: EniSnapshot, ipv4CIDR: string): Promise<void> {
  const [primaryIp] = eni.ipv4;
  const address = (ip: string) => ({ ip, primary: ip === primaryIp, status: 'Valid' });
  await api.create(TERWAY_NODES, {
    apiVersion: 'network.alibabacloud.com/v1beta1',
    kind: 'Node',
    metadata: { name },
    spec: {},
  });
  const status = {
    lastSyncOpenAPITime: new Date().toISOString(),
    warmUpCompleted: true,
    networkInterfaces: {
      [eni.id]: {
        id: eni.id,
        status: 'InUse',
        macAddress: eni.macAddress,
        vSwitchID: eni.vSwitchId,
        securityGroupIDs: eni.securityGroupIds,
        primaryIPAddress: primaryIp,
        networkInterfaceType: 'Secondary',
        networkInterfaceTrafficMode: 'Standard',
        ipv4CIDR,
        ipv4: Object.fromEntries(eni.ipv4.map((ip) => [ip, address(ip)])),
      },
    },
  };
  await api.patch(`${TERWAY_NODES}/${name}/status`, 'merge', { status });
}
