import { afterAll, beforeAll, expect, test } from 'vitest';
import { connectCloud } from '../../src/cloud/test-support/connect.ts';
import type { PodEni } from '../../src/crds/pod-eni.ts';
import { pollUntil } from '../../tools/machine/poll.ts';
import { sharedCluster, type TestNamespace, withNamespace } from '../cluster/shared.ts';
import { ACCESS_KEY, type LabNode, POD_SECURITY_GROUP, VPC } from '../harness/lab.ts';
import { API, conditionOf, idOf, OperatorLab } from './support.ts';

/** Security groups of running pods: an edit reaches them, and what another hand changes is put right. */

const GROUP = 'sg-bp1second';
const MODIFY = 'ModifyNetworkInterfaceAttribute';

let operator: OperatorLab;
let node: LabNode;
let namespace: TestNamespace;
let ns: string;

beforeAll(async () => {
  const cluster = await sharedCluster();
  operator = await OperatorLab.start(cluster);
  await operator.startControlPlane();
  namespace = await withNamespace(cluster, 'security-groups');
  ns = namespace.name;
  node = await operator.addNode();
  await operator.lab.cloud.createSecurityGroup({ securityGroupId: GROUP, vpcId: VPC });
});

afterAll(async () => {
  await operator?.close();
  await namespace?.delete();
});

async function podsOf(networking: string, names: string[]): Promise<PodEni[]> {
  for (const name of names) await operator.createPod(ns, name, { node: node.name, networking });
  return Promise.all(names.map((name) => operator.bound(ns, name)));
}

async function edit(networking: string, securityGroupIDs: string[]): Promise<void> {
  await operator.lab.api.patch(`${API}/podnetworkings/${networking}`, 'merge', { spec: { securityGroupIDs } });
}

/** Record, mirror and cloud agree on these groups. */
async function groupsOf(before: PodEni, groups: string[]): Promise<PodEni> {
  const { name } = before.metadata;
  return pollUntil(
    async () => {
      const podEni = await operator.findPodEni(ns, name);
      const [eni, mirror] = [await operator.eni(idOf(before)), await operator.networkInterface(idOf(before))];
      const shown = [
        podEni?.spec.allocations?.[0]?.eni.securityGroupIDs,
        mirror?.spec.eni.securityGroupIDs,
        eni?.securityGroupIds,
      ].map((ids) => [...(ids ?? [])].sort().join());
      const isDone = shown.every((ids) => ids === [...groups].sort().join());
      const isReady = podEni !== undefined && conditionOf(podEni).startsWith('Ready=True Bound');
      return isDone && isReady && podEni.status?.observedGeneration === podEni.metadata.generation ? podEni : undefined;
    },
    { what: `${name} to have the groups ${groups.join()}`, timeoutMs: 30_000 },
  );
}

async function complete(networking: string): Promise<void> {
  await operator.networking(networking, (found) => {
    const isNew = found.status?.observedGeneration === found.metadata.generation;
    return isNew && conditionOf(found, 'RolloutComplete').startsWith('RolloutComplete=True UpToDate');
  });
}

/** Successful changes of an ENI, oldest first. */
async function callsAbout(eniId: string) {
  const journal = await operator.lab.cloud.journal();
  return journal.filter(
    ({ kind, outcome, objectIds }) => kind === 'call' && outcome === 'OK' && objectIds.includes(eniId),
  );
}

async function remove(podEnis: PodEni[]): Promise<void> {
  await Promise.all(podEnis.map(({ metadata }) => operator.deletePod(ns, metadata.name)));
  await Promise.all(podEnis.map((podEni) => operator.released(podEni)));
}

test('an edit reaches running pods: once in the cloud, in record, mirror, event and status', async () => {
  await operator.readyNetworking('edited');
  const before = await podsOf('edited', ['edited-0', 'edited-1', 'edited-2']);
  await complete('edited');
  await edit('edited', [GROUP, POD_SECURITY_GROUP]);
  for (const podEni of before) {
    const after = await groupsOf(podEni, [GROUP, POD_SECURITY_GROUP]);
    // Nothing else of it has changed.
    expect(after.spec.allocations?.[0]).toEqual({
      ...podEni.spec.allocations?.[0],
      eni: { ...podEni.spec.allocations?.[0]?.eni, securityGroupIDs: [GROUP, POD_SECURITY_GROUP] },
      intent: { ...podEni.spec.allocations?.[0]?.intent, networkingGeneration: 2 },
    });
    expect(after.status?.eniInfos).toEqual(podEni.status?.eniInfos);
    const calls = await callsAbout(idOf(podEni));
    expect(calls.map(({ action }) => action)).toEqual(['CreateNetworkInterface', 'AttachNetworkInterface', MODIFY]);
    // The record tells each call by the request id that the cloud gave it.
    expect(after.status?.operations?.map(({ action, requestID, code }) => [action, requestID, code])).toEqual(
      calls.map(({ action, requestId }) => [action, requestId, undefined]),
    );
    await operator.podEvent(ns, podEni.metadata.name, 'SecurityGroupsChanged');
    const events = await operator.events('Pod', ns, podEni.metadata.name);
    expect(events.map(({ reason, count }) => [reason, count])).toEqual([
      ['AttachENISucceed', 1],
      ['SecurityGroupsChanged', 1],
    ]);
  }
  await complete('edited');
  const { status } = await operator.networking('edited', ({ status: now }) => now?.rollout?.updated === 3);
  expect(status?.rollout).toEqual({ updated: 3, changing: 0, outdated: 0 });
  await remove(before);
});

