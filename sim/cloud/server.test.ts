import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AdminClient } from './admin-client.ts';
import { type CloudSimulator, startCloudSimulator } from './server.ts';

let simulator: CloudSimulator;
let admin: AdminClient;

beforeEach(async () => {
  simulator = await startCloudSimulator({ account: { latencies: { attachMs: 20, detachMs: 20, deleteMs: 20 } } });
  admin = new AdminClient(simulator.adminUrl);
});

afterEach(() => simulator.close());

async function network() {
  const vpcId = await admin.createVpc({ cidrBlock: '10.0.0.0/8' });
  const vSwitchId = await admin.createVSwitch({ vpcId, zoneId: 'cn-hangzhou-i', cidrBlock: '10.0.0.0/24' });
  const securityGroupId = await admin.createSecurityGroup({ vpcId });
  const instance = await admin.runInstance({
    instanceType: 'ecs.g7.4xlarge',
    vSwitchId,
    securityGroupIds: [securityGroupId],
    tags: { role: 'node' },
  });
  return { vpcId, vSwitchId, securityGroupId, ...instance };
}

describe('the control channel', () => {
  test('sets up an account, shows it and tears it down', async () => {
    const { vpcId, vSwitchId, securityGroupId, instanceId, primaryEniId, primaryIpAddress } = await network();
    const state = await admin.state();
    expect(state.instances).toMatchObject([{ id: instanceId, status: 'Running', tags: { role: 'node' } }]);
    expect(state.enis).toMatchObject([
      { id: primaryEniId, type: 'Primary', status: 'InUse', ipv4: [primaryIpAddress] },
    ]);
    expect(state.vSwitches).toMatchObject([{ id: vSwitchId, availableIpAddressCount: 251 }]);
    await admin.stopInstance(instanceId);
    expect((await admin.state()).instances[0]?.status).toBe('Stopped');
    await expect(admin.deleteVSwitch(vSwitchId)).rejects.toMatchObject({
      name: 'AdminError',
      code: 'DependencyViolation',
    });
    expect(await admin.releaseInstance(instanceId)).toEqual([instanceId, primaryEniId]);
    await admin.deleteSecurityGroup(securityGroupId);
    await admin.deleteVSwitch(vSwitchId);
    await admin.deleteVpc(vpcId);
    expect(await admin.state()).toMatchObject({ vpcs: [], vSwitches: [], securityGroups: [], instances: [], enis: [] });
    expect(await admin.counters()).toMatchObject({ eniCreated: 1, eniDeleted: 1, eniCount: 0 });
  });

  test('gives the journal in pieces', async () => {
    await network();
    const all = await admin.journal();
    expect(all.map((entry) => entry.seq)).toEqual(all.map((_, index) => index + 1));
    expect(await admin.journal(2)).toEqual(all.slice(2));
    expect(await admin.journal(0, 1)).toEqual(all.slice(0, 1));
  });

  test('waits for a change of the state, and for nothing else', async () => {
    const { instanceId, vpcId } = await network();
    const { generation } = await admin.state();
    expect((await admin.stateAfter(generation - 1)).generation).toBe(generation);
    const next = admin.stateAfter(generation);
    // Neither a refused change nor a read counts as a change.
    await expect(admin.createVSwitch({ vpcId, zoneId: 'cn-none', cidrBlock: '10.9.0.0/24' })).rejects.toThrow(
      /cn-none/,
    );
    const read = simulator.model.apply({ action: 'DescribeVpcs', params: { RegionId: 'cn-hangzhou' } }, 0);
    expect(read.ok).toBe(true);
    expect((await admin.state()).generation).toBe(generation);
    await admin.stopInstance(instanceId);
    const changed = await next;
    expect(changed.generation).toBeGreaterThan(generation);
    expect(changed.instances[0]?.status).toBe('Stopped');
    expect((await admin.state()).generation).toBe(changed.generation);
  });

  test('reports a completion without a request, and forgets clients that disconnect', async () => {
    const { instanceId, vSwitchId, securityGroupId } = await network();
    const RegionId = 'cn-hangzhou';
    const call = (action: string, params: Record<string, string>) =>
      simulator.model.apply({ action, params: { RegionId, ...params } }, simulator.clock.now());
    call('CreateNetworkInterface', { VSwitchId: vSwitchId, SecurityGroupId: securityGroupId });
    const eniId = simulator.model.enis().at(-1)?.id ?? '';
    call('AttachNetworkInterface', { NetworkInterfaceId: eniId, InstanceId: instanceId });
    const attaching = await admin.state();
    expect(attaching.enis.at(-1)?.status).toBe('Attaching');
    const leaving = new AbortController();
    const left = expect(admin.stateAfter(attaching.generation, leaving.signal)).rejects.toThrow('left');
    leaving.abort(new Error('left'));
    await left;
    expect((await admin.stateAfter(attaching.generation)).enis.at(-1)?.status).toBe('InUse');
  });

  test('changes latencies and completes pending changes', async () => {
    const { instanceId, vSwitchId, securityGroupId } = await network();
    expect(await admin.setLatencies({ attachMs: 3_600_000 })).toMatchObject({ attachMs: 3_600_000, detachMs: 20 });
    const created = simulator.model.apply(
      {
        action: 'CreateNetworkInterface',
        params: { RegionId: 'cn-hangzhou', VSwitchId: vSwitchId, SecurityGroupIds: [securityGroupId] },
      },
      simulator.clock.now(),
    );
    expect(created.ok).toBe(true);
    const eniId = simulator.model.enis().at(-1)?.id ?? '';
    simulator.model.apply(
      {
        action: 'AttachNetworkInterface',
        params: { RegionId: 'cn-hangzhou', NetworkInterfaceId: eniId, InstanceId: instanceId },
      },
      simulator.clock.now(),
    );
    expect(await admin.completeAll()).toEqual([eniId]);
    expect(simulator.model.eni(eniId)?.status).toBe('InUse');
    expect(await admin.detachEniByHand(eniId)).toEqual([eniId]);
    expect(await admin.deleteEniByHand(eniId)).toEqual([eniId]);
    expect(simulator.model.eni(eniId)).toBeUndefined();
  });

  test('refuses malformed requests, naming the field', async () => {
    const post = async (path: string, body: string, contentType = 'application/json') => {
      const response = await fetch(`${simulator.adminUrl}/${path}`, {
        method: 'POST',
        body,
        headers: { 'content-type': contentType },
      });
      return `${response.status} ${await response.text()}`;
    };
    expect(await post('createVpc', '{"cidrBlock":"10.0.0.0/33"}')).toMatch(/^400 .*cidrBlock/);
    expect(await post('createVpc', '{}')).toMatch(/^400 .*cidrBlock/);
    expect(await post('createVpc', '{"cidrBlock":"10.0.0.0/8","cidr":1}')).toMatch(/^400 .*cidr/);
    expect(await post('createVpc', '{')).toMatch(/^400 /);
    expect(await post('toString', '{}')).toMatch(/^404 /);
    expect(await post('createVpc', '{"cidrBlock":"10.0.0.0/8"}', 'text/plain')).toMatch(/^415 /);
    expect((await fetch(`${simulator.adminUrl}/journal?since=x`)).status).toBe(400);
    expect((await fetch(`${simulator.adminUrl}/state`, { method: 'DELETE' })).status).toBe(405);
  });

  test('listens on loopback only, and can be disabled', async () => {
    await expect(startCloudSimulator({ adminListen: { host: '0.0.0.0', port: 0 } })).rejects.toThrow(RangeError);
    await using without = await startCloudSimulator({ adminListen: false });
    expect(without.adminUrl).toBe('');
    expect((await fetch(`http://${without.endpoint}/_sim/state`)).status).toBe(400);
  });
});

