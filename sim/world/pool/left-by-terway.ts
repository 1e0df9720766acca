import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import * as z from 'zod';
import { networkInterfaceSchema } from '../../../src/crds/network-interface.ts';
import { nodeSchema } from '../../../src/crds/node.ts';
import { nodeRuntimeSchema } from '../../../src/crds/node-runtime.ts';
import { podEniSchema } from '../../../src/crds/pod-eni.ts';
import { FaultScript } from '../script.ts';
import { NETWORKINTERFACES, NODERUNTIMES, NODES, PODENIS, REGION, World } from '../world.ts';
import { NODE } from './support.ts';

/* Clusters as Terway's control plane and daemon leave them (left-by-terway/*.yaml). */

const DIRECTORY = join(import.meta.dirname, 'left-by-terway');
const CONTROL_PLANE = 'terway-controlplane-of-before';
const DAEMON = 'terwayd';

const strings = z.record(z.string(), z.string());
/** Written as it stands; the API server drops what its schema does not know. */
const object = z.looseObject({ metadata: z.looseObject({}) });

const withStatus = object.extend({ spec: z.looseObject({}), status: z.looseObject({}) });

const fixtureSchema = z.strictObject({
  about: z.string(),
  eniConf: z.looseObject({}),
  /** What the cloud has. */
  enis: z.array(
    z.strictObject({
      id: z.string(),
      type: z.enum(['Trunk', 'Secondary']),
      status: z.enum(['InUse', 'Available']),
      macAddress: z.string(),
      tags: strings,
      ipv4: z.array(z.string()).min(1),
      ipv6: z.array(z.string()).default([]),
    }),
  ),
  /** Of the Kubernetes node. */
  core: z.strictObject({
    labels: strings,
    annotations: strings,
    resources: strings,
    conditions: z.array(strings).default([]),
  }),
  record: object.extend({ spec: z.looseObject({}), status: z.looseObject({}).optional() }),
  runtime: object.extend({ status: z.looseObject({}) }).optional(),
  pods: z.array(z.strictObject({ name: z.string(), ips: z.array(z.string()), annotations: strings.default({}) })),
  podEnis: z.array(withStatus).default([]),
  networkInterfaces: z.array(withStatus).default([]),
});
type Fixture = z.infer<typeof fixtureSchema>;
type FixtureEni = Fixture['enis'][number];

/** A cluster of one node that Terway has run so far. No control plane of ours runs yet. */
export interface LeftByTerway {
  world: World;
  /** Calls of the control plane. */
  script: FaultScript;
  /** Id of an ENI in the simulated cloud, by that in the file. */
  eniId: (id: string) => string;
  /** Uid of a pod. */
  uid: (name: string) => string;
}

/** Sets a cluster up as a file says. */
export function leftByTerway(name: string): LeftByTerway {
  const text = readFileSync(join(DIRECTORY, `${name}.yaml`), 'utf8');
  const { eniConf, enis, pods } = fixtureSchema.parse(parse(text));
  const script = new FaultScript();
  const world = new World({
    config: { leaderElection: false },
    eniConf,
    isDualStack: enis.some(({ ipv6 }) => ipv6.length > 0),
    onCloudCall: script.onCloudCall,
    kubeFaults: script.kubeFaults,
  });
  const node = world.addNode(TYPE, NODE);
  const ids = new Map<string, string>([
    ['i-bp1node1', node.instanceId],
    ['vsw-bp1nodes', world.nodeVSwitchId],
    ['sg-bp1nodes', world.securityGroupId],
    [`uid-${NODE}`, uidOf(world, 'nodes', NODE)],
  ]);
  for (const eni of enis) {
    const made = makeEni(world, eni, node.instanceId);
    ids.set(eni.id, made.id);
    ids.set(eni.macAddress, made.macAddress);
  }
  for (const { name: pod, annotations } of pods) {
    world.createPod({ name: pod, nodeName: NODE, networking: 'none', annotations });
    ids.set(`uid-${pod}`, uidOf(world, 'pods', pod));
  }
  const known = [...ids].reduce((whole, [from, to]) => whole.replaceAll(new RegExp(`${from}\\b(?!-)`, 'g'), to), text);
  create(world, fixtureSchema.parse(parse(known)));
  const of = (id: string) => {
    const found = ids.get(id);
    if (found === undefined) throw new RangeError(`${name}.yaml has no ${id}`);
    return found;
  };
  return { world, script, eniId: of, uid: (pod) => of(`uid-${pod}`) };
}

