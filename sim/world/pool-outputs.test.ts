import { afterEach, expect, test } from 'vitest';
import { coreNodeResource } from '../../src/cluster/resources.ts';
import { ANNOTATION_REPORTS_RELEASE, LABEL_EXCLUSIVE_MODE } from '../../src/crds/names.ts';
import type { NodeEni } from '../../src/crds/node.ts';
import { eventResource } from '../../src/kubectl/resources.ts';
import { FaultScript } from './script.ts';
import { NODERUNTIMES, NODES, World } from './world.ts';

/* What a person sees of the ENIs that the pods of a node share. */

let world: World | undefined;

afterEach(() => world?.end());

const NODE = 'node-1';
/** Three ENIs with 15 addresses each, the trunk among them. */
const TYPE = 'ecs.g7.xlarge';

/** A node with our agent. */
function addReportingNode(made: World, type: string): void {
  made.addNode(type);
  made.create(NODERUNTIMES, undefined, {
    metadata: { name: NODE, annotations: { [ANNOTATION_REPORTS_RELEASE]: 'true' } },
    spec: {},
  });
}

async function cluster(eniConf: object = {}, script = new FaultScript()): Promise<World> {
  const made = new World({
    config: { leaderElection: false },
    eniConf: { ipam_type: 'crd', max_pool_size: 5, ...eniConf },
    onCloudCall: script.onCloudCall,
  });
  world = made;
  addReportingNode(made, TYPE);
  made.startReplica();
  await made.until('the trunk is attached', () => made.trunkOf(NODE) !== undefined, 60_000);
  return made;
}

const core = (made: World) => {
  const found = made.kube.peek('nodes', { namespace: undefined, name: NODE });
  return coreNodeResource.parse?.(found);
};

const enis = (made: World): NodeEni[] => Object.values(made.state().nodes[0]?.status?.networkInterfaces ?? {});

const bound = (made: World) =>
  enis(made).flatMap(({ ipv4 = {} }) => Object.values(ipv4).flatMap(({ podID = '' }) => (podID === '' ? [] : [podID])));

/** `status reason` of a condition, of the Node CR or of the Kubernetes node. */
function says(made: World, type: string): string {
  const all = [...(made.state().nodes[0]?.status?.conditions ?? []), ...(core(made)?.status.conditions ?? [])];
  const found = all.find((condition) => condition.type === type);
  return `${found?.status} ${found?.reason}`;
}

/** `type reason` of the events about an object, each once. */
function events(made: World, kind: string, name: string): string[] {
  const all = made.kube.objects('events.events.k8s.io').map((event) => eventResource.parse?.(event));
  const about = all.filter((event) => event?.regarding?.kind === kind && event.regarding.name === name);
  return [...new Set(about.map((event) => `${event?.type} ${event?.reason}`))].sort();
}

const nodeWrites = (made: World) => made.kube.journal().filter(({ resource }) => resource === NODES).length;

function pods(made: World, count: number): void {
  for (let at = 0; at < count; at += 1) made.createPod({ name: `p${at}`, nodeName: NODE, networking: 'none' });
}

test('a node shows how many pods it has room for, that it has addresses, and what was done for it', async () => {
  const made = await cluster();
  pods(made, 20);
  await made.until('all have addresses', () => bound(made).length === 20, 60_000);
  await made.run(20_000);
  expect(core(made)?.metadata.annotations?.['k8s.aliyun.com/max-available-ip']).toBe('45');
  expect(says(made, 'SufficientIP')).toBe('True SufficientIP');
  // The condition of the kubelet is left as it was.
  expect(core(made)?.status.conditions).toContainEqual({ type: 'Ready', status: 'True' });
  expect(says(made, 'PoolReady')).toBe('True PoolServes');
  expect(says(made, 'PoolAsConfigured')).toBe('True AsConfigured');
  expect(events(made, 'Node', NODE)).toEqual(['Normal AttachENISucceed', 'Normal CreateENISucceed']);
  const { resourceVersion } = core(made)?.metadata ?? {};
  await made.run(30 * 60_000);
  expect(core(made)?.metadata.resourceVersion).toBe(resourceVersion);
});