test('changes complete on time even without calls', async () => {
  const { instanceId, vSwitchId, securityGroupId } = await network();
  const RegionId = 'cn-hangzhou';
  const call = (action: string, params: Record<string, string>) =>
    simulator.model.apply({ action, params: { RegionId, ...params } }, simulator.clock.now());
  call('CreateNetworkInterface', { VSwitchId: vSwitchId, SecurityGroupId: securityGroupId });
  const eniId = simulator.model.enis().at(-1)?.id ?? '';
  const attached = new Promise<string>((resolve) => {
    simulator.model.subscribe((entry) => {
      if (entry.kind === 'completion') resolve(`${entry.action} ${entry.objectIds.join()}`);
    });
  });
  call('AttachNetworkInterface', { NetworkInterfaceId: eniId, InstanceId: instanceId });
  expect(await attached).toBe(`Attached ${eniId}`);
});

test('an address in use is an error at the start; closing twice is not', async () => {
  const [host = '', port = ''] = simulator.endpoint.split(':');
  await expect(startCloudSimulator({ listen: { host, port: Number(port) } })).rejects.toMatchObject({
    code: 'EADDRINUSE',
  });
  await simulator.close();
  await simulator.close();
  await expect(fetch(simulator.adminUrl)).rejects.toThrow();
});