test('an edit that names what does not exist changes no pod, and says so', async () => {
  await operator.readyNetworking('mistaken');
  const before = await podsOf('mistaken', ['mistaken-0']);
  await edit('mistaken', ['sg-bp1nowhere']);
  const blocked = await operator.networking('mistaken', (found) =>
    conditionOf(found, 'RolloutComplete').includes('RolloutBlocked'),
  );
  expect(conditionOf(blocked, 'RolloutComplete')).toBe(
    'RolloutComplete=False RolloutBlocked: 0 of 1 running pods have the security groups of the spec; the others keep their old groups until the PodNetworking is Ready',
  );
  for (const podEni of before)
    expect((await callsAbout(idOf(podEni))).map(({ action }) => action)).not.toContain(MODIFY);
  await edit('mistaken', [GROUP]);
  for (const podEni of before) await groupsOf(podEni, [GROUP]);
  await complete('mistaken');
  await remove(before);
});

test('with OnRecreate running pods keep theirs; one that is created again, or comes back to its address, gets the new ones', async () => {
  const lazy = { securityGroupRolloutPolicy: 'OnRecreate' };
  await operator.readyNetworking('lazy', lazy);
  await operator.readyNetworking('lazy-fixed', {
    ...lazy,
    allocationType: { type: 'Fixed', releaseStrategy: 'Never' },
  });
  const [elastic, fixed] = [...(await podsOf('lazy', ['lazy-0'])), ...(await podsOf('lazy-fixed', ['lazy-fixed-0']))];
  if (elastic === undefined || fixed === undefined) throw new Error('two pods are bound');
  await edit('lazy', [GROUP]);
  await edit('lazy-fixed', [GROUP]);
  for (const name of ['lazy', 'lazy-fixed']) {
    await operator.networking(name, (found) => conditionOf(found, 'RolloutComplete').includes('AwaitingRecreation'));
  }
  for (const podEni of [elastic, fixed]) {
    expect((await operator.eni(idOf(podEni)))?.securityGroupIds).toEqual([POD_SECURITY_GROUP]);
  }

  await operator.deletePod(ns, 'lazy-0');
  await operator.released(elastic);
  const [again] = await podsOf('lazy', ['lazy-0']);
  if (again === undefined) throw new Error('it is bound');
  expect((await groupsOf(again, [GROUP])).metadata.name).toBe('lazy-0');

  await operator.deletePod(ns, 'lazy-fixed-0');
  await operator.podEni(ns, 'lazy-fixed-0', ({ status }) => status?.phase === 'Unbind');
  const uid = await operator.createPod(ns, 'lazy-fixed-0', { node: node.name, networking: 'lazy-fixed' });
  const back = await operator.bound(ns, 'lazy-fixed-0', uid);
  expect(idOf(back)).toBe(idOf(fixed));
  expect((await operator.eni(idOf(back)))?.securityGroupIds).toEqual([GROUP]);
  // Before it was attached: no packet has passed with the old ones.
  expect((await callsAbout(idOf(fixed))).map(({ action }) => action).slice(-2)).toEqual([
    MODIFY,
    'AttachNetworkInterface',
  ]);
  for (const name of ['lazy', 'lazy-fixed']) await complete(name);
  await operator.deletePod(ns, 'lazy-fixed-0');
  await operator.podEni(ns, 'lazy-fixed-0', ({ status }) => status?.phase === 'Unbind');
  await operator.lab.api.delete(`${API}/namespaces/${ns}/podenis/lazy-fixed-0`);
  await operator.released(back);
  await remove([again]);
});

test('groups that somebody else changes are restored, and the pod says so', async () => {
  await operator.readyNetworking('drifting');
  const before = await podsOf('drifting', ['drifting-0']);
  const [podEni] = before;
  if (podEni === undefined) throw new Error('it is bound');
  const byHand = connectCloud(operator.lab.endpoint, { accessKey: ACCESS_KEY });
  await byHand.modifyEniSecurityGroups(idOf(podEni), [GROUP], {
    signal: new AbortController().signal,
    callClass: 'pod',
  });
  const event = await operator.podEvent(ns, 'drifting-0', 'SecurityGroupDrift');
  expect(event).toMatchObject({
    type: 'Warning',
    note: `${idOf(podEni)} has the security groups ${GROUP}, but the PodENI records ${POD_SECURITY_GROUP}; restoring them`,
  });
  const after = await groupsOf(podEni, [POD_SECURITY_GROUP]);
  expect(after.spec).toEqual(podEni.spec);
  expect((await callsAbout(idOf(podEni))).filter(({ action }) => action === MODIFY)).toHaveLength(2);
  await remove(before);
});

test('a crash in the middle of a rollout: the next leader continues, and every pod gets the groups', async () => {
  await operator.readyNetworking('crashing');
  const names = Array.from({ length: 30 }, (_, at) => `crashing-${at}`);
  const before = await podsOf('crashing', names);
  const answerMs = 1000;
  const { answerMs: usual } = await operator.lab.cloud.setLatencies({});
  await edit('crashing', [GROUP]);
  await operator.networking('crashing', ({ status }) => status?.status === 'Ready' && status.observedGeneration === 2);
  await operator.lab.cloud.setLatencies({ answerMs });
  // In the middle: some records are rewritten, some are not.
  await pollUntil(
    async () => {
      const { podEnis } = await operator.world();
      const done = podEnis.filter(({ spec }) => spec.allocations?.[0]?.eni.securityGroupIDs?.[0] === GROUP).length;
      return done > 0 && done < names.length ? true : undefined;
    },
    { what: 'the middle of the rollout', timeoutMs: 20_000, intervalMs: 20 },
  );
  await operator.stopControlPlane('SIGKILL');
  await operator.lab.cloud.setLatencies({ answerMs: usual });
  await operator.startControlPlane();
  for (const podEni of before) await groupsOf(podEni, [GROUP]);
  await complete('crashing');
  await operator.settled();
  await remove(before);
});