test('a node that is full says so when that lasts, and tells the pod that waits', async () => {
  const made = await cluster();
  pods(made, 46);
  await made.until('it is full', () => bound(made).length === 45, 60_000);
  await made.run(20_000);
  expect(says(made, 'SufficientIP')).toBe('True SufficientIP');
  await made.run(20_000);
  expect(says(made, 'SufficientIP')).toBe('False InsufficientIP');
  expect(says(made, 'PoolReady')).toBe('False NodeFull');
  const pools = made.replicas[0]?.leaderState?.pools;
  expect(Object.values(Object.fromEntries(pools?.addresses ?? []))).toEqual([
    { idle: 0, bound: 45, releasing: 0, invalid: 0 },
  ]);
  expect(pools).toMatchObject({ wanted: 1, waiting: { NodeFull: 1 } });
  expect(pools?.oldestWaitMs).toBeGreaterThan(30_000);
  const waiting = Array.from({ length: 46 }, (_, at) => `p${at}`).find(
    (name) => !bound(made).includes(`default/${name}`),
  );
  expect(events(made, 'Pod', waiting ?? '')).toEqual(['Warning NodeFull']);
  const state = made.replicas[0]?.term?.pools.stateOf(NODE);
  expect(state?.waiting).toMatchObject([{ pod: `default/${waiting}`, reason: 'NodeFull' }]);
});

test('the leader knows which addresses rest', async () => {
  const made = await cluster({ max_pool_size: 20 });
  pods(made, 2);
  await made.until('both have addresses', () => bound(made).length === 2, 60_000);
  const { uid } = made.kube.peek('pods', { namespace: 'default', name: 'p0' })?.metadata ?? {};
  made.deletePod('default/p0', 0);
  const deleted = { lastUpdateTime: new Date(made.clock.now()).toISOString() };
  made.kube.patch(
    { resource: NODERUNTIMES, namespace: undefined, name: NODE, subresource: 'status' },
    'application/merge-patch+json',
    { status: { pods: { [uid ?? '']: { podID: 'default/p0', status: { deleted } } } } },
    { actor: NODE, nowMs: made.clock.now() },
  );
  await made.until('it is free', () => bound(made).length === 1, 5000);
  await made.run(1000);
  const resting = () => made.replicas[0]?.term?.pools.stateOf(NODE).resting.length;
  expect(resting()).toBe(1);
  await made.run(30_000);
  expect(resting()).toBe(0);
});

test('an ENI that gets no more addresses says why until it gets some', async () => {
  const script = new FaultScript();
  const made = await cluster({}, script);
  script.cloud('AssignPrivateIpAddresses', { kind: 'refused', code: 'Forbidden.RAM', status: 403 }, 8);
  pods(made, 2);
  await made.until('it is said', () => enis(made)[0]?.conditions?.['OperationErr'] !== undefined, 60_000);
  await made.until('pods are told', () => events(made, 'Pod', 'p1').length > 0, 60_000);
  expect(events(made, 'Pod', 'p1')).toEqual(['Warning CloudError']);
  expect(events(made, 'Node', NODE)).toEqual(['Warning AllocIPFailed']);
  const { observedTime } = enis(made)[0]?.conditions?.['OperationErr'] ?? {};
  await made.until('both have addresses', () => bound(made).length === 2, 10 * 60_000);
  expect(Date.parse(observedTime ?? '')).toBeLessThan(made.clock.now() - 60_000);
  expect(enis(made)[0]).not.toHaveProperty('conditions');
});

