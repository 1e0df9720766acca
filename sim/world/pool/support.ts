import * as z from 'zod';
import { addressesOf } from '../../../src/allocation/pool/view.ts';
import { ANNOTATION_REPORTS_RELEASE } from '../../../src/crds/names.ts';
import type { NodeEni } from '../../../src/crds/node.ts';
import type { EniSnapshot } from '../../cloud/model/snapshot.ts';
import type { FaultPlan } from '../../kube/faults.ts';
import { FaultScript } from '../script.ts';
import { NODERUNTIMES, NODES, REGION, World, type WorldOptions } from '../world.ts';

/* Worlds in which ordinary pods share the ENIs of their node. */

export const NODE = 'node-1';

/** What the control plane writes in Node CRs comes back to it only later, so that no watch wakes what a write should. */
export const LATE_RECORDS: FaultPlan = {
  onEvent: ({ resource }) => (resource === NODES ? { kind: 'late', ms: 1000 } : undefined),
};

interface PoolWorldOptions
  extends Pick<WorldOptions, 'kubeFaults' | 'behaviour' | 'config' | 'latencies' | 'isDualStack'> {
  script?: FaultScript;
  instanceType?: string;
  /** The node has no agent of ours by default; a test speaks for it. */
  hasMachine?: boolean;
  /** Whether the trunk is attached first; default true. */
  isAwaited?: boolean;
  /** Whether the kubelet of its machine writes the addresses of pods into their status. */
  tellsAddresses?: boolean;
}

/** A control plane and one node whose trunk is attached. */
export async function poolWorld(eniConf: object, options: PoolWorldOptions = {}): Promise<World> {
  const {
    script = new FaultScript(),
    instanceType,
    hasMachine = false,
    isAwaited = true,
    tellsAddresses,
    config = {},
    ...rest
  } = options;
  const made = new World({
    ...rest,
    config: { leaderElection: false, ...config },
    eniConf: { ipam_type: 'crd', ...eniConf },
    onCloudCall: script.onCloudCall,
  });
  const node = made.addNode(instanceType);
  if (hasMachine) made.addMachine(node, { tellsAddresses });
  else {
    made.create(NODERUNTIMES, undefined, {
      metadata: { name: NODE, annotations: { [ANNOTATION_REPORTS_RELEASE]: 'true' } },
      spec: {},
    });
  }
  made.startReplica();
  const trunk = () => enisOf(made).some(({ status }) => status === 'InUse');
  const hasNone = z.object({ enable_eni_trunking: z.literal(false) }).safeParse(eniConf).success;
  if (hasNone || !isAwaited) return made;
  await made.until('the trunk is attached', trunk, 60_000);
  return made;
}

/** ENIs of the node, as its Node CR has them. */
export function enisOf(made: World): NodeEni[] {
  return Object.values(made.state().nodes[0]?.status?.networkInterfaces ?? {});
}

export function recordOf(made: World, eniId: string): NodeEni | undefined {
  return enisOf(made).find(({ id }) => id === eniId);
}

/** Addresses of each pod of the node, by uid. */
export function addresses(made: World): Map<string, string[]> {
  const bound = enisOf(made)
    .flatMap((eni) => addressesOf(eni))
    .filter(({ podUID = '' }) => podUID !== '');
  const byUid = Map.groupBy(bound, ({ podUID = '' }) => podUID);
  return new Map([...byUid].map(([uid, all]) => [uid, all.map(({ ip }) => ip)]));
}

/** Secondary ENIs in the cloud. */
export function ofPool(made: World): EniSnapshot[] {
  return made.state().cloud.enis.filter(({ type }) => type === 'Secondary');
}

/** A pod that shares the ENIs of its node. @returns its uid */
export function createShared(made: World, name: string, ownerKind?: string): string {
  const pod = made.createPod({
    name,
    nodeName: NODE,
    networking: 'none',
    ...(ownerKind !== undefined && { ownerKind }),
  });
  return pod.metadata.uid;
}

/** Pods that share ENIs, all with addresses. @returns their uids */
export async function served(made: World, names: readonly string[]): Promise<string[]> {
  const uids = names.map((name) => createShared(made, name));
  await made.until('all have addresses', () => uids.every((uid) => addresses(made).has(uid)), 60_000);
  return uids;
}

/** More pods than the trunk of the largest type has addresses for, so that there is an ENI of the pool. @returns their uids */
export function crowd(made: World): Promise<string[]> {
  return served(
    made,
    Array.from({ length: 35 }, (_, at) => `p${at}`),
  );
}

function patch(made: World, resource: string, key: string, body: object, subresource = 'status'): void {
  const [namespace, name = ''] = key.includes('/') ? key.split('/') : [undefined, key];
  const target = { resource, namespace, name, subresource };
  made.kube.patch(target, 'application/merge-patch+json', body, { actor: 'user', nowMs: made.clock.now() });
}

/** What the node says of a pod's sandbox. */
export function says(made: World, uid: string, podID: string, state: 'initial' | 'deleted'): void {
  const status = { [state]: { lastUpdateTime: new Date(made.clock.now()).toISOString() } };
  patch(made, NODERUNTIMES, NODE, { status: { pods: { [uid]: { podID, status } } } });
}

/** The kubelet tells what a pod has. */
export function tells(made: World, name: string, ips: readonly string[]): void {
  patch(made, 'pods', `default/${name}`, { status: { podIP: ips[0], podIPs: ips.map((ip) => ({ ip })) } });
}

/** The containers of a pod have finished. */
export function finishes(made: World, name: string): void {
  patch(made, 'pods', `default/${name}`, { status: { phase: 'Succeeded' } });
}

/** Somebody uses the console of the cloud. */
export function inConsole(made: World, action: string, params: Record<string, string | (string | object)[]>): void {
  const { cloud, clock } = made;
  cloud.apply({ action, params: { RegionId: REGION, ...params }, accessKeyId: 'user' }, clock.now());
}

/** Somebody changes the status of the Node CR by hand. */
export function editRecord(made: World, status: object): void {
  patch(made, NODES, NODE, { status });
}

/** Somebody deletes the Node CR, as the documentation says. */
export function deleteRecord(made: World): void {
  const target = { resource: NODES, namespace: undefined, name: NODE, subresource: '' };
  made.kube.delete(target, {}, { actor: 'user', nowMs: made.clock.now() });
}

/** Somebody edits keys of `eni_conf`. */
export function editConfig(made: World, edit: object): void {
  const [config] = made.kube.objects('configmaps');
  const data = z.object({ eni_conf: z.string() }).parse(config?.['data']);
  const eniConf = { ...z.looseObject({}).parse(JSON.parse(data.eni_conf)), ...edit };
  patch(made, 'configmaps', 'kube-system/eni-config', { data: { eni_conf: JSON.stringify(eniConf) } }, '');
}