const TYPE = 'ecs.g7.4xlarge';
const MERGE_PATCH = 'application/merge-patch+json';

function uidOf(world: World, resource: string, name: string): string {
  const found = world.kube.objects(resource).find(({ metadata }) => metadata.name === name);
  return found?.metadata.uid ?? '';
}

function makeEni(world: World, eni: FixtureEni, instanceId: string): { id: string; macAddress: string } {
  const { cloud, clock } = world;
  const call = (action: string, params: Record<string, string | readonly string[] | readonly object[]>) => {
    cloud.apply({ action, params: { RegionId: REGION, ...params }, accessKeyId: 'terway' }, clock.now());
  };
  const before = new Set(cloud.enis().map(({ id }) => id));
  const [primary = '', ...secondary] = eni.ipv4;
  call('CreateNetworkInterface', {
    InstanceType: eni.type,
    VSwitchId: world.nodeVSwitchId,
    SecurityGroupId: world.securityGroupId,
    PrimaryIpAddress: primary,
    ...(secondary.length === 0 ? {} : { PrivateIpAddress: secondary }),
    ...(eni.ipv6.length === 0 ? {} : { Ipv6Address: eni.ipv6 }),
    Tag: Object.entries(eni.tags).map(([Key, Value]) => ({ Key, Value })),
  });
  const made = cloud.enis().find(({ id }) => !before.has(id));
  if (made === undefined) throw new Error(`${eni.id} could not be made`);
  if (eni.status === 'InUse') {
    call('AttachNetworkInterface', { NetworkInterfaceId: made.id, InstanceId: instanceId });
    cloud.completeAll(clock.now());
  }
  return made;
}

/** Creates the objects, each in the name of its author. */
function create(world: World, { core, record, runtime, pods, podEnis, networkInterfaces }: Fixture): void {
  const patch = (resource: string, key: { namespace?: string; name: string }, body: object, actor: string, of = '') => {
    const target = { resource, namespace: key.namespace, name: key.name, subresource: of };
    world.kube.patch(target, MERGE_PATCH, body, { actor, nowMs: world.clock.now() });
  };
  const { labels, annotations, resources, conditions } = core;
  patch('nodes', { name: NODE }, { metadata: { labels, annotations } }, CONTROL_PLANE);
  const ready = { type: 'Ready', status: 'True' };
  const status = { capacity: resources, allocatable: resources, conditions: [ready, ...conditions] };
  patch('nodes', { name: NODE }, { status }, CONTROL_PLANE, 'status');
  nodeSchema.parse(record);
  world.create(NODES, undefined, record, DAEMON);
  if (record.status !== undefined) patch(NODES, { name: NODE }, { status: record.status }, CONTROL_PLANE, 'status');
  if (runtime !== undefined) {
    nodeRuntimeSchema.parse(runtime);
    world.create(NODERUNTIMES, undefined, { ...runtime, spec: {} }, DAEMON);
    patch(NODERUNTIMES, { name: NODE }, { status: runtime.status }, DAEMON, 'status');
  }
  for (const podEni of podEnis) {
    const { name } = podEniSchema.parse(podEni).metadata;
    const key = { namespace: 'default', name };
    world.create(PODENIS, 'default', podEni, CONTROL_PLANE);
    patch(PODENIS, key, { status: podEni.status }, CONTROL_PLANE, 'status');
  }
  for (const networkInterface of networkInterfaces) {
    const { name } = networkInterfaceSchema.parse(networkInterface).metadata;
    world.create(NETWORKINTERFACES, undefined, networkInterface, CONTROL_PLANE);
    patch(NETWORKINTERFACES, { name }, { status: networkInterface.status }, CONTROL_PLANE, 'status');
  }
  for (const { name, ips } of pods) {
    const podIPs = ips.map((ip) => ({ ip }));
    const key = { namespace: 'default', name };
    patch('pods', key, { status: { phase: 'Running', podIP: ips[0], podIPs } }, 'kubelet', 'status');
  }
}