test('a vSwitch that has fewer addresses than it said is asked again now and then, and the node says that it is full', async () => {
  const script = new FaultScript();
  const made = await cluster({}, script);
  const isFull = { kind: 'refused', code: 'InvalidVSwitchId.IpNotEnough', status: 403 } as const;
  script.cloud('AssignPrivateIpAddresses', isFull, 1000);
  script.cloud('CreateNetworkInterface', isFull, 1000);
  const calls = script.cloudCalls('AssignPrivateIpAddresses');
  pods(made, 2);
  await made.until('it is said', () => says(made, 'PoolReady') === 'False VSwitchFull', 5 * 60_000);
  await made.until('also on the node', () => says(made, 'SufficientIP') === 'False InsufficientIP', 5000);
  expect(enis(made)[0]?.conditions).toHaveProperty('InsufficientIP');
  const writes = nodeWrites(made);
  await made.run(5 * 60_000);
  expect(says(made, 'PoolReady')).toBe('False VSwitchFull');
  expect(events(made, 'Pod', 'p1')).toEqual(['Warning VSwitchFull']);
  expect(calls.length).toBeLessThan(40);
  expect(nodeWrites(made) - writes).toBeLessThan(80);
});

test('a node of which nobody has said what it may have says so, also to the pod that waits', async () => {
  const made = await cluster();
  made.remove(NODERUNTIMES, NODE);
  const other = made.addNode(TYPE);
  made.createPod({ name: 'a', nodeName: other.name, networking: 'none' });
  await made.until('the pod is told', () => events(made, 'Pod', 'a').length > 0, 60_000);
  expect(events(made, 'Pod', 'a')).toEqual(['Warning PoolNotDescribed']);
});

test('what a node can never have is an error in a condition', async () => {
  const made = await cluster({ min_pool_size: 100, max_pool_size: 100 });
  await made.until('it is said', () => says(made, 'PoolAsConfigured') === 'False PoolSizeBeyondNode', 60_000);
});

const TOO_SMALL = ['Warning NodeTooSmall'];

test.for([
  ['ecs.g6.large', 'False NodeTooSmall', TOO_SMALL],
  ['ecs.g7.large', 'True AsConfigured', []],
] as const)(
  'a node of type %s with shared ENIs says whether it has room for enough pods',
  async ([type, said, told]) => {
    const made = new World({ config: { leaderElection: false }, eniConf: { ipam_type: 'crd' } });
    world = made;
    addReportingNode(made, type);
    made.startReplica();
    await made.until('it is said', () => says(made, 'PoolAsConfigured') === said, 60_000);
    await made.clock.advance(60_000);
    expect(says(made, 'PoolAsConfigured')).toBe(said);
    expect(events(made, 'Node', NODE)).toEqual(told);
  },
);

test.for([
  [TYPE, '3', TOO_SMALL],
  ['ecs.g7.16xlarge', '7', []],
] as const)('a node of type %s whose pods get whole ENIs shows that %s can come', async ([type, room, told]) => {
  const made = new World({ config: { leaderElection: false }, eniConf: { ipam_type: 'crd' } });
  world = made;
  made.addNode(type);
  made.kube.patch(
    { resource: 'nodes', namespace: undefined, name: NODE, subresource: '' },
    'application/merge-patch+json',
    { metadata: { labels: { [LABEL_EXCLUSIVE_MODE]: 'eniOnly' } } },
    { actor: 'user', nowMs: made.clock.now() },
  );
  made.startReplica();
  const allocatable = () => core(made)?.status.allocatable['aliyun/eni'];
  await made.until('slots are there', () => allocatable() === room, 60_000);
  expect(core(made)?.metadata.annotations?.['k8s.aliyun.com/max-available-ip']).toBe(room);
  const condition = made.state().nodes[0]?.status?.conditions?.find(({ type: of }) => of === 'Ready');
  expect(condition).toMatchObject({ status: 'True', reason: 'ExclusiveMode' });
  expect(condition?.message.includes(`has room for ${room} pods with ENIs of their own`)).toBe(told.length > 0);
  expect(events(made, 'Node', NODE)).toEqual(told);
});
